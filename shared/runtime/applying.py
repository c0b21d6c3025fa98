"""How records are applied to a slot: taken over at the fence, the way gone again, then batch by batch.

load states -> fold -> commit states, outbox and fence as one -> publish. A crash anywhere between is made good by the next owner: it
publishes the outbox that it finds and goes on at the fence.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Generic, TypeVar

import structlog

from shared.contracts.rebuilds import Ordered
from shared.runtime.archived import Archive, Archived, begin_again
from shared.runtime.batch import Batch
from shared.runtime.brake import Brake
from shared.runtime.cache import EntryCache
from shared.runtime.cut import ARCHIVE
from shared.runtime.failpoints import failpoint
from shared.runtime.failures import Failure, Poisoned, TimerFailed, Unstorable
from shared.runtime.farther import parts
from shared.runtime.forgetting import Asking, Place, log_loss, open_slot
from shared.runtime.loading import Loading
from shared.runtime.meta import Meta
from shared.runtime.observer import Observer
from shared.runtime.outbox import Outbox, decode_outbox, drop_lost, encode_outbox, passed_on
from shared.runtime.ports import Commit, Fenced, Log, LogAway, RolledBack, StateStore, StoreAway, TopicPartition
from shared.runtime.positions import start_of, tail_lost
from shared.runtime.published import Newest, Tails
from shared.runtime.stage import Output, Record, Stage
from shared.runtime.turns import Told, Turns, split, strays

S = TypeVar("S")
R = TypeVar("R")

TIMER_PAGE = 500
_log = structlog.get_logger("runtime")


class Applying(Generic[S, R]):
    """How a slot is taken over, and how records are applied to it. Whoever calls holds `lock` (slot.py)."""

    def __init__(
        self,
        stage: Stage[S, R],
        partition: int,
        store: StateStore,
        log: Log,
        observer: Observer,
        *,
        group: str,
        cache_size: int = 1000,
        cache_bytes: int = 4 << 20,
        batch_bytes: int = 4 << 20,
        brake: Brake | None = None,
        wanted: Callable[[], bool] = lambda: True,
        tails: Tails | None = None,
        standing: Callable[[], Ordered | None] = Ordered,
        archive: Archive | None = None,
    ) -> None:
        self.stage = stage
        self.partition = partition
        self.store = store
        self.log = log
        self.observer = observer
        self.group = group
        self.wanted = wanted
        self.lock = asyncio.Lock()
        self._standing = standing
        self._tails = tails or Tails(log, stage)
        self.archived = Archived(archive, stage, partition, log)
        self._brake = brake or Brake(0.5, 30.0)
        self.token: str | None = None
        self.meta = Meta()
        self.position: dict[str, int] = {}
        self.delivered: dict[str, int] = {}
        self.append_ms: dict[str, int] = {}
        self._batch_bytes = batch_bytes
        self._cache: EntryCache[S] = EntryCache(cache_size, cache_bytes, stage.weight)
        self._loading = Loading(store, self._cache, 2 * batch_bytes // stage.weight, stage.side_cap > 0)
        self._targets: dict[str, int] = {}
        self._newest = Newest()
        self._scanned: dict[TopicPartition, int] = {}
        self._turns = Turns(stage.name, partition, "")
        self._retracing = False
        self._first_due: int | None = None
        self.waits_for: str | None = None
        self.braked: str | None = None
        self._rereading_since: float | None = None
        self._outbox_since: float | None = None

    def release(self) -> None:
        """Forget everything: the slot is another's now."""
        self.token = None
        self._cache.clear()

    async def _nothing(self) -> None:
        return

    async def _persist(self, work: Callable[[], Awaitable[None]]) -> bool:
        delay = 0.05
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
            await asyncio.sleep(delay)
            delay = min(delay * 2, 2.0)

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
        below = await self.archived.begin(meta, bounds, committed)
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
            for topic, partition in inputs:
                end = bounds[topic, partition][1]
                await self._read_up_to(topic, min(end, max(committed[topic, partition], self.delivered.get(topic, 0))))

    @contextmanager
    def _rereading(self) -> Iterator[None]:
        """It reads what is older; however many short pieces that has, it began with the first."""
        since, self._rereading_since = self._rereading_since, self._rereading_since or time.monotonic()
        try:
            yield
        finally:
            self._rereading_since = since

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

    def note_published(self, ends: Mapping[TopicPartition, int]) -> None:
        """Remember where the next takeover reads on. Not while the way is retraced: another one must find what this one found."""
        if not self._retracing:
            self.meta.published.update(ends)

    async def _publish_left_over(self, outbox: Outbox, bounds: Mapping[TopicPartition, tuple[int, int]]) -> None:
        turns, outputs = split(outbox.outputs)
        outbox.outputs = [*turns, *self._newest.drop_published(outputs)]  # what is in the log is not lost, whatever became of its input
        drop_lost(outbox, bounds.get((outbox.topic, self.partition), (0, 0))[0], self.stage.name, self.partition, self.observer)
        await self._publish(outbox.outputs, await passed_on(self.log, outbox, self.partition))

    async def _publish(self, outputs: Sequence[Output], values: dict[int, bytes | None]) -> None:
        turns, outputs = split(outputs)
        if turns:  # durable before what follows from them
            self.note_published(await self.log.publish(turns))
        if self._newest:
            outputs = self._newest.drop_published(outputs)
        for output in (one for one in outputs if one.value is None):
            output.value = values[output.source_offset]
        for part in parts(outputs):
            self.note_published(await self.log.publish(part))

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

    async def _rebuilt(self) -> None:
        reached = all(self.position[topic] >= end for topic, end in self._targets.items())
        if reached and self.meta.rebuilding and ARCHIVE not in self.position:
            self.meta.rebuilding = False
            await self._commit_alone()

    async def _commit_alone(self) -> None:
        """Commit where the slot stands, and turns that have not been told."""
        turns = self._turns.take()
        await self._commit(None, encode_outbox(Outbox("", turns)) if turns else b"")
        await self._publish(turns, {})

    async def _apply(self, topic: str, records: Sequence[Record]) -> None:
        """Fold and commit `records`, in as few commits as failures, timers and the byte bound allow."""
        records = [record for record in records if record.offset >= self.position[topic]]
        poison: dict[int, Failure] = {}
        watched: frozenset[str] = frozenset()
        index, stop = 0, len(records)
        if records and topic != ARCHIVE:
            self._turns.to(topic, None if self._retracing else self.position)
        while index < len(records):
            at_hand, beside = await self._loading.records(records, index, stop)
            before = self.meta.copy()
            batch = self._batch(topic, watched)
            try:
                done = batch.fold(records, index, at_hand, poison, beside)
                batch.close()
            except Poisoned as poisoned:
                self._throw_away(before)
                again = poisoned.offset in poison  # not even the dead letter could be made of it
                poison[poisoned.offset] = replace(poisoned.failure, bare=again)
                stop = poisoned.index if poisoned.index > index else len(records)
                continue
            except Unstorable as unstorable:
                self._throw_away(before)
                watched = unstorable.watched_too(watched)
                continue
            if done > index:
                self.position[topic] = records[done - 1].offset + 1
                self.append_ms[topic] = records[done - 1].timestamp
                if topic == ARCHIVE:
                    self.archived.count(self.meta, records[index:done])
                await self._finish(batch, {record.offset: record.value for record in records[index:done]})
            if batch.due:
                await self._fire(topic, records[done])
                self.position[topic] = records[done].offset + 1
                done += 1
            index, stop = done, len(records)
        await self._rebuilt()

    def _batch(self, topic: str, watched: frozenset[str] = frozenset()) -> Batch[S, R]:
        batch = Batch(self.stage, topic, self.partition, self.meta, self._cache.get, self._batch_bytes)
        batch.watched = watched
        batch.earliest_timer = self._first_due
        return batch

    def _throw_away(self, before: Meta) -> None:
        self.meta = before
        self._cache.clear()

    async def _fire(self, topic: str, clock: Record) -> None:
        """Wake every key whose timer is due at this clock record, a page a commit, then let the clock move."""
        before = self.meta.copy()
        moved = self._batch(topic)
        moved.earliest_timer = None
        moved.fold([clock], 0, 1, {})
        clocks, now = self.meta.clocks, self.meta.now
        poison: dict[str, Failure] = {}
        watched: frozenset[str] = frozenset()
        while True:
            self.meta.clocks = before.clocks
            keys = await self.store.due(now, TIMER_PAGE)
            if not keys:
                break
            keys = await self._loading.timers(keys)
            fired = self.meta.fired[1] if self.meta.fired[0] == clock.offset else 0
            saved = self.meta.copy()
            batch = self._batch(topic, watched)
            try:
                fired = batch.wake(keys, clock, now, fired, poison)
                batch.close()
            except TimerFailed as failed:
                self._throw_away(saved)
                poison[failed.key] = failed.failure
                continue
            except Unstorable as unstorable:
                self._throw_away(saved)
                watched = unstorable.watched_too(watched)
                continue
            self.meta.fired = (clock.offset, fired)
            await self._finish(batch, {clock.offset: clock.value})
            self.observer.timers_fired(self.stage.name, batch.woken, now)
        self.meta.clocks, self.meta.fired = clocks, (-1, 0)
        self._first_due = await self.store.first_due()

    async def _finish(self, batch: Batch[S, R], values: dict[int, bytes | None]) -> None:
        """Commit what a batch did and publish its outputs."""
        topic = batch.step.topic
        if not self._retracing:  # what is published already was passed once, and passes again
            await self._brake.hold(batch, f"stage {self.stage.name}, slot {self.partition}", self._stand_still)
        self.observer.folded(self.stage.name, topic, batch.counts)
        if batch.clocks_only:
            return  # an idle system stays idle: the next commit covers the clocks
        if batch.earliest_timer is not None and (self._first_due is None or batch.earliest_timer < self._first_due):
            self._first_due = batch.earliest_timer
        outputs = (self._turns.take() if topic != ARCHIVE else []) + self.archived.unsaid(batch)
        outbox = encode_outbox(Outbox(topic, outputs)) if outputs else b""
        failpoint(f"{self.stage.name}.before_commit")
        await self._commit(batch, outbox)
        failpoint(f"{self.stage.name}.after_commit")
        await self._publish(outputs, values)
        failpoint(f"{self.stage.name}.before_ack")
        self._cache.rotate(sum(map(len, batch.states.values())))

    def _stand_still(self, words: str | None) -> None:
        self.braked = words
        self.observer.braked(self.stage.name, self.partition, words is not None)

    async def _commit(self, batch: Batch[S, R] | None, outbox: bytes) -> None:
        if self.token is None:
            raise Fenced("the slot was released while it worked")
        meta = self.meta
        meta.fences, meta.on = dict(self.position), self._turns.on
        meta.seq += 1
        commit = Commit(self.token, meta.seq, meta.changed(), {}, outbox, side_cap=self.stage.side_cap)
        if batch is not None:
            commit.states, commit.timers, commit.indexes = batch.states, batch.timers, batch.step.ops
            commit.sides, commit.side_drops, commit.gone = batch.sides(), batch.side_drops, batch.gone()
        await self.store.commit(commit)
        self.observer.committed(self.stage.name, len(outbox) + sum(map(len, commit.states.values())), len(outbox), self._cache.taken)
        self._outbox_since = time.monotonic() if outbox else None
