"""The loop from the log into the tables: read, mean, insert, done. Exactly once, whatever is killed in between.

A block holds ranges of several partitions. Before its insert it is committed as meant with each of them, together with the causes seen
before it; after it the offsets behind it, all in one commit. Who finds a block meant makes exactly that one again (restore.py), and so
the same rows under the same token, which ClickHouse drops if it has them.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import structlog

from services.warehouse.domain.block import Block, Gathering, Limits
from services.warehouse.domain.progress import Place, Progress
from services.warehouse.domain.rows import Record
from services.warehouse.keeping import Keeper, Lost
from services.warehouse.ports import Assigned, Log, LogAway, Observer, Rebalance, Tables
from services.warehouse.restore import restore
from shared.adapters.clickhouse import StoreAway, StoreRefused
from shared.contracts.kept_rows import ADVICE, GONE
from shared.contracts.rebuilds import RebuildChanged
from shared.runtime.backoff import Backoff
from shared.runtime.failpoints import failpoint

READ_RECORDS: Final = 2_000
LONGEST_READ_SECONDS: Final = 0.1
SETTLE_SECONDS: Final = 5.0
FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 5.0
CALM_AGE_SECONDS: Final = 2.0
LONGEST_AGE_SECONDS: Final = 8.0
WRITING_SHARE: Final = 4
"""Rows are gathered at least so many times as long as writing the last ones took."""
KEEP_ALIVE_SECONDS: Final = 0.1
LOOK_SECONDS: Final = 3.0
LOST_PAUSE_SECONDS: Final = 1.0
"""So soon an order to load again is heeded."""

_log = structlog.get_logger("warehouse")
T = TypeVar("T")


class Abandoned(Exception):
    """The partitions changed hands, or the process is to end: what was in hand is left to who comes next."""


class Loader:
    """Runs in one thread. `age_s`: seconds after which rows are written; `inserts_s`: so many inserts a second are enough when live."""

    def __init__(
        self,
        tables: Tables,
        observer: Observer,
        limits: Limits,
        age_s: float,
        inserts_s: float,
        keeper: Keeper,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tables, self._observer, self._keeper = tables, observer, keeper
        self._age_s, self._inserts_s = age_s, inserts_s
        self._clock = clock
        self._log: Log
        self._gathering = Gathering(limits)
        self._most = min(READ_RECORDS, limits.records)
        self._meant: dict[Place, Progress] = {}
        self._begun: dict[Place, Progress] = {}
        self._skipped: set[Place] = set()
        self._looked_at = float("-inf")
        self._epoch = 0
        self._held: list[tuple[Place, Record]] = []
        self._settled_at = 0.0
        self._took_s = 0.0
        self._stop = threading.Event()
        self.joined = False

    def rebalance(self) -> Rebalance:
        """What the log must call when partitions change hands."""
        return Rebalance(self._assigned, self._revoked)

    def _assigned(self, assigned: Sequence[Assigned]) -> None:
        self._epoch += 1
        self.joined = True
        for place, progress, lost in assigned:
            self._begun[place] = progress
            if progress.intent:
                self._meant[place] = progress
            else:
                self._gathering.begin(place, progress)
            if lost:
                self._skipped.add(place)
                self._observer.lost(lost)
                _log.error("records left the log before they were read", topic=place.topic, partition=place.partition, records=lost)

    def _revoked(self) -> None:
        self._epoch += 1
        self._gathering.clear()
        self._meant.clear()
        self._begun.clear()
        self._skipped.clear()
        self._keeper.forget()
        self._held.clear()

    def stop(self) -> None:
        """End the loop soon; from any thread."""
        self._stop.set()

    def run(self, log: Log) -> None:
        """Until `stop`. What is in hand then is written if that succeeds at once."""
        self._log = log
        self._settled_at = self._clock()
        while not self._stop.is_set():
            self._attempt(self._round)
        self._attempt(self._write)

    def _attempt(self, work: Callable[[], None]) -> None:
        """A round that was given up is not an error: the committed blocks say how to go on."""
        try:
            work()
        except Abandoned:
            self._observer.held_up(None)
            self._observer.missing(False)

    def _round(self) -> None:
        self._look()
        while self._meant:
            self._restore()
        held, self._held = self._held, []
        for place, record in held or self._log.read(self._most, self._patience()):
            self._gathering.add(place, record, self._clock())
        now = self._clock()
        opened = self._gathering.opened
        if opened is not None and (self._gathering.full or opened + self._age() <= now):
            self._write()
            self._took_s = self._clock() - now
        if now - self._settled_at >= SETTLE_SECONDS:
            self._settle(now)

    def _look(self) -> None:
        """See whether the tables still hold what was written, and begin anew if that is ordered. Raises Abandoned."""
        epoch, begun = self._epoch, dict(self._begun)
        if begun:
            spans = self._until_done(lambda: self._log.spans({place: one.next for place, one in begun.items()}, 0), epoch)
            self._until_done(lambda: self._keeper.begin(begun, {place: end for place, (_, end) in spans.items()}), epoch)
            self._begun.clear()
            self._until_done(lambda: self._keeper.skipped(sorted(self._skipped)), epoch)
            self._skipped.clear()
        order = self._keeper.order
        if order is not None:
            self._go_back(order, epoch)
        elif self._looked_at + LOOK_SECONDS <= self._clock():
            self._until_done(self._keeper.look, epoch)
            self._looked_at = self._clock()

    def _go_back(self, order: RebuildChanged, epoch: int) -> None:
        """Read everything again as `order` says. Whoever dies on the way is followed by one who goes back again. Raises Abandoned."""
        stood = {place: meant.next for place, meant in self._meant.items()} | self._gathering.next
        spans = self._until_done(lambda: self._log.spans(stood, order.from_ms), epoch)
        self._until_done(self._keeper.prepare, epoch)
        begin = {place: Progress(start) for place, (start, _) in spans.items()}
        self._commit(begin, epoch)
        self._until_done(lambda: self._keeper.rewound(order.generation, spans), epoch)
        self._observer.rebuilding(*self._keeper.left())
        self._log.go_back({place: progress.next for place, progress in begin.items()})
        self._gathering.clear()
        self._meant.clear()
        self._held.clear()
        for place, progress in begin.items():
            self._gathering.begin(place, progress)
        _log.warning("loading again", generation=order.generation, records=sum(end - start for start, end in spans.values()))

    def _age(self) -> float:
        """Rows wait longer the more tables are busy and the longer writing takes: a block costs as much as some thousand rows."""
        calm = min(CALM_AGE_SECONDS, self._gathering.topics / self._inserts_s)
        return max(self._age_s, calm, min(LONGEST_AGE_SECONDS, WRITING_SHARE * self._took_s))

    def _patience(self) -> float:
        opened = self._gathering.opened
        if opened is None:
            return LONGEST_READ_SECONDS
        return min(LONGEST_READ_SECONDS, max(0.005, opened + self._age() - self._clock()))

    def _settle(self, now: float) -> None:
        """Commit what was read and needed no row, and tell where everything stands."""
        self._settled_at = now
        if not self._held:  # what is in hand lies before where the log says that it ends
            self._gathering.passed(self._log.reached())
        settled = self._gathering.settle()
        if settled:
            epoch = self._epoch
            self._note({place: progress.next for place, progress in settled.items()}, epoch)
            self._commit(settled, epoch)
        self._observer.standing(self._log.waiting(self._gathering.next))

    def _write(self) -> None:
        """Mean, insert, done. Raises Abandoned."""
        epoch = self._epoch
        blocks = self._gathering.take()
        if not blocks:
            return
        failpoint("warehouse.before_intent")
        self._commit({place: meant for block in blocks for place, meant in block.meant().items()}, epoch)
        failpoint("warehouse.after_intent")
        for block in blocks:
            self._insert(block, epoch)
            failpoint("warehouse.after_insert")
        self._done(blocks, epoch)

    def _done(self, blocks: Sequence[Block], epoch: int) -> None:
        done = {place: progress for block in blocks for place, progress in block.done().items()}
        self._note({place: progress.next for place, progress in done.items()}, epoch)
        failpoint("warehouse.after_note")
        self._commit(done, epoch)
        failpoint("warehouse.after_done")
        for block in blocks:
            for chunk in block.chunks.values():
                self._observer.done(block.topic, chunk.repeated, chunk.faults)

    def _restore(self) -> None:
        """Carry out a block that was meant when its partitions came to us, and gather behind it. Raises Abandoned."""
        epoch = self._epoch
        (topic, _), first = next(iter(self._meant.items()))
        ours = {place: one.causes for place, one in self._meant.items() if (place.topic, one.intent) == (topic, first.intent)}
        restored = self._until_done(lambda: restore(self._log, topic, first.intent, ours), epoch)
        if not restored.written:
            if not restored.whole:
                _log.warning("a block is written in part: offsets of its other partitions were moved", topic=topic)
            self._insert(restored.block, epoch)
        block = Block(topic, {place.partition: restored.block.chunks[place.partition] for place in sorted(ours)})
        self._done([block], epoch)
        for place, done in block.done().items():
            del self._meant[place]
            self._gathering.begin(place, done)

    def _note(self, written: Mapping[Place, int], epoch: int) -> None:
        self._until_done(lambda: self._keeper.note(written), epoch)
        self._observer.rebuilding(*self._keeper.left())

    def _insert(self, block: Block, epoch: int) -> None:
        token = block.token if not self._keeper.generation else f"{self._keeper.generation}/{block.token}"
        for table, data in block.rows.items():
            began = self._clock()
            self._until_done(lambda table=table, data=data: self._tables.insert(table, data, token), epoch)  # type: ignore[misc]
            self._observer.written(table, block.count(table), self._clock() - began, block.newest_ms)

    def _commit(self, progress: Mapping[Place, Progress], epoch: int) -> None:
        self._until_done(lambda: self._log.commit(progress), epoch)

    def _until_done(self, work: Callable[[], T], epoch: int) -> T:
        """Until it succeeds, staying in the group meanwhile. Raises Abandoned when that is no longer ours to do."""
        backoff, held = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS), False
        while True:
            lost = False
            pause: float | None = None
            if self._epoch != epoch:
                raise Abandoned
            try:
                done = work()
                break
            except (StoreAway, LogAway) as away:
                reason = f"{type(away).__name__}: {away}"
            except StoreRefused as refused:
                reason, pause = f"ClickHouse refuses: {refused}", LONGEST_PAUSE_SECONDS
                if refused.code in GONE:
                    reason, lost = f"ClickHouse has lost a table: {ADVICE}", True
            except Lost as gone:
                reason, lost, pause = str(gone), True, LOST_PAUSE_SECONDS
            if self._stop.is_set() or (lost and self._keeper.order is not None):
                raise Abandoned
            self._observer.missing(lost)
            if not held:
                _log.warning("waiting: what is in hand cannot be written", reason=reason)
            held = True
            self._observer.held_up(reason)
            self._observer.retried()
            self._wait(backoff.next() if pause is None else pause)
        if held:
            _log.warning("going on")
            self._observer.held_up(None)
            self._observer.missing(False)
            self._log.resume()
        return done

    def _wait(self, seconds: float) -> None:
        end = self._clock() + seconds
        epoch = self._epoch
        while self._clock() < end and not self._stop.is_set() and self._epoch == epoch:
            self._held += self._log.keep_alive(KEEP_ALIVE_SECONDS)
