"""How a slot is taken over: it begins at the fence, and reads its inputs in the order that led to the published outputs.

After a crash between commit and acknowledgement the next owner publishes the outbox that it finds, and goes on at the fence.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import structlog

from shared.contracts.definitions import ACTIVATED_DECODER
from shared.contracts.topics import DEFINITION_ACTIVATED
from shared.runtime.applying import Applying
from shared.runtime.archived import NEVER, begin_again
from shared.runtime.backoff import Backoff
from shared.runtime.cut import ARCHIVE
from shared.runtime.forgetting import Asking, Place, log_loss, open_slot
from shared.runtime.meta import Meta
from shared.runtime.outbox import Outbox, decode_outbox, drop_lost, passed_on
from shared.runtime.ports import Fenced, LogAway, RolledBack, StoreAway, TopicPartition
from shared.runtime.positions import start_of, tail_lost
from shared.runtime.published import Newest
from shared.runtime.turns import Told, Turns, split, strays

S = TypeVar("S")
R = TypeVar("R")
_log = structlog.get_logger("runtime")

FIRST_WAIT_S: Final = 0.05
LONGEST_WAIT_S: Final = 2.0


class TakingOver(Applying[S, R]):
    """How a slot becomes ours. Whoever calls holds `lock` (slot.py)."""

    async def _nothing(self) -> None:
        return

    async def _persist(self, work: Callable[[], Awaitable[None]]) -> bool:
        backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S)
        while True:
            try:
                if self.token is None:
                    await self._take_over()
                await work()
            except Fenced:
                self.release()
                if not self.wanted():
                    return False
                _log.warning("slot taken by another worker, asking again", stage=self.stage.name, slot=self.partition)
            except RolledBack as lost:
                log_loss(self.stage.name, self.partition, str(lost))
                self.observer.rolled_back(self.stage.name)
                self.release()
                continue
            except (StoreAway, LogAway) as away:
                self.waits_for = str(away)
                _log.warning("waiting for a server", stage=self.stage.name, slot=self.partition, detail=self.waits_for)
                self.observer.retried(self.stage.name)
                self.release()
                if not self.wanted():
                    return False
            except asyncio.CancelledError:
                self.release()  # nobody knows how far the last call came
                raise
            else:
                self.waits_for = None
                return True
            await asyncio.sleep(backoff.next())

    async def _take_over(self) -> None:
        token = secrets.token_hex(8)
        place = Place(self.stage.name, self.partition, self.stage.reads)
        asking = Asking(self._standing, self.archived.shortened, self.archived.gives_back)
        fields, raw_outbox = await open_slot(self.store, token, place, asking)
        meta = Meta.decode(fields).begun_after(self.meta)
        meta.written = max(meta.written, self.stage.writes)
        inputs = [(topic, self.partition) for topic in self.stage.inputs]
        bounds = await self.log.bounds(inputs)
        committed = await self.log.committed(self.group, inputs)
        below = await self.archived.begin(meta, bounds, committed, self._plans.before)
        if meta.seq == 0 and not meta.definitions and DEFINITION_ACTIVATED in self.stage.inputs:
            meta.definitions = await self._stood_before(bounds[DEFINITION_ACTIVATED, self.partition])
        await self._plans.make(meta.definitions)
        await self._know_all(token, meta)
        for where in inputs:
            meta.fences[where[0]] = start_of(self.stage.name, *where, meta.fences.get(where[0]), bounds[where], self.observer)
        self.meta = meta
        self.position = dict(meta.fences)
        self._targets = {topic: end for (topic, _), (_, end) in bounds.items()}
        meta.rebuilding = below or any(self.position[topic] < end for topic, end in self._targets.items())
        self._first_due = await self.store.first_due()
        self._cache.clear()
        self._newest, self._scanned = await self._tails.newest(self.partition, meta.published)
        self.token = token
        self._turns = Turns(self.stage.name, self.partition, meta.on)
        self._retracing = True
        if raw_outbox:
            await self._publish_left_over(decode_outbox(raw_outbox), bounds)
        await self._commit(None, b"")
        self.observer.taken_over(self.stage.name, self.partition)
        with self._rereading():
            await self._fold_archive()
            await self._retrace(self.archived.above(self.meta.cut, {topic: first for (topic, _), (first, _) in bounds.items()}))
            self._all_new()
            if not self.meta.definitions and DEFINITION_ACTIVATED in self.stage.inputs:  # what comes before any set is counted by none
                await self._read_up_to(DEFINITION_ACTIVATED, bounds[DEFINITION_ACTIVATED, self.partition][1])
            for topic, partition in inputs:
                end = bounds[topic, partition][1]
                await self._read_up_to(topic, min(end, max(committed[topic, partition], self.delivered.get(topic, 0))))

    async def _stood_before(self, bounds: tuple[int, int]) -> int:
        """The set of definitions that was in force before the first record that is left of definition.activated; 0 if none has left it."""
        first, end = bounds
        if first == 0:
            return 0
        records, _ = await self.log.read(DEFINITION_ACTIVATED, self.partition, first, end)
        until = ACTIVATED_DECODER.decode(records[0].value or b"").activated_at if records else NEVER
        return self._plans.before(until)

    async def _know_all(self, token: str, meta: Meta) -> None:
        """A release that kept no index of keys has left states: a sweep must find them."""
        if self.stage.met and not meta.met:
            if meta.seq:
                await self.store.index_states(token, self.stage.met)
            meta.met = True

    async def _fold_archive(self) -> None:
        """Fold what lies below the cut, if there is one. A new owner goes on where the last one died."""
        cut = self.meta.cut
        if cut is None or cut.done:
            return
        async for records in self.archived.pages(cut, self.meta, self.position):
            await self._apply(ARCHIVE, records)
        if await self.archived.overtaken(cut):
            await self.store.forget(self.token or "", self.meta.generation)
            raise begin_again()
        await self.archived.leave(cut, self.meta)
        del self.position[ARCHIVE]
        await self._commit_alone()

    async def _retrace(self, first: Mapping[str, int]) -> None:
        """Go the way again that led to what is published: fold what it followed from, in the same order."""
        if self.meta.fired[0] >= 0:  # died between timers: nothing else was read before the rest of them
            await self._reread_up_to(self.meta.on, self.meta.fired[0] + 1)
            self.meta.fired = (-1, 0)
        told = Told(self.log, self.stage.name, self.partition)
        async for turn in told.turns(self.meta.published.get(told.where, 0), dict(self.position), first):
            if strays(turn.at, self.position):
                words = "the store holds what was never published and went otherwise since: restore another copy, or none"
                _log.error(words, stage=self.stage.name, slot=self.partition)
            for topic in self.stage.inputs:
                await self._reread_up_to(topic, turn.at[topic])
            self._turns.on = turn.to
        self._scanned[told.where] = told.end
        for topic in sorted(self.stage.inputs, key=lambda topic: topic != self._turns.on):
            await self._reread_up_to(topic, self._newest.upto(f"{self.stage.name}|{topic}|{self.partition}"))

    async def _reread_up_to(self, topic: str, until: int) -> None:
        if until > self._targets[topic]:  # the end may have been noted before the last owner read on
            self._targets[topic] = (await self.log.bounds([(topic, self.partition)]))[topic, self.partition][1]
            if until > self._targets[topic]:
                raise tail_lost(self.stage.name, topic, self.partition, self._targets[topic], until)
        await self._read_up_to(topic, until)

    def _all_new(self) -> None:
        """All that was published before the takeover has been met again: what comes now is new, and the tails need not be read again."""
        self._retracing = False
        self._newest = Newest()
        self.meta.published.update(self._scanned)
        self._scanned = {}

    async def _publish_left_over(self, outbox: Outbox, bounds: Mapping[TopicPartition, tuple[int, int]]) -> None:
        turns, outputs = split(outbox.outputs)
        outbox.outputs = [*turns, *self._newest.drop_published(outputs)]  # what is in the log is not lost, whatever became of its input
        drop_lost(outbox, bounds.get((outbox.topic, self.partition), (0, 0))[0], self.stage.name, self.partition, self.observer)
        await self._publish(outbox.outputs, await passed_on(self.log, outbox, self.partition))
