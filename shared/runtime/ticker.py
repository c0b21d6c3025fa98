"""Clock records: the resolver's slots say each second how far they have come."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from shared.contracts.clock import ClockRecord, encode_clock
from shared.contracts.headers import KIND, KIND_CLOCK
from shared.contracts.slots import partition_count
from shared.contracts.topics import EVENT_RECEIVED, EVENT_RESOLVED
from shared.runtime.batch import CLOCK_KEY
from shared.runtime.ports import Log, LogAway
from shared.runtime.slot import Slot
from shared.runtime.stage import Output

_log = structlog.get_logger("clock")


class Ticker:
    """Appends the progress of every owned resolver slot to all event.resolved partitions, on the full second."""

    def __init__(self, slots: Callable[[], Iterable[Slot[Any, Any]]], log: Log, wall_ms: Callable[[], int] | None = None) -> None:
        self._slots = slots
        self._log = log
        self._wall_ms = wall_ms or (lambda: time.time_ns() // 1_000_000)
        self._said: dict[int, int] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(1.0 - time.time() % 1.0)
            try:
                await self.tick()
            except LogAway as away:
                _log.warning("no clock records while Kafka does not answer", detail=str(away))

    async def tick(self) -> None:
        """One round. The wall clock and the ends are read first: what a slot says can then only be too early, never too late."""
        slots = [slot for slot in self._slots() if slot.token is not None]
        if not slots:
            return
        wall = self._wall_ms()
        ends = await self._log.ends([(EVENT_RECEIVED, slot.partition) for slot in slots])
        await asyncio.gather(*(self._say(slot, ends[EVENT_RECEIVED, slot.partition], wall) for slot in slots))

    async def _say(self, slot: Slot[Any, Any], end: int, wall: int) -> None:
        async with slot.lock:
            if slot.token is None:
                return
            position = slot.position[EVENT_RECEIVED]
            now = wall // 1000 * 1000 if position >= end else slot.append_ms.get(EVENT_RECEIVED, 0)
            if now <= self._said.get(slot.partition, 0):
                return
            value = encode_clock(ClockRecord(slot.partition, now, position))
            key = CLOCK_KEY + str(slot.partition).encode()
            records = [Output(EVENT_RESOLVED, p, key, value, [(KIND, KIND_CLOCK)], position) for p in range(partition_count())]
            slot.note_published(await self._log.publish(records))
            self._said[slot.partition] = now
