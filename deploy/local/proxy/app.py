"""One address for all of /api/v1: each request goes to the service that answers it, and its answer comes back as it is.

What the client sees is what the service says: status, headers, body, problem documents. Where a service is away the answer is 503 with
Retry-After, a problem document too, and what the other service answers goes on.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

import msgspec
import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from deploy.local.proxy.bodies import GoneError, Receive, TooLargeError, read_body
from deploy.local.proxy.document import ConflictError, merged
from deploy.local.proxy.metrics import Failure, Metrics
from deploy.local.proxy.problems import Reply, problem, reply_json
from deploy.local.proxy.routes import DOCUMENT, Backend, backend_of
from deploy.local.proxy.services import Answer, Asked, CutError, Headers, NoAnswerError, Service
from shared.adapters.request_bodies import swallow
from shared.contracts.bodies import most_bytes

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
READY_SECONDS: Final = 2.5
"""A service says within a second how it is; who checks a container waits 3 s (deploy/images/ready.py)."""
RETRY_SECONDS: Final = 2
REQUEST_ID: Final = b"x-request-id"
_log = structlog.get_logger("proxy")


class Proxy:
    """An ASGI application. `body_seconds`: a body must have come within; `answer_seconds`: each step of an answer; `ready_seconds`: whether
    a service is ready.
    """

    def __init__(
        self,
        services: Mapping[Backend, Service],
        metrics: Metrics,
        body_seconds: float,
        answer_seconds: float,
        ready_seconds: float = READY_SECONDS,
    ) -> None:
        self._services, self._metrics = services, metrics
        self._body_seconds, self._answer_seconds, self._ready_seconds = body_seconds, answer_seconds, ready_seconds
        self._documents: dict[Backend, Any] = {}
        self._own: dict[str, Callable[[], Awaitable[Reply]]] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._prometheus,
            DOCUMENT: self._document,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                for service in self._services.values():
                    await service.close()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        own = self._own.get(scope["path"])
        backend = None if own is not None else backend_of(scope["path"])
        given = next((value for name, value in scope["headers"] if name == REQUEST_ID), None)
        status = 0

        async def answer(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if given is not None and not any(name == REQUEST_ID for name, _ in message["headers"]):
                    message["headers"] = [*message["headers"], (REQUEST_ID, given)]
            async with asyncio.timeout(self._answer_seconds):  # a client that takes nothing holds a place no longer
                await send(message)

        try:
            if backend is not None:
                await self._forward(backend, scope, receive, answer)
            elif own is not None:
                only_get = problem(405, "method_not_allowed", "this path does not answer that method", [(b"allow", b"GET")])
                await (await own() if scope["method"] == "GET" else only_get).send(answer)
        except (TimeoutError, GoneError):
            _log.info("client_gone", backend=backend)
        finally:
            label = backend or "proxy"
            self._metrics.requests.labels(label, str(status)).inc()
            self._metrics.seconds.labels(label).observe(time.perf_counter() - began)

    async def _forward(self, backend: Backend, scope: Scope, receive: Receive, send: Send) -> None:
        asked = await self._asked(scope, receive)
        if isinstance(asked, Reply):
            return await asked.send(send)
        try:
            async with self._services[backend].ask(asked, self._answer_seconds) as answer:
                await _stream(answer, send)
        except NoAnswerError as failed:
            self._failed(backend, failed.reason)
            await _no_answer(backend, failed, asked.method).send(send)
        except CutError:  # the head is out: a connection that breaks off says that the answer is not whole
            self._failed(backend, Failure.CUT)

    async def _asked(self, scope: Scope, receive: Receive) -> Asked | Reply:
        """The request as it goes out, or why it does not."""
        headers: Headers = list(scope["headers"])
        most = most_bytes(scope["path"])
        try:
            body = await read_body(headers, receive, self._body_seconds, most)
        except TooLargeError:
            await swallow(dict(headers), receive, most, self._body_seconds)
            return problem(413, "body_too_large", f"a body has at most {most} bytes", [(b"connection", b"close")])
        except TimeoutError:
            message = f"the body did not arrive within {self._body_seconds:g} s"
            return problem(408, "body_timeout", message, [(b"connection", b"close")])
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        return Asked(scope["method"], target, headers, body)

    def _failed(self, backend: Backend, reason: Failure) -> None:
        self._metrics.failures.labels(backend.value, reason.value).inc()
        _log.warning("service_away", backend=backend.value, reason=reason.value)

    async def _healthz(self) -> Reply:
        return reply_json(200, {"status": "ok"})

    async def _prometheus(self) -> Reply:
        return Reply(200, [(b"content-type", CONTENT_TYPE_LATEST.encode())], generate_latest(self._metrics.registry.collectors))

    async def _readyz(self) -> Reply:
        """Ready means that every path is answered. `parts` says which service is not ready, and what each of them stands on."""
        found = await asyncio.gather(*(self._ready(backend) for backend in Backend))
        told = {backend.value: trouble or "ok" for backend, (trouble, _) in zip(Backend, found, strict=True)}
        for _, parts in found:
            told |= {name: text for name, text in parts.items() if told.get(name, "ok") == "ok"}
        ready = all(trouble is None for trouble, _ in found)
        return reply_json(200 if ready else 503, {"status": "ready" if ready else "not ready", "parts": told})

    async def _ready(self, backend: Backend) -> tuple[str | None, dict[str, str]]:
        """Why a service is not ready, and its own parts."""
        try:
            async with asyncio.timeout(self._ready_seconds):
                status, body = await self._whole(backend, b"/readyz")
            parts = msgspec.json.decode(body, type=_Ready).parts
        except (NoAnswerError, CutError, TimeoutError, msgspec.DecodeError):
            return "does not answer", {}
        return None if status == 200 else "not ready", parts

    async def _document(self) -> Reply:
        """The document of each service as it was last told: a service that is away meanwhile has lost no operation."""
        await asyncio.gather(*(self._learn(backend) for backend in Backend))
        missing = [backend for backend in Backend if backend not in self._documents]
        if missing:
            return _no_answer(missing[0], NoAnswerError(Failure.UNREACHABLE, sent=False), "GET")
        try:
            return reply_json(200, merged([self._documents[backend] for backend in Backend]))
        except ConflictError as conflict:
            _log.error("documents_conflict", name=str(conflict))
            message = f"query and control are of different releases: they disagree on {conflict}"
            return problem(503, "service_unavailable", message, [(b"retry-after", b"%d" % RETRY_SECONDS)])

    async def _learn(self, backend: Backend) -> None:
        try:
            status, body = await self._whole(backend, DOCUMENT.encode())
        except (NoAnswerError, CutError):
            return
        if status == 200:
            self._documents[backend] = msgspec.json.decode(body)

    async def _whole(self, backend: Backend, target: bytes) -> tuple[int, bytes]:
        async with self._services[backend].ask(Asked("GET", target, [], b""), self._answer_seconds) as answer:
            return answer.status, b"".join([chunk async for chunk in answer.chunks])


class _Ready(msgspec.Struct):
    parts: dict[str, str]


async def _stream(answer: Answer, send: Send) -> None:
    """Pass an answer on as it comes; nothing is gathered."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    async for chunk in answer.chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _no_answer(backend: Backend, failed: NoAnswerError, method: str) -> Reply:
    retry = [(b"retry-after", b"%d" % RETRY_SECONDS)]
    if failed.reason is Failure.BUSY:
        return problem(429, "too_busy", f"{backend} has as many requests under way as it may: ask again after Retry-After", retry)
    message = f"the part of the API that answers this ({backend}) does not answer now: ask again after Retry-After"
    if failed.sent and method not in ("GET", "HEAD"):
        message += ". The request had reached it: it may have been carried out"
    return problem(503, "service_unavailable", message, retry)
