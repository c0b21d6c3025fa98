"""Connections that say nothing or never end their head are closed in time, and never keep others out."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from services.ingest.adapters.connections import DOORS, BoundedProtocol, Doors, HungUp, most_connections

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
DEADLINE_S = 20.0
LONG_S = 600.0


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class Host:
    """The protocol on a real socket."""

    def __init__(self, port: int, doors: Doors, told: list[HungUp]) -> None:
        self.port, self.doors, self.told = port, doors, told
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(self, said: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        writer.write(said)
        return reader, writer


@asynccontextmanager
async def hosting(most: int = 100, head_seconds: float = LONG_S, head_bytes: int = 4096) -> AsyncIterator[Host]:
    told: list[HungUp] = []
    doors = Doors(most, head_seconds, head_bytes, told.append)
    config = uvicorn.Config(app, http=BoundedProtocol, log_config=None, access_log=False, date_header=False, server_header=False)
    config.load()
    state = uvicorn.server.ServerState()
    server = await asyncio.get_running_loop().create_server(lambda: BoundedProtocol(config, state, {DOORS: doors}), "127.0.0.1", 0)
    host = Host(server.sockets[0].getsockname()[1], doors, told)
    try:
        yield host
    finally:
        for writer in host.writers:
            writer.close()
        server.close()


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.read(), DEADLINE_S)


def problem(answer: bytes) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    return dict(json.loads(body))


async def test_a_connection_that_says_nothing_is_closed_in_time() -> None:
    async with hosting(head_seconds=0.05) as host:
        reader, _ = await host.connect()
        assert await until_closed(reader) == b""
        assert host.told == [HungUp.SLOW_HEAD]
        assert not host.doors.waiting


@pytest.mark.parametrize("said", [b"GET / HT", REQUEST[:-2], REQUEST + b"POST / HTTP/1.1\r\nx: "])
async def test_a_head_that_never_ends_is_answered_and_closed(said: bytes) -> None:
    async with hosting(head_seconds=0.05) as host:
        reader, _ = await host.connect(said)
        answer = await until_closed(reader)
        if said.startswith(REQUEST):
            assert answer.startswith(OK)
            answer = answer.removeprefix(OK)
        told = problem(answer)
        assert (told["code"], "did not arrive" in told["message"]) == ("invalid_request", True)
        assert host.told == [HungUp.SLOW_HEAD]


async def test_a_head_that_only_grows_is_cut_off() -> None:
    async with hosting(head_bytes=4096) as host:
        reader, writer = await host.connect(b"GET / HTTP/1.1\r\n")
        for number in range(100):
            if reader.at_eof() or host.told:
                break
            writer.write(b"x-%d: %s\r\n" % (number, b"y" * 200))
            await asyncio.sleep(0)
        assert "at most 4096 bytes" in problem(await until_closed(reader))["message"]
        assert host.told == [HungUp.HEAD_TOO_LARGE]


async def test_silent_connections_beyond_the_bound_never_keep_others_out() -> None:
    async with hosting(most=10) as host:
        silent = [await host.connect(b"" if number % 2 else b"GET / HTTP/1.1\r\nx: ") for number in range(40)]
        reader, writer = await host.connect(REQUEST)
        assert await asyncio.wait_for(reader.readexactly(len(OK)), DEADLINE_S) == OK
        for first, _ in silent[:30]:
            assert await until_closed(first) == b""
        writer.write(REQUEST)
        assert await asyncio.wait_for(reader.readexactly(len(OK)), DEADLINE_S) == OK
        assert set(host.told) == {HungUp.CROWDED}
        assert len(host.doors.waiting) <= 10


async def test_who_is_kept_alive_makes_room_before_who_came_later() -> None:
    async with hosting(most=2) as host:
        kept, _ = await host.connect(REQUEST)
        assert await asyncio.wait_for(kept.readexactly(len(OK)), DEADLINE_S) == OK
        later, _ = await host.connect(REQUEST)
        assert await asyncio.wait_for(later.readexactly(len(OK)), DEADLINE_S) == OK
        newest, _ = await host.connect(REQUEST)
        assert await asyncio.wait_for(newest.readexactly(len(OK)), DEADLINE_S) == OK
        assert await until_closed(kept) == b""
        assert host.told == [HungUp.CROWDED]


async def test_what_is_no_http_is_answered_as_every_other_error_is() -> None:
    async with hosting() as host:
        reader, _ = await host.connect(b"\x16\x03\x01\x02\x00 hello\r\n\r\n")
        assert problem(await until_closed(reader))["code"] == "invalid_request"


def test_the_bound_is_what_the_process_may_open(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr("resource.setrlimit", lambda _, limits: asked.append(limits))
    assert most_connections(10_000) == 4096 - 256
    assert asked == [(4096, 4096)]
    assert most_connections(500) == 500
