"""When a key is certainly unknown: the log holds nothing that would make it good. Until that is certain nobody is told 401."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

UNKNOWN_FOR_SECONDS: Final = 1.0
REMEMBERED: Final = 4096


class Certainty:
    """Asks whether the key topic has been read to its end, one question at a time, whoever asks: a flood of unknown keys must not become a
    flood of requests to Kafka. What was found unknown is believed for UNKNOWN_FOR_SECONDS.
    """

    def __init__(self, caught_up: Callable[[], Awaitable[bool]], clock: Callable[[], float] = time.monotonic) -> None:
        """`caught_up`: whether all that the topic held at the call has been read, within a time of its own."""
        self._caught_up, self._clock = caught_up, clock
        self._unknown: dict[str, float] = {}
        self._asking: asyncio.Task[bool] | None = None

    async def reached(self, key_hash: str) -> bool:
        """Whether what is known of this key is all that the log holds; False if that cannot be told. May raise what `caught_up` does."""
        if self._unknown.get(key_hash, float("-inf")) > self._clock():
            return True
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        if not await asyncio.shield(self._asking):
            return False
        if len(self._unknown) >= REMEMBERED:
            self._unknown.clear()
        self._unknown[key_hash] = self._clock() + UNKNOWN_FOR_SECONDS
        return True

    def forget(self) -> None:
        """Some key has changed: believe of none that it is unknown."""
        self._unknown = {}

    async def _ask(self) -> bool:
        return await self._caught_up()
