"""Answers leave in one write, and are byte for byte those of uvicorn's own protocol."""

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http import httptools_impl
from uvicorn.server import ServerState

from services.ingest.adapters.http_protocol import OneWriteProtocol

DEADLINE_S = 5.0


class Transport(asyncio.Transport):
    """Keeps what is written, write by write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed, "written after the end"
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers by path: in full, in pieces, without a body."""
    match scope["path"]:
        case "/pieces":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"one", "more_body": True})
            await send({"type": "http.response.body", "body": b"two"})
        case "/empty":
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        case _:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok"})


def answered(request: bytes) -> Transport:
    """What a connection wrote in answer to `request`, until all of it was answered."""

    async def serve() -> Transport:
        config = uvicorn.Config(app, http=OneWriteProtocol, log_config=None, access_log=False, date_header=False, server_header=False)
        config.load()
        state = ServerState()
        protocol = OneWriteProtocol(config, state, {})
        transport = Transport()
        protocol.connection_made(transport)
        protocol.data_received(request)
        async with asyncio.timeout(DEADLINE_S):
            while state.tasks:
                await asyncio.wait(set(state.tasks))
                await asyncio.sleep(0)
        protocol.connection_lost(None)
        return transport

    return asyncio.run(serve())


REQUESTS = [
    b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    b"GET / HTTP/1.0\r\nhost: x\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /empty HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /pieces HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET /pieces HTTP/1.1\r\nhost: x\r\n\r\n",
]


@pytest.mark.parametrize("request_bytes", REQUESTS)
def test_an_answer_is_what_uvicorn_would_have_written(request_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = answered(request_bytes)
    monkeypatch.setattr(httptools_impl, "RequestResponseCycle", httptools_impl.RequestResponseCycle.__mro__[1])
    plain = answered(request_bytes)
    assert b"".join(ours.writes) == b"".join(plain.writes)
    assert ours.closed == plain.closed
    assert len(ours.writes) < len(plain.writes) or len(plain.writes) == 1


def test_head_and_body_of_an_answer_are_one_write() -> None:
    assert [len(answered(request).writes) for request in REQUESTS[:5]] == [1] * 5
