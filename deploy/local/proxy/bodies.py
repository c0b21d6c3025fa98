"""The body of a request, whole before a service hears of it: a client that sends slowly holds no place there."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class TooLargeError(Exception):
    """The body has more bytes than the service takes."""


class GoneError(Exception):
    """The client has hung up."""


async def read_body(headers: list[tuple[bytes, bytes]], receive: Receive, seconds: float, most: int) -> bytes:
    """All of it, `most` bytes at most. Raises TooLargeError, at once where the head says so; TimeoutError; GoneError."""
    said = next((value for name, value in headers if name == b"content-length"), b"0")
    if said.isdigit() and int(said) > most:
        raise TooLargeError
    body = bytearray()
    async with asyncio.timeout(seconds):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise GoneError
            body += message.get("body", b"")
            if len(body) > most:
                raise TooLargeError
            if not message.get("more_body", False):
                return bytes(body)
