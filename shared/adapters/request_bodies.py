"""What a client still sends of a body that is refused."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

SWALLOWED_BODIES: Final = 4
"""Of a body that is too large at most so many times the limit is read on before the connection is closed."""


async def swallow(headers: Mapping[bytes, bytes], receive: Receive, limit: int, seconds: float) -> None:
    """Read on for `seconds` at most: hung up on while it sends, the client would see a broken connection and never the answer.

    `limit`: bytes that a body may have. A client that asks first (`Expect`) is not told to go on.
    """
    if b"expect" in headers:
        return
    left = SWALLOWED_BODIES * limit
    try:
        async with asyncio.timeout(seconds):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
    except TimeoutError:
        return
