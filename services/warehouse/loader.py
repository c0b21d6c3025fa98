"""The loop from the log into the tables: read, mean, insert, done. Exactly once, whatever is killed in between.

Before an insert the range is committed as meant, together with the causes seen before it; after it the offset behind it. Who finds a
meant range begins with exactly that one, and so makes the same rows under the same token, which ClickHouse drops if it has them.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from services.warehouse.domain import rows
from services.warehouse.domain.chunk import Chunk, Limits, Pending
from services.warehouse.domain.progress import Progress
from services.warehouse.domain.rows import Record
from services.warehouse.ports import Assigned, Log, LogAway, Observer, Place, Rebalance, Tables
from shared.adapters.clickhouse import StoreAway, StoreRefused
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

_log = structlog.get_logger("warehouse")


class Abandoned(Exception):
    """The partitions changed hands, or the process is to end: what was in hand is left to who comes next."""


class Loader:
    """Runs in one thread. `age_s`: seconds after which rows are written; `inserts_s`: so many inserts a second are enough when live."""

    def __init__(
        self,
        tables: Tables,
        observer: Observer,
        limits: Limits,
        buffer_bytes: int,
        age_s: float,
        inserts_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tables, self._observer, self._limits = tables, observer, limits
        self._buffer_bytes, self._age_s, self._inserts_s = buffer_bytes, age_s, inserts_s
        self._clock = clock
        self._log: Log
        self._pending: dict[Place, Pending] = {}
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
            self._pending[place] = Pending(place.topic, place.partition, progress, self._limits)
            if lost:
                self._observer.lost(lost)
                _log.error("records left the log before they were read", topic=place.topic, partition=place.partition, records=lost)

    def _revoked(self) -> None:
        self._epoch += 1
        self._pending.clear()
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
        self._attempt(lambda: self._write([place for place, one in self._pending.items() if one.ready]))

    def _attempt(self, work: Callable[[], None]) -> None:
        """A round that was given up is not an error: the committed ranges say how to go on."""
        try:
            work()
        except Abandoned:
            self._observer.held_up(None)

    def _round(self) -> None:
        held, self._held = self._held, []
        for place, record in held or self._log.read(READ_RECORDS, self._patience()):
            pending = self._pending.get(place)
            if pending is None:
                continue
            if not pending.add(record, self._clock()):
                self._write([place])
                pending.add(record, self._clock())
            if pending.full:
                self._write([place])
        now = self._clock()
        age = self._age()
        due = [place for place, one in self._pending.items() if one.full or ((at := one.due_at(age)) is not None and at <= now)]
        if not due and sum(one.bytes for one in self._pending.values()) >= self._buffer_bytes:
            due = [place for place, one in self._pending.items() if one.ready]
        if due:
            self._write(due)
            self._took_s = self._clock() - now
        if now - self._settled_at >= SETTLE_SECONDS:
            self._settle(now)

    def _age(self) -> float:
        """Rows wait longer the more partitions are busy and the longer writing takes: a block costs as much as some thousand rows."""
        busy = sum(1 for one in self._pending.values() if one.records)
        calm = min(CALM_AGE_SECONDS, busy / self._inserts_s)
        return max(self._age_s, calm, min(LONGEST_AGE_SECONDS, WRITING_SHARE * self._took_s))

    def _patience(self) -> float:
        ages = [at for one in self._pending.values() if (at := one.due_at(self._age())) is not None]
        return min(LONGEST_READ_SECONDS, max(0.005, min(ages) - self._clock())) if ages else LONGEST_READ_SECONDS

    def _settle(self, now: float) -> None:
        """Commit what was read and needed no row, and tell where everything stands."""
        self._settled_at = now
        settled = {place: progress for place, one in self._pending.items() if (progress := one.settle()) is not None}
        if settled:
            self._commit(settled)
        self._observer.standing(self._log.waiting({place: one.next for place, one in self._pending.items()}))

    def _write(self, places: Sequence[Place]) -> None:
        """Mean, insert, done. Raises Abandoned."""
        if not places:
            return
        epoch = self._epoch
        chunks = [(place, self._pending[place].take()) for place in places]
        failpoint("warehouse.before_intent")
        self._commit({place: chunk.meant() for place, chunk in chunks}, epoch)
        failpoint("warehouse.after_intent")
        for place, chunk in chunks:
            self._insert(place, chunk, epoch)
            failpoint("warehouse.after_insert")
        self._commit({place: chunk.done() for place, chunk in chunks}, epoch)
        failpoint("warehouse.after_done")
        for place, chunk in chunks:
            self._observer.done(place.topic, chunk.repeated, chunk.faults)

    def _insert(self, place: Place, chunk: Chunk, epoch: int) -> None:
        token = rows.token(place.topic, place.partition, chunk.range.first, chunk.range.last)
        for table, data in chunk.rows.items():
            began = self._clock()
            self._until_done(lambda table=table, data=data: self._tables.insert(table, data, token), epoch)  # type: ignore[misc]
            self._observer.written(table, chunk.counts[table], self._clock() - began, chunk.newest_ms)

    def _commit(self, progress: Mapping[Place, Progress], epoch: int | None = None) -> None:
        self._until_done(lambda: self._log.commit(progress), self._epoch if epoch is None else epoch)

    def _until_done(self, work: Callable[[], None], epoch: int) -> None:
        """Until it succeeds, staying in the group meanwhile. Raises Abandoned when that is no longer ours to do."""
        pause, held = FIRST_PAUSE_SECONDS, False
        while True:
            if self._epoch != epoch:
                raise Abandoned
            try:
                work()
                break
            except (StoreAway, LogAway) as away:
                reason = f"{type(away).__name__}: {away}"
            except StoreRefused as refused:
                reason, pause = f"ClickHouse refuses: {refused}", LONGEST_PAUSE_SECONDS
            if self._stop.is_set():
                raise Abandoned
            if not held:
                _log.warning("waiting: what is in hand cannot be written", reason=reason)
            held = True
            self._observer.held_up(reason)
            self._observer.retried()
            self._wait(pause)
            pause = min(LONGEST_PAUSE_SECONDS, pause * 1.6)
        if held:
            _log.warning("going on")
            self._observer.held_up(None)
            self._log.resume()

    def _wait(self, seconds: float) -> None:
        end = self._clock() + seconds
        epoch = self._epoch
        while self._clock() < end and not self._stop.is_set() and self._epoch == epoch:
            self._held += self._log.keep_alive(KEEP_ALIVE_SECONDS)
