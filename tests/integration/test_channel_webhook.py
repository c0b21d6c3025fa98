"""Webhooks over real sockets: a receiver that checks signatures on its own, and servers that answer late, elsewhere or not at all."""

import asyncio
import base64
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC

from deploy.local.ports import HOST, free_port
from services.messaging.adapters.outbound import KEPT_S, Target
from services.messaging.channels.webhook import Hook, Receiver, WebhookProvider
from services.messaging.domain.outcome import Deferred, Failed, Outcome, Sent, Unknown
from services.messaging.domain.reasons import Reason
from tests.certificates import Authority
from tests.recording_http import CUT, HANG, Answer, RecordingHttp, Reply, Request

KEY = bytes(range(40, 80))
ID = "0123456789abcdef" * 2
BODY = json.dumps({"type": "journey.message", "data": {"message": "你好"}}).encode()


def is_signed(request: Request, key: bytes = KEY, now: float | None = None) -> bool:
    """As a receiver decides it, by another library than the sender's."""
    sent_id, timestamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    if abs((time.time() if now is None else now) - int(timestamp)) > 300:
        return False
    for one in request.headers["webhook-signature"].split(" "):
        version, _, encoded = one.partition(",")
        check = HMAC(key, hashes.SHA256())
        check.update(f"{sent_id}.{timestamp}.".encode() + request.body)
        try:
            check.verify(base64.b64decode(encoded))
        except InvalidSignature:
            continue
        return version == "v1"
    return False


def provider(url: str, *, private: bool = True, reply_s: float = 5.0, ca_file: Path | None = None) -> WebhookProvider:
    return WebhookProvider("crm", Receiver(Target(url, private, ca_file, 5.0, reply_s), (KEY,), 4, None))


async def send(url: str, **options: Any) -> Outcome:
    made = provider(url, **options)
    try:
        return await made.send(Hook(ID, BODY), lambda: True)
    finally:
        await made.close()


async def test_a_receiver_finds_id_time_signature_and_body(tmp_path: Path) -> None:
    with RecordingHttp(lambda request: Reply(204 if is_signed(request) else 401)) as server:
        assert await send(f"{server.url}/hooks/rapport?tenant=7") == Sent()
        [got] = server.requests
    assert (got.method, got.path, got.body) == ("POST", "/hooks/rapport?tenant=7", BODY)
    assert got.headers["webhook-id"] == ID
    assert got.headers["content-type"] == "application/json"
    assert got.headers["host"] == f"{HOST}:{server.port}"
    assert not is_signed(Request(got.method, got.path, got.headers, got.body + b" "))
    assert not is_signed(got, b"another key of many bytes")
    assert not is_signed(got, now=time.time() + 301)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Reply(200, b"x" * 10), Sent()),
        (Reply(200, endless=True), Sent()),
        (Reply(410), Failed(Reason.ENDPOINT_GONE, "HTTP 410")),
        (Reply(422, b"what is this"), Failed(Reason.REFUSED, "HTTP 422")),
        (Reply(429, headers={"Retry-After": "9"}), Deferred(Reason.TRY_LATER, "HTTP 429", after_s=9.0)),
        (Reply(502), Unknown(Reason.REPLY_LOST, "HTTP 502")),
    ],
)
async def test_each_answer_is_understood(answer: Answer, expected: Outcome) -> None:
    with RecordingHttp(lambda request: answer) as server:
        assert await send(server.url) == expected


@pytest.mark.parametrize("answer", [CUT, HANG])
async def test_after_the_request_was_written_no_answer_is_unknown(answer: str) -> None:
    with RecordingHttp(lambda request: answer) as server:
        outcome = await send(server.url, reply_s=0.3)
        assert len(server.requests) == 1
    assert isinstance(outcome, Unknown)
    assert HOST not in outcome.detail


async def test_an_answer_that_drips_for_ever_ends_when_its_time_is_over() -> None:
    """A server that sends a byte now and then keeps no place."""
    gone = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            gone.set()
        finally:
            writer.close()

    port = free_port()
    server = await asyncio.start_server(drip, HOST, port)
    async with server:
        made = WebhookProvider("crm", Receiver(Target(f"http://{HOST}:{port}/", True, None, 0.2, 0.3), (KEY,), 4, None))
        outcome = await made.send(Hook(ID, BODY), lambda: True)
        await made.close()
        assert isinstance(outcome, Unknown | Deferred)
        await asyncio.wait_for(gone.wait(), 20)


async def test_who_is_not_there_was_told_nothing() -> None:
    outcome = await send(f"http://{HOST}:{free_port()}/")
    assert isinstance(outcome, Deferred)
    assert outcome.away
    assert outcome.reason is Reason.PROVIDER_AWAY


async def test_a_redirect_is_not_followed() -> None:
    with RecordingHttp() as other, RecordingHttp(lambda request: Reply(302, headers={"Location": other.url})) as server:
        outcome = await send(server.url)
        assert other.connections == 0
    assert isinstance(outcome, Deferred)
    assert outcome.away


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"])
async def test_an_address_of_our_own_network_is_not_called_unless_the_setting_says_so(host: str) -> None:
    with RecordingHttp() as server:
        outcome = await send(f"https://{host}:{server.port}/", private=False)
        assert server.connections == 0
    assert isinstance(outcome, Deferred)
    assert outcome.away
    assert "private" in outcome.detail or "gaierror" in outcome.detail


async def test_a_name_is_resolved_once_and_the_connection_goes_to_what_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that answers first with a good address and then with ours changes nothing."""
    loop, asked = asyncio.get_running_loop(), []

    with RecordingHttp() as server:

        async def resolve(host: str, port: int, **options: Any) -> list[Any]:
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (HOST, port))]

        monkeypatch.setattr(loop, "getaddrinfo", resolve)
        assert await send(f"http://hooks.example.com:{server.port}/") == Sent()
        assert asked == ["hooks.example.com"]
        assert server.requests[0].headers["host"] == f"hooks.example.com:{server.port}"
        refused = await send(f"https://hooks.example.com:{server.port}/", private=False)
        assert isinstance(refused, Deferred)
        assert server.connections == 1


async def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(host: str, port: int, **options: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    outcome = await send("https://hooks.example.com/", private=False)
    assert isinstance(outcome, Deferred)
    assert "private" in outcome.detail


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with RecordingHttp() as proxy, RecordingHttp() as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert await send(server.url) == Sent()
        assert proxy.connections == 0


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[tuple[RecordingHttp, Path]]:
    authority = Authority(tmp_path)
    pair = authority.sign("server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    with RecordingHttp(tls=context) as server:
        yield server, authority.certificate


async def test_certificates_are_checked_by_the_name_that_the_setting_has(
    secure: tuple[RecordingHttp, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, ca_file = secure
    assert await send(server.url, ca_file=ca_file) == Sent()
    untrusted = await send(server.url)

    async def resolve(host: str, port: int, **options: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (HOST, port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    misnamed = await send(f"https://hooks.example.com:{server.port}/", ca_file=ca_file)
    for outcome in (untrusted, misnamed):
        assert isinstance(outcome, Deferred)
        assert outcome.away
    assert len(server.requests) == 1


async def test_nothing_is_said_once_it_is_too_late() -> None:
    with RecordingHttp() as server:
        made = provider(server.url)
        outcome = await made.send(Hook(ID, BODY), lambda: False)
        await made.close()
        assert server.connections == 0
    assert outcome == Deferred(Reason.HELD_UP, "it took too long until the endpoint could be called")


async def test_a_connection_is_used_again_and_one_that_was_closed_loses_nothing() -> None:
    assert KEPT_S > 0
    answers = [Reply(200), Reply(200), Reply(200, headers={"Connection": "close"}), Reply(200)]
    with RecordingHttp(lambda request: answers.pop(0)) as server:
        made = provider(server.url)
        for _ in range(4):
            assert await made.send(Hook(ID, BODY), lambda: True) == Sent()
        await made.close()
        assert server.connections == 2
