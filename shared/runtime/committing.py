"""One slot: what it holds in memory, and how a batch is tried, committed and published.

states, outbox and fence as one -> publish. Whoever calls anything here holds `lock` (slot.py).
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar, cast

import structlog

from shared.contracts.rebuilds import Ordered
from shared.runtime.archived import Archive, Archived
from shared.runtime.batch import Batch
from shared.runtime.brake import Brake
from shared.runtime.cache import EntryCache
from shared.runtime.cut import ARCHIVE
from shared.runtime.failpoints import failpoint
from shared.runtime.failures import Poisoned, TimerFailed, Unstorable
from shared.runtime.farther import parts
from shared.runtime.loading import Loading
from shared.runtime.meta import Meta
from shared.runtime.observer import Observer
from shared.runtime.outbox import Outbox, encode_outbox
from shared.runtime.plans import Plans
from shared.runtime.ports import Commit, Fenced, Log, StateStore, TopicPartition
from shared.runtime.published import Newest, Tails
from shared.runtime.stage import Output, Stage
from shared.runtime.turns import Turns, split

S = TypeVar("S")
R = TypeVar("R")
F = TypeVar("F", Poisoned, TimerFailed)

_log = structlog.get_logger("runtime")


class Committing(Generic[S, R]):
    """What a slot holds, and the way of a batch into store and log."""

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
        plans: Plans | None = None,
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
        self._plans = plans or Plans(stage.compile, None)
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

    def _attempt(
        self,
        topic: str,
        watched: set[str],
        work: Callable[[Batch[S, R]], None],
        failed: list[F],
    ) -> Batch[S, R] | None:
        """A batch that `work` has filled. None: something in it failed, nothing of it is left, and `failed` or `watched` says what."""
        before = self.meta.copy()
        batch = Batch(self.stage, topic, self.partition, self.meta, self._cache.get, self._batch_bytes, self._plans)
        batch.watched = frozenset(watched)
        batch.earliest_timer = self._first_due
        try:
            work(batch)
            batch.close()
        except (Poisoned, TimerFailed) as failure:
            self._throw_away(before)
            failed.append(cast(F, failure))
            return None
        except Unstorable as unstorable:
            self._throw_away(before)
            watched |= unstorable.watched_too(batch.watched)
            return None
        return batch

    def _throw_away(self, before: Meta) -> None:
        self.meta = before
        self._cache.clear()

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

    async def _commit_alone(self) -> None:
        """Commit where the slot stands, and turns that have not been told."""
        turns = self._turns.take()
        await self._commit(None, encode_outbox(Outbox("", turns)) if turns else b"")
        await self._publish(turns, {})

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

    def note_published(self, ends: Mapping[TopicPartition, int]) -> None:
        """Remember where the next takeover reads on. Not while the way is retraced: another one must find what this one found."""
        if not self._retracing:
            self.meta.published.update(ends)
