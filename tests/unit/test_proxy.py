"""The proxy: what a service says comes back as it is and as it comes; what is away, silent or cut off is said, and the other goes on."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from deploy.local.ports import HOST, free_port
from deploy.local.proxy.app import Proxy
from deploy.local.proxy.metrics import METRICS, Metrics
from deploy.local.proxy.routes import Backend
from deploy.local.proxy.services import PLACES, HttpService, passed_on
from shared.adapters.prometheus import Registry
from shared.contracts.bodies import MAX_BODY
from shared.http.reasons import Code
from tests.api_fakes import World
from tests.api_stores import FULL
from tests.waiting import wait_for

Script = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Behind:
    """A service that does on each request what its script says; `heads` are those that came, `opened` how many connections."""

    def __init__(self, script: Script) -> None:
        self.script, self.heads, self.opened = script, list[bytes](), 0
        self.tasks: set[asyncio.Task[None]] = set()

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self.tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                await self.script(head, reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class Heard:
    """One exchange with the proxy over ASGI: `told` has each message as it is sent."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def send(self, message: Any) -> None:
        await self.told.put(dict(message))

    async def start(self) -> tuple[int, dict[bytes, bytes]]:
        message = await asyncio.wait_for(self.told.get(), 60)
        assert message["type"] == "http.response.start"
        return message["status"], dict(message["headers"])

    async def chunk(self) -> bytes:
        return bytes((await asyncio.wait_for(self.told.get(), 60))["body"])

    async def body(self) -> bytes:
        found = b""
        while True:
            message = await asyncio.wait_for(self.told.get(), 60)
            found += bytes(message["body"])
            if not message["more_body"]:
                return found


def asked(proxy: Proxy, method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b"") -> tuple[Heard, Any]:
    """Send one request; the exchange, and the task in which the proxy answers."""
    raw_path, _, query = target.partition("?")
    sent = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if sent:
            return sent.pop()
        await asyncio.Event().wait()
        raise AssertionError

    scope = {
        "type": "http", "method": method, "path": raw_path, "raw_path": raw_path.encode(), "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in ({"host": "api"} | (headers or {})).items()],
    }  # fmt: skip
    heard = Heard()
    return heard, asyncio.create_task(proxy(scope, receive, heard.send))


async def problem(heard: Heard) -> tuple[int, dict[str, Any], dict[bytes, bytes]]:
    status, headers = await heard.start()
    assert headers[b"content-type"] == b"application/problem+json"
    document = json.loads(await heard.body())
    assert document["status"] == status
    assert document["message"] == document["detail"]
    assert document["code"] in set(Code)
    return status, document, headers


@asynccontextmanager
async def behind(
    script: Script, seconds: float = 60.0, body_seconds: float = 60.0, places: int = PLACES
) -> AsyncIterator[tuple[Proxy, Behind]]:
    """A proxy whose query service does what `script` says, and whose control service is away."""
    service = Behind(script)
    server = await asyncio.start_server(service.serve, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    services = {Backend.QUERY: HttpService(f"http://{HOST}:{port}", places), Backend.CONTROL: HttpService(f"http://{HOST}:{free_port()}")}
    proxy = Proxy(services, Metrics(Registry("proxy", METRICS)), body_seconds, seconds)
    try:
        yield proxy, service
    finally:
        for one in services.values():
            await one.close()
        await service.stop()
        server.close()


async def ok(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


def failures(proxy: Proxy) -> dict[tuple[str, str], float]:
    found = next(one for one in proxy._metrics.registry.collectors.collect() if one.name == "rapport_proxy_failures")
    return {(one.labels["backend"], one.labels["reason"]): one.value for one in found.samples if one.name.endswith("_total")}


async def test_an_answer_goes_out_piece_by_piece_as_it_comes() -> None:
    go_on = asyncio.Event()

    async def script(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await writer.drain()
        await go_on.wait()
        writer.write(b"4\r\nlast\r\n0\r\n\r\n")

    async with behind(script) as (proxy, _):
        heard, done = asked(proxy, "GET", "/api/v1/segments")
        assert (await heard.start())[0] == 200
        assert await heard.chunk() == b"first", "it is there while the service still writes"
        go_on.set()
        assert await heard.body() == b"last"
        await done


async def test_what_is_of_one_connection_stays_there_and_everything_else_passes() -> None:
    async def script(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\ncontent-type: application/problem+json\r\nconnection: x-own\r\nx-own: 1\r\n"
            b"keep-alive: timeout=5\r\nretry-after: 7\r\nx-kept: a\r\nx-kept: b\r\n\r\n{}"
        )

    sent = {"connection": "close, x-mine", "x-mine": "1", "te": "trailers", "x-request-id": "r-17", "authorization": "Bearer k", "x-a": "b"}
    async with behind(script) as (proxy, service):
        heard, done = asked(proxy, "GET", "/api/v1/profiles/u:a%2Fb%25?x=1%2B2&y=%20", sent)
        message = await heard.told.get()
        assert message["status"] == 403
        assert message["headers"] == [
            (b"content-length", b"2"), (b"content-type", b"application/problem+json"), (b"retry-after", b"7"), (b"x-kept", b"a"),
            (b"x-kept", b"b"), (b"x-request-id", b"r-17"),
        ]  # fmt: skip
        assert await heard.body() == b"{}"
        await done
    line, *came = service.heads[0].lower().split(b"\r\n")
    assert line == b"get /api/v1/profiles/u:a%2fb%25?x=1%2b2&y=%20 http/1.1", "byte for byte as the client wrote it"
    assert {b"x-request-id: r-17", b"authorization: bearer k", b"x-a: b", b"host: api"} <= set(came)
    assert not [header for header in came if header.startswith((b"x-mine", b"te:", b"connection: close"))]


async def test_what_one_service_answers_goes_on_while_the_other_is_away() -> None:
    async with behind(ok) as (proxy, _):
        for path in ("keys", "rebuilds:plan?view=profile", "dead-letters/0:1", "system/status"):
            heard, done = asked(proxy, "GET", f"/api/v1/{path}", {"x-request-id": "r-1"})
            status, document, headers = await problem(heard)
            assert (status, document["code"]) == (503, "service_unavailable")
            assert int(headers[b"retry-after"]) > 0
            assert headers[b"x-request-id"] == b"r-1"
            assert "control" in document["message"]
            await done
        heard, done = asked(proxy, "GET", "/api/v1/segments")
        assert (await heard.start())[0] == 200
        await done
        assert failures(proxy) == {("control", "unreachable"): 4.0}


async def test_a_read_is_sent_once_more_where_the_connection_died_under_it_and_a_write_never() -> None:
    deaths = [True]

    async def script(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if deaths:
            deaths.pop()
            raise ConnectionResetError
        writer.write(OK)

    async with behind(script) as (proxy, service):
        heard, done = asked(proxy, "GET", "/api/v1/segments")
        assert (await heard.start())[0] == 200
        await done
        deaths.append(True)
        before = len(service.heads)
        heard, done = asked(proxy, "POST", "/api/v1/queries/timeseries", body=b"{}")
        status, document, _ = await problem(heard)
        assert (status, len(service.heads) - before) == (503, 1)
        assert "may have been carried out" in document["message"]
        await done


async def test_a_service_that_stays_silent_is_given_up_in_time() -> None:
    async def script(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with behind(script, seconds=0.2) as (proxy, _):
        heard, done = asked(proxy, "GET", "/api/v1/segments")
        status, document, headers = await problem(heard)
        assert (status, document["code"], int(headers[b"retry-after"]) > 0) == (503, "service_unavailable", True)
        await done
        assert failures(proxy) == {("query", "silent"): 1.0}


async def test_an_answer_that_is_cut_off_is_never_ended_as_if_it_were_whole() -> None:
    async def script(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await writer.drain()
        raise ConnectionResetError

    async with behind(script) as (proxy, _):
        heard, done = asked(proxy, "GET", "/api/v1/segments")
        assert (await heard.start())[0] == 200
        await done
        left = [heard.told.get_nowait() for _ in range(heard.told.qsize())]
        assert all(message["more_body"] for message in left), "without a last piece the server closes the connection"
        assert failures(proxy) == {("query", "cut"): 1.0}


async def test_a_body_is_bounded_in_size_and_time_before_a_service_hears_of_it() -> None:
    async with behind(ok, body_seconds=0.2) as (proxy, service):
        for headers, body in (({"content-length": str(MAX_BODY + 1)}, b""), ({}, b"x" * (MAX_BODY + 1))):
            heard, done = asked(proxy, "POST", "/api/v1/queries/timeseries", headers, body)
            status, document, _ = await problem(heard)
            assert (status, document["code"]) == (413, "body_too_large")
            await done

        sent = 0

        async def much() -> dict[str, Any]:
            nonlocal sent
            sent += 2**16
            return {"type": "http.request", "body": bytes(2**16), "more_body": sent < 2 * MAX_BODY}

        heard = Heard()
        scope = {"type": "http", "method": "POST", "path": "/api/v1/keys", "raw_path": b"/api/v1/keys", "query_string": b"", "headers": []}
        await proxy(scope, much, heard.send)
        assert (await problem(heard))[0] == 413
        assert sent >= 2 * MAX_BODY, "who still sends would not see the answer if it were hung up on"

        async def slowly() -> dict[str, Any]:
            await asyncio.sleep(0.05)
            return {"type": "http.request", "body": b"x", "more_body": True}

        heard = Heard()
        scope = {"type": "http", "method": "POST", "path": "/api/v1/keys", "raw_path": b"/api/v1/keys", "query_string": b"", "headers": []}
        await proxy(scope, slowly, heard.send)
        status, document, headers_told = await problem(heard)
        assert (status, document["code"], headers_told[b"connection"]) == (408, "body_timeout", b"close")
        assert service.heads == []


async def test_a_client_that_takes_nothing_gives_its_place_back() -> None:
    async def script(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)

    async def stuck(message: Any) -> None:
        await asyncio.Event().wait()

    async with behind(script, seconds=0.2) as (proxy, _):

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        scope = {"type": "http", "method": "GET", "path": "/api/v1/x", "raw_path": b"/api/v1/x", "query_string": b"", "headers": []}
        await asyncio.wait_for(proxy(scope, receive, stuck), 60)
        service: Any = proxy._services[Backend.QUERY]
        assert service._under_way == 0


async def test_beyond_the_places_of_a_service_who_asks_is_told_to_come_back() -> None:
    go_on = asyncio.Event()

    async def script(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(OK)

    async with behind(script, places=8) as (proxy, service):
        running = [asked(proxy, "GET", "/api/v1/segments") for _ in range(8)]
        await wait_for("all places are taken", lambda: len(service.heads) == 8)
        heard, done = asked(proxy, "GET", "/api/v1/segments")
        status, document, headers = await problem(heard)
        assert (status, document["code"], int(headers[b"retry-after"]) > 0) == (429, "too_busy", True)
        await done
        go_on.set()
        for one, task in running:
            assert (await one.start())[0] == 200
            await task


async def test_connections_are_kept_and_used_again() -> None:
    async with behind(ok) as (proxy, service):
        for _ in range(5):
            heard, done = asked(proxy, "GET", "/api/v1/segments")
            assert (await heard.start())[0] == 200
            await done
        assert service.opened == 1


@pytest.mark.parametrize("away", Backend)
async def test_readyz_says_which_service_is_not_ready_and_healthz_needs_none(away: Backend) -> None:
    world = World()
    async with world.client(None) as client:
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["parts"]["query"], ready.json()["parts"]["control"]) == (200, "ok", "ok")
        world.services[away].away = True
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["parts"][away.value]) == (503, "does not answer")
        assert ready.json()["parts"][next(one for one in Backend if one is not away)] == "ok"
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.post("/readyz")).status_code == 405
    answers = {Backend.QUERY: await world.get("segments"), Backend.CONTROL: await world.get("keys")}
    for backend, answer in answers.items():
        assert answer.status_code == (503 if backend is away else 200)


async def test_readyz_names_what_the_services_stand_on() -> None:
    world = World()
    world.space.away = True
    async with world.client(None) as client:
        ready = await client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["parts"] | {"query": "not ready", "redis": "does not answer", "control": "ok"} == ready.json()["parts"]


async def test_the_document_needs_both_services_once_and_then_neither() -> None:
    world = World()
    async with world.client(None) as client:
        world.services[Backend.CONTROL].away = True
        answer = await client.get("/api/v1/openapi.json")
        assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
        world.services[Backend.CONTROL].away = False
        whole = await client.get("/api/v1/openapi.json")
        assert whole.json() == world.document()
        world.services[Backend.CONTROL].away = True
        assert (await client.get("/api/v1/openapi.json")).content == whole.content


async def test_a_key_made_by_control_opens_query_and_requests_are_counted_by_service() -> None:
    world = World()
    made = await world.post("keys", {"kind": "query", "name": "reports", "scopes": ["read"]}, FULL)
    assert (await world.get("segments", made.json()["secret"])).status_code == 200
    async with world.client(None) as client:
        told = (await client.get("/metrics")).text
    assert 'rapport_proxy_requests_total{backend="control",code="201"} 1.0' in told
    assert 'rapport_proxy_requests_total{backend="query",code="200"} 1.0' in told


def test_headers_that_connection_names_are_left_out_whatever_their_case() -> None:
    sent = [(b"Connection", b"X-One , keep-alive"), (b"X-One", b"1"), (b"X-Two", b"2"), (b"Upgrade", b"h2c")]
    assert passed_on(sent) == [(b"x-two", b"2")]
