"""The processes behind the one address, over connections that are kept: one request out, its answer back as it comes."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlsplit

import httpcore

from deploy.local.proxy.metrics import Failure

Headers = list[tuple[bytes, bytes]]
PLACES: Final = 256
"""So many requests of one service are under way at a time."""
CONNECT_SECONDS: Final = 2.0
WRITE_SECONDS: Final = 10.0
KEPT_SECONDS: Final = 20.0
"""A connection without work is kept so long; services keep theirs longer (shared/http/server.py), so none is closed under a request."""
KEPT: Final = 32
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing: sent once more where a kept connection turned out to be dead."""
HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te", b"trailer", b"trailers",
     b"transfer-encoding", b"upgrade"}
)  # fmt: skip


class NoAnswerError(Exception):
    """A service did not answer. `sent`: the request had gone out, so it may have been carried out."""

    def __init__(self, reason: Failure, sent: bool) -> None:
        super().__init__(reason.value)
        self.reason, self.sent = reason, sent


class CutError(Exception):
    """The answer ended before its end."""


@dataclass(frozen=True)
class Asked:
    """`target`: path and query as the client wrote them. `body` is whole."""

    method: str
    target: bytes
    headers: Headers
    body: bytes


@dataclass(frozen=True)
class Answer:
    """`chunks` raises CutError."""

    status: int
    headers: Headers
    chunks: AsyncIterator[bytes]


class Service(Protocol):
    """What the proxy needs of a process behind it; tests hand in one in memory."""

    def ask(self, asked: Asked, seconds: float) -> AbstractAsyncContextManager[Answer]:
        """Its answer, as an async context manager. Raises NoAnswerError."""

    async def close(self) -> None: ...


def passed_on(headers: Sequence[tuple[bytes, bytes]]) -> Headers:
    """Headers without those that are of one connection: the usual ones, and what `Connection` names."""
    lowered = [(name.lower(), value) for name, value in headers]
    named = {one.strip().lower() for name, value in lowered if name == b"connection" for one in value.split(b",")}
    return [(name, value) for name, value in lowered if name not in HOP_BY_HOP and name not in named]


class HttpService:
    """A service at http://host:port."""

    def __init__(self, url: str, places: int = PLACES) -> None:
        """No connection is made yet. `places`: so many requests are under way at a time."""
        parts = urlsplit(url)
        self._host, self._port = (parts.hostname or "").encode(), parts.port or 80
        self._authority = parts.netloc.encode()
        self._places, self._under_way = places, 0
        self._pool = httpcore.AsyncConnectionPool(max_connections=places, max_keepalive_connections=KEPT, keepalive_expiry=KEPT_SECONDS)

    @asynccontextmanager
    async def ask(self, asked: Asked, seconds: float) -> AsyncIterator[Answer]:
        """The answer, whose body comes as the service sends it. Raises NoAnswerError. `seconds`: for its head, and for each piece of it."""
        if self._under_way >= self._places:
            raise NoAnswerError(Failure.BUSY, sent=False)
        self._under_way += 1
        try:
            response = await self._response(asked, seconds)
            try:
                yield Answer(response.status, passed_on(response.headers), _chunks(response))
            finally:
                with suppress(httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError):
                    await response.aclose()
        finally:
            self._under_way -= 1

    async def _response(self, asked: Asked, seconds: float) -> httpcore.Response:
        try:
            return await self._once(asked, seconds)
        except NoAnswerError as failed:
            if failed.reason is not Failure.BROKEN_OFF or asked.method not in SAFE:
                raise
        return await self._once(asked, seconds)

    async def _once(self, asked: Asked, seconds: float) -> httpcore.Response:
        url = httpcore.URL(scheme=b"http", host=self._host, port=self._port, target=asked.target)
        timeout = {"connect": CONNECT_SECONDS, "read": seconds, "write": WRITE_SECONDS, "pool": CONNECT_SECONDS}
        request = httpcore.Request(asked.method, url, headers=self._headers(asked), content=asked.body, extensions={"timeout": timeout})
        try:
            return await self._pool.handle_async_request(request)
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            raise NoAnswerError(Failure.UNREACHABLE, sent=False) from error
        except httpcore.PoolTimeout as error:
            raise NoAnswerError(Failure.BUSY, sent=False) from error
        except httpcore.TimeoutException as error:
            raise NoAnswerError(Failure.SILENT, sent=True) from error
        except (httpcore.NetworkError, httpcore.RemoteProtocolError) as error:
            raise NoAnswerError(Failure.BROKEN_OFF, sent=True) from error

    def _headers(self, asked: Asked) -> Headers:
        """Those of the client, with the length of the body as it is here, and a host, which HTTP/1.0 need not name."""
        kept = [(name, value) for name, value in passed_on(asked.headers) if name not in (b"content-length", b"expect")]
        if not any(name == b"host" for name, _ in kept):
            kept.insert(0, (b"host", self._authority))
        if asked.body or asked.method in ("POST", "PUT", "PATCH"):
            kept.append((b"content-length", b"%d" % len(asked.body)))
        return kept

    async def close(self) -> None:
        await self._pool.aclose()


async def _chunks(response: httpcore.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.aiter_stream():
            yield chunk
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        raise CutError(type(error).__name__) from error
