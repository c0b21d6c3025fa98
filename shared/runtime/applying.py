"""How records are applied to a slot, in order and without a gap: load states -> fold -> commit -> publish."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from shared.contracts.topics import DEFINITION_ACTIVATED
from shared.runtime.cut import ARCHIVE
from shared.runtime.failures import Failure, Poisoned
from shared.runtime.stage import Record
from shared.runtime.waking import Waking

S = TypeVar("S")
R = TypeVar("R")


class Applying(Waking[S, R]):
    """How records are applied. Whoever calls holds `lock` (slot.py)."""

    async def _chunk(self, topic: str, records: Sequence[Record]) -> None:
        await self._read_up_to(topic, records[0].offset)
        await self._apply(topic, records)
        for other, end in list(self.delivered.items()):  # what came meanwhile and was left out: nobody else would bring it
            if self.position[other] < end:
                await self._read_up_to(other, end)

    async def _read_up_to(self, topic: str, until: int) -> None:
        """Fill the gap between where the slot stands and `until` with a plain reader."""
        if self.position[topic] < until:
            self.observer.gap(self.stage.name, until - self.position[topic])
        with self._rereading():
            while self.position[topic] < until:
                records, following = await self.log.read(topic, self.partition, self.position[topic], until)
                if records:
                    await self._apply(topic, records)
                self.position[topic] = max(self.position[topic], following)
        await self._rebuilt()

    @contextmanager
    def _rereading(self) -> Iterator[None]:
        """It reads what is older; however many short pieces that has, it began with the first."""
        since, self._rereading_since = self._rereading_since, self._rereading_since or time.monotonic()
        try:
            yield
        finally:
            self._rereading_since = since

    async def _rebuilt(self) -> None:
        reached = all(self.position[topic] >= end for topic, end in self._targets.items())
        if reached and self.meta.rebuilding and ARCHIVE not in self.position:
            self.meta.rebuilding = False
            await self._commit_alone()

    async def _apply(self, topic: str, records: Sequence[Record]) -> None:
        """Fold and commit `records`, in as few commits as failures, timers and the byte bound allow."""
        records = [record for record in records if record.offset >= self.position[topic]]
        if topic == DEFINITION_ACTIVATED and len(records) > 1:
            for record in records:  # one plan at a time: years of them may come together
                await self._apply(topic, [record])
            return
        poison: dict[int, Failure] = {}
        watched: set[str] = set()
        index, stop = 0, len(records)
        if records and topic != ARCHIVE:
            self._turns.to(topic, None if self._retracing else self.position)
        if topic == DEFINITION_ACTIVATED:
            await self._plans.ready(records)
        while index < len(records):
            at_hand, beside = await self._loading.records(records, index, stop)
            failed: list[Poisoned] = []
            batch = self._attempt(topic, watched, lambda batch: batch.fold(records, index, at_hand, poison, beside), failed)  # noqa: B023
            if batch is None:
                for one in failed:
                    again = one.offset in poison  # not even the dead letter could be made of it
                    poison[one.offset] = replace(one.failure, bare=again)
                    stop = one.index if one.index > index else len(records)
                continue
            done = batch.done
            if done > index:
                self.position[topic] = records[done - 1].offset + 1
                self.append_ms[topic] = records[done - 1].timestamp
                if topic == ARCHIVE:
                    self.archived.count(self.meta, records[index:done])
                await self._finish(batch, {record.offset: record.value for record in records[index:done]})
            if batch.due:
                await self._fire(topic, records[done])
                done += 1
            index, stop = done, len(records)
        await self._rebuilt()
