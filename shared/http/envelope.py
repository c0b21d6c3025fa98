"""Around every request: the path as the client wrote it, a cap on bodies, one measurement, and an answer to what nobody expected.

Ids of people are parts of paths and may hold a slash. Servers decode `%2F` before anything can route by it; here it stays encoded, and
so does `%25`, so that `decoded` gives back exactly what the client meant.
"""

import re
import time
from typing import Annotated, Final
from urllib.parse import quote, unquote

from fastapi import Path
from pydantic import AfterValidator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.contracts.bodies import MAX_BODY, MOST_LARGE, most_bytes, too_many_parts
from shared.http.metrics import HttpMetrics
from shared.http.problems import internal, respond
from shared.http.reasons import RETRY_SECONDS, Code, Refused

_KEPT: Final = re.compile(rb"%(2[fF]|25)")


def routed(raw_path: bytes) -> str:
    """A raw path with everything decoded but `%2F` and `%25`."""
    return unquote(_KEPT.sub(rb"%25\1", raw_path.partition(b"?")[0]).decode("latin-1"))


def decoded(part: str) -> str:
    """A part of a routed path, decoded to its end."""
    return unquote(part)


ProfileId = Annotated[
    str, Path(min_length=1, max_length=1024, description="profile id; percent-encode it, slashes too"), AfterValidator(decoded)
]


def quoted(part: str) -> str:
    """A part of a path for a URL."""
    return quote(part, safe="")


class Envelope:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics
        self._large = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status, answered = 500, False
        raw_path = scope.get("raw_path")
        if raw_path:
            scope["path"] = routed(raw_path)

        async def answer(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], True
            await send(message)

        try:
            await self._limited(scope, receive, answer)
        except Exception as error:  # outside of this, the server would log it a second time
            if answered:
                raise
            await internal(scope["method"], error)(scope, receive, answer)
        finally:
            operation = getattr(scope.get("route"), "operation_id", None) or "none"
            self._metrics.requests.labels(operation, str(status)).inc()
            self._metrics.seconds.labels(operation).observe(time.perf_counter() - started)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a body that is too large when it has become so, and a large one while others are held."""
        if scope["method"] not in ("POST", "PUT", "PATCH", "DELETE"):
            await self._app(scope, receive, send)
            return
        most, body, is_large = most_bytes(scope["path"]), bytearray(), False
        try:
            more = True
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    return
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > most:
                    await respond(Refused(413, Code.BODY_TOO_LARGE, f"a body has at most {most} bytes"))(scope, receive, send)
                    return
                if len(body) > MAX_BODY and not is_large:
                    if self._large >= MOST_LARGE:
                        busy = f"{MOST_LARGE} bodies of more than {MAX_BODY} bytes are being read already"
                        await respond(Refused(429, Code.TOO_BUSY, busy, retry_after=RETRY_SECONDS))(scope, receive, send)
                        return
                    self._large, is_large = self._large + 1, True
            if is_large and (many := too_many_parts(body)) is not None:
                await respond(Refused(413, Code.BODY_TOO_LARGE, many))(scope, receive, send)
                return
            await self._app(scope, _given_once(bytes(body), receive), send)
        finally:
            self._large -= is_large


def _given_once(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the whole body first."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
