"""The body of a request, decoded, in pieces that are worth handing on; and the client's hanging up."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from deploy.local.clickhouse_server.compression import Coder

PIECE_BYTES: Final = 1 << 20

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class ClientGoneError(Exception):
    """The client hung up before its request was whole."""


class Body:
    """Reads once, from the front."""

    def __init__(self, receive: Receive, decoder: Coder) -> None:
        self._receive, self._decoder = receive, decoder
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether everything has been read."""
        return self._ended

    async def read(self, at_least: int) -> bytes:
        """The next `at_least` decoded bytes or a little more; less only at the end, nothing after it.

        Raises ClientGoneError, and ClickHouseError for a body that is not coded as it says.
        """
        pieces: list[bytes] = []
        size = 0
        while not self._ended and size < at_least:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            piece = self._decoder.feed(message.get("body", b""))
            if not message.get("more_body", False):
                self._ended = True
                piece += self._decoder.end()
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)

    async def hung_up(self) -> None:
        """Return when the client has gone; to be awaited once everything was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
