"""uvicorn's HTTP protocol, but that an answer's head and body go out in one write: a write costs a tenth of a single event.

Pinned to uvicorn 0.54: it takes the place of the class that the protocol makes for each request.
"""

import asyncio
from typing import Any, cast

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http import httptools_impl


class _Kept:
    """Stands in for the transport while the head is made."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


class _Headed:
    """Puts the head before what is written first, and lets go of it before the connection is closed."""

    def __init__(self, transport: asyncio.Transport, head: bytes) -> None:
        self._transport, self._head = transport, head

    def write(self, data: bytes) -> None:
        head, self._head = self._head, b""
        self._transport.write(head + data)

    def flush(self) -> None:
        if self._head:
            self.write(b"")

    def close(self) -> None:
        self.flush()
        self._transport.close()


class _OneWriteCycle(httptools_impl.RequestResponseCycle):
    _head = b""

    async def send(self, message: ASGISendEvent) -> None:
        transport = self.transport
        stand_in: Any = _Headed(transport, self._head) if self.response_started else _Kept()
        self.transport = cast(asyncio.Transport, stand_in)
        try:
            await super().send(message)
        finally:
            self.transport = transport
        if isinstance(stand_in, _Kept):
            self._head = stand_in.written
        else:
            self._head = b""
            stand_in.flush()


httptools_impl.RequestResponseCycle = _OneWriteCycle  # type: ignore[misc]


class OneWriteProtocol(httptools_impl.HttpToolsProtocol):
    """To be handed to uvicorn."""
