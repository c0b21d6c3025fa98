"""Reads a request's body off the wire, capped while it streams."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from services.ingest.domain.reasons import Refusal, Refused

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class Gone(Exception):
    """The client hung up before its body was complete: nobody waits for an answer."""


async def read_body(headers: dict[bytes, bytes], receive: Receive, limit: int, seconds: float) -> bytes:
    """The whole body. Raises Refused (400) as soon as it is, or says it will be, larger than `limit`; 503 if it stalls; Gone."""
    declared = headers.get(b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    body: bytes = message.get("body", b"")
    if len(body) > limit:
        raise _too_large(limit)
    if not message.get("more_body"):
        return body
    try:
        async with asyncio.timeout(seconds):
            return await _rest(body, receive, limit)
    except TimeoutError:
        raise Refused(503, Refusal.BODY_TIMEOUT, f"the body did not arrive within {seconds} s", retry_after=1) from None


async def _rest(start: bytes, receive: Receive, limit: int) -> bytes:
    parts, total, more = [start], len(start), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part: bytes = message.get("body", b"")
        parts.append(part)
        total += len(part)
        if total > limit:
            raise _too_large(limit)
        more = message.get("more_body", False)
    return b"".join(parts)


def _too_large(limit: int) -> Refused:
    return Refused(400, Refusal.BODY_TOO_LARGE, f"a body has at most {limit} bytes")
