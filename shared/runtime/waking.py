"""Time comes to a slot: timers that are due at a clock record, then a page of the sweep, if one is under way.

A sweep looks at everybody whom the slot has met, in the order of their keys, after a set of definitions took effect. Each clock record
takes it on by one page, whose last commit moves the clock. So which page comes at which record follows from the log alone, and a refold
publishes the same outputs under the same causes.
"""

from typing import Final, TypeVar

from shared.contracts.clock import decode_clock
from shared.runtime.committing import Committing
from shared.runtime.failures import Failure, TimerFailed
from shared.runtime.meta import Sweep, time_of
from shared.runtime.stage import Record

S = TypeVar("S")
R = TypeVar("R")

TIMER_PAGE: Final = 500
SWEEP_PAGE: Final = 500
"""Keys of a sweep a clock record. Each resolver slot says one a second."""


class Waking(Committing[S, R]):
    """How keys are woken. Whoever calls holds `lock` (slot.py)."""

    async def _fire(self, topic: str, clock: Record) -> None:
        """Wake every key whose timer is due at this clock record, a page a commit, then let the clock move."""
        said = decode_clock(clock.value or b"")
        clocks = self.meta.clocks | {said.slot: said.now}
        now = time_of(clocks)
        poison: dict[str, Failure] = {}
        watched: set[str] = set()
        while keys := await self.store.due(now, TIMER_PAGE):
            keys = await self._loading.timers(keys)
            fired = self._fired_at(clock)
            failed: list[TimerFailed] = []
            batch = self._attempt(topic, watched, lambda batch: batch.wake(keys, clock, now, fired, poison), failed)  # noqa: B023
            if batch is None:
                poison.update((one.key, one.failure) for one in failed)
                continue
            self.meta.fired = (clock.offset, batch.step.index)
            await self._finish(batch, {clock.offset: clock.value})
            self.observer.timers_fired(self.stage.name, batch.woken, now)
        if self.meta.sweep is None or not now:
            self._moved(topic, clock, clocks)
        else:
            await self._sweep(topic, clock, clocks, now)
        self._first_due = await self.store.first_due()

    def _fired_at(self, clock: Record) -> int:
        """How many outputs have been made at this clock record."""
        return self.meta.fired[1] if self.meta.fired[0] == clock.offset else 0

    def _moved(self, topic: str, clock: Record, clocks: dict[int, int]) -> None:
        self.meta.clocks, self.meta.fired = clocks, (-1, 0)
        self.position[topic] = clock.offset + 1

    async def _sweep(self, topic: str, clock: Record, clocks: dict[int, int], now: int) -> None:
        """Look at one page of keys, in as many commits as the byte bound asks for; the last of them moves the clock."""
        poison: dict[str, Failure] = {}
        watched: set[str] = set()
        left = 1
        while left and (sweep := self.meta.sweep) is not None:
            page = await self.store.index_page(self.stage.met, sweep.after, SWEEP_PAGE - sweep.done)
            keys = await self._loading.timers(page) if page else page
            fired = self._fired_at(clock)
            failed: list[TimerFailed] = []
            batch = self._attempt(topic, watched, lambda batch: batch.sweep(keys, clock, now, fired, poison), failed)  # noqa: B023
            if batch is None:
                poison.update((one.key, one.failure) for one in failed)
                continue
            left = len(page) - batch.woken
            if left:
                self.meta.sweep = Sweep(page[batch.woken - 1], sweep.done + batch.woken)
                self.meta.fired = (clock.offset, batch.step.index)
            else:
                whole = sweep.done + len(page) == SWEEP_PAGE
                self.meta.sweep = Sweep(page[-1], 0) if whole else None
                self._moved(topic, clock, clocks)
            await self._finish(batch, {clock.offset: clock.value})
            self.observer.swept(self.stage.name, self.partition, batch.woken, self.meta.sweep is not None)
