"""Folding: records in, changed states and outputs out. No I/O; a batch is thrown away whole if anything in it goes wrong."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from shared.contracts.clock import decode_clock
from shared.contracts.definitions import ACTIVATED_DECODER
from shared.contracts.failed import FailureReason
from shared.contracts.headers import (
    CAUSE,
    CAUSE_BITS,
    KIND,
    KIND_EXPIRED,
    KIND_MERGE,
    KIND_MOVED,
    MERGED_FROM,
    ORIGIN,
    ORIGIN_KIND,
    REPLAY_OF,
    Position,
    lane_and_place,
)
from shared.contracts.identity import EXPIRY_DECODER
from shared.contracts.topics import DEFINITION_ACTIVATED, RECORD_FAILED
from shared.contracts.versions import NewerVersion
from shared.runtime.absorbed import NOTHING, Beside
from shared.runtime.brake import FailedKey, masked
from shared.runtime.cut import ARCHIVE
from shared.runtime.envelope import Entry
from shared.runtime.failures import Failure, Poisoned, TimerFailed, Undecodable, letter_of, repeated
from shared.runtime.merging import Merging
from shared.runtime.meta import Meta, Sweep
from shared.runtime.plans import Plans
from shared.runtime.ports import NewerRelease
from shared.runtime.stage import Output, OutputTooLarge, ReadRecord, Record, Stage, Step

S = TypeVar("S")
R = TypeVar("R")

CLOCK_KEY: Final = b"clock:"


class Batch(Merging[S, R]):
    """What has been folded since the last commit. `entries` holds every key that the records may touch.

    `limit`: bytes of outputs and touched states with which it is full; what one record makes may go beyond. `due`: it ended at a clock that
    makes timers due.
    """

    def __init__(
        self,
        stage: Stage[S, R],
        topic: str,
        partition: int,
        meta: Meta,
        entries: Callable[[str], Entry[S]],
        limit: int = 4 << 20,
        plans: Plans | None = None,
    ) -> None:
        """Raises LogAway while the definitions in force are not known."""
        super().__init__(stage, Step(stage.name, topic, partition), entries)
        self.meta = meta
        self._plans = plans or Plans(stage.compile, None)
        self.step.plan = self._plans.of(meta.definitions)
        self.step.now = meta.now
        self.clocks_only = True
        self.passed: set[str] = set()
        self.failed: dict[str, FailedKey] = {}
        self.due = False
        self.done = 0
        self.woken = 0
        self._limit = limit
        self._seen = meta.seen[topic]

    def fold(
        self,
        records: Sequence[Record],
        start: int,
        stop: int,
        poison: Mapping[int, Failure],
        beside: Beside = NOTHING,
    ) -> None:
        """Fold records[start:stop]. `done`: the index of the first not folded: a clock that makes timers due, or fullness, ends a batch.

        Raises Poisoned, NewerRelease; the batch and its entries are then good for nothing.
        """
        self._absorbed.beside = beside
        self.done = start
        for index in range(start, stop):
            record = records[index]
            try:
                failure = poison.get(record.offset)
                if failure is not None:
                    self.clocks_only = False
                    self._bury(record, failure)
                elif record.key is not None and record.key.startswith(CLOCK_KEY):
                    if not self._clock(record):
                        self.due = True
                        break
                elif record.topic == DEFINITION_ACTIVATED:
                    self.clocks_only = False
                    self._activate(record)
                else:
                    self.clocks_only = False
                    self._record(record)
                    if self.watched:
                        self._watch()
            except NewerVersion as newer:
                raise NewerRelease(str(newer)) from newer
            except Undecodable as error:
                raise Poisoned(index, record.offset, Failure(FailureReason.UNDECODABLE, str(error))) from error
            except OutputTooLarge as error:
                raise Poisoned(index, record.offset, Failure(FailureReason.OUTPUT_TOO_LARGE, str(error))) from error
            except Exception as error:
                detail = f"{type(error).__name__}: {error}"
                raise Poisoned(index, record.offset, Failure(FailureReason.HANDLER_FAILED, detail)) from error
            self.done = index + 1
            if self.size > self._limit:
                break

    def close(self) -> None:
        """Make the stored form of every state that was touched. Raises Unstorable; the batch is then good for nothing."""
        self.counts["refused"] = self.step.refused
        self.counts["ignored"] = self.step.ignored
        self.counts["stuck"] = self.step.stuck
        super().close()

    def _activate(self, record: Record) -> None:
        """From here on the slot goes by another set of definitions. One that is not newer was activated twice, or by one who was late."""
        try:
            activated = ACTIVATED_DECODER.decode(record.value or b"")
        except msgspec.DecodeError as error:
            raise Undecodable(f"{type(error).__name__}: {error}") from error
        if activated.activated_at <= self.meta.definitions:
            return
        plan = self._plans.of(activated.activated_at)
        if self.stage.met and self.stage.decides_anew(self.step.plan, plan):
            self.meta.sweep = Sweep("", 0)
        self.meta.definitions = activated.activated_at
        self.step.plan = plan

    def _clock(self, record: Record) -> bool:
        """Read a clock record; False, with nothing changed, if it makes a timer due, or a sweep is under way."""
        clock = decode_clock(record.value or b"")
        before = self.meta.clocks.get(clock.slot, -1)
        if clock.now <= before:
            return True
        self.meta.clocks[clock.slot] = clock.now
        now = self.meta.now
        if (self.earliest_timer is not None and self.earliest_timer <= now) or (self.meta.sweep is not None and self.step.topic != ARCHIVE):
            if before < 0:
                del self.meta.clocks[clock.slot]
            else:
                self.meta.clocks[clock.slot] = before
            return False
        self.step.now = now
        return True

    def _record(self, record: Record) -> None:
        step = self.step
        kind = merged_from = replay_of = origin = None
        late_kind: bytes | None = None
        cut, below = self.meta.cut, False  # below: what it speaks of has been folded from the archive
        for name, value in record.headers:
            if name == CAUSE:
                lane, at = lane_and_place(value)
                if self._seen.get(lane, -1) >= at:
                    self.counts["repeated"] += 1
                    return
                self._seen[lane] = at
                below = cut is not None and self.step.topic == self.stage.moved and cut.follows(lane, at >> CAUSE_BITS)
            elif name == KIND:
                kind = value
            elif name == MERGED_FROM:
                merged_from = value.decode()
            elif name == ORIGIN:
                origin = Position.decode(value)
                below = below or (cut is not None and step.topic != ARCHIVE and cut.covers(origin))
            elif name == ORIGIN_KIND:
                late_kind = value
            elif name == REPLAY_OF:
                replay_of = value.decode()
        if record.key is None:
            raise Undecodable("the record has no key")
        word = kind == KIND_MERGE and origin is None and step.topic == self.stage.moved
        if (below and not word) or (replay_of is not None and not self.meta.replayed.take(replay_of, record.timestamp)):
            self.counts["repeated"] += 1
            return
        key = record.key.decode()
        step.key = key
        step.offset = record.offset
        step.index = 0
        step.at = record.timestamp
        step.origin = origin
        if origin is not None:
            kind = late_kind
            record = ReadRecord(*origin, record.timestamp, record.key, record.value, record.headers)
        self.counts["folded"] += 1
        self.passed.add(key)
        entry = self.entries(key)
        if step.topic == ARCHIVE and kind is not None:
            self._absorbed.know(entry, key, kind, record.value or b"")
            entry.state = None if entry.winner is not None else self._state(entry, key)
            self._touched(key, entry)
        elif kind == KIND_MOVED:
            self._absorb(entry, record)
        elif kind == KIND_EXPIRED:
            self._expire(entry, key, record)
        elif word:
            self._farther.hear(entry.winner, record, self._absorbed.beside.words)
        elif entry.winner is not None:
            self._forward(entry.winner, kind, merged_from, origin, record)
        elif kind == KIND_MERGE:
            self._leave(entry, record)
        else:
            self._fold_one(entry, key, record, merged_from)

    def _fold_one(self, entry: Entry[S], key: str, record: Record, merged_from: str | None) -> None:
        stage, step = self.stage, self.step
        try:
            item = stage.decode(record)
        except Exception as error:
            raise Undecodable(f"{type(error).__name__}: {error}") from error
        if merged_from is not None and not self._absorbed.over(entry, key, merged_from):
            entry.awaiting = entry.awaiting or set()
            entry.awaiting.add(merged_from)
        step.merged_from = merged_from
        step.held = bool(entry.awaiting)
        step.unchanged = step.gone = False
        entry.state = stage.fold(self._state(entry, key), item, step)
        self._folded(entry, key, record)

    def _folded(self, entry: Entry[S], key: str, record: Record) -> None:
        step = self.step
        if step.gone and entry.absorbed is None and entry.awaiting is None:
            self.counts["expired"] += entry.size > 0 or key in self.dirty
            self._forget(key, entry)
        elif not step.unchanged or entry.awaiting:
            self._touched(key, entry, len(record.value or b""))

    def _expire(self, entry: Entry[S], key: str, record: Record) -> None:
        """Nobody came under this key any more. One that took part in a merge stays: others may still come by it."""
        step = self.step
        try:
            expiry = EXPIRY_DECODER.decode(record.value or b"")
        except msgspec.DecodeError as error:
            raise Undecodable(f"{type(error).__name__}: {error}") from error
        if entry.winner is None and entry.absorbed is None and entry.awaiting is None:
            step.merged_from = None
            step.held = step.unchanged = step.gone = False
            entry.state = self.stage.expire(self._state(entry, key), expiry, step)
            self._folded(entry, key, record)

    def wake(self, keys: Sequence[str], clock: Record, now: int, fired: int, poison: Mapping[str, Failure]) -> None:
        """Fire the timers of `keys` at record `clock`, at which `fired` outputs were made before; `step.index` counts on.

        `woken`: how many of `keys` it came to before it was full.
        Raises TimerFailed, NewerRelease; the batch and its entries are then good for nothing.
        """
        self._begin_at(clock, now, fired)
        step = self.step
        for key in keys:
            if self.size > self._limit:
                break
            self.woken += 1
            entry = self.entries(key)
            if entry.due == 0 or entry.due > now:
                self.timers.setdefault(key, entry.due)
                continue
            step.key = key
            failure = poison.get(key)
            if failure is not None:
                self._letter(clock, failure, key.encode())
                entry.due = self.timers[key] = 0
                self.dirty[key] = entry
                continue
            self._timed(entry, key, self.stage.wake)
            if 0 < entry.due <= now:
                entry.due = self.timers[key] = now + 1  # a stage that asks for the past would be called for ever

    def _begin_at(self, clock: Record, now: int, fired: int) -> None:
        step = self.step
        self.clocks_only = False
        step.offset, step.now, step.at = clock.offset, now, clock.timestamp
        step.origin, step.merged_from, step.held = None, None, False
        step.index = fired

    def _timed(self, entry: Entry[S], key: str, look: Callable[[S, Step], S]) -> None:
        """What comes of `look`, wake or swept, at the time that has come."""
        step = self.step
        step.unchanged = step.gone = False
        try:
            entry.state = look(self._state(entry, key), step)
            self.passed.add(key)
            if not step.unchanged:
                self._touched(key, entry)
            if self.watched:
                self._watch()
        except NewerVersion as newer:
            raise NewerRelease(str(newer)) from newer
        except Exception as error:
            raise TimerFailed(key, Failure(FailureReason.TIMER_FAILED, f"{type(error).__name__}: {error}")) from error

    def sweep(self, keys: Sequence[str], clock: Record, now: int, fired: int, poison: Mapping[str, Failure]) -> None:
        """Look at `keys` as `Stage.swept` says. `woken`, errors and `fired` as `wake` has them."""
        self._begin_at(clock, now, fired)
        for key in keys:
            if self.size > self._limit:
                break
            self.woken += 1
            entry = self.entries(key)
            if entry.winner is not None:
                continue
            self.step.key = key
            if (failure := poison.get(key)) is not None:
                self._letter(clock, failure, key.encode())
                continue
            self.step.held = bool(entry.awaiting)
            self._timed(entry, key, self.stage.swept)

    def _bury(self, record: Record, failure: Failure) -> None:
        """Keep what cannot be folded where an operator finds it."""
        step = self.step
        step.offset, step.index, step.origin = record.offset, 0, None
        if not failure.bare and repeated(record, self._seen):
            return
        self._letter(record, failure, record.key)
        if record.key is not None and self.stage.moved is not None and not record.key.startswith(CLOCK_KEY):
            self._let_go(record, record.key.decode(errors="replace"), failure.bare)

    def _letter(self, record: Record, failure: Failure, key: bytes | None) -> None:
        step = self.step
        name = (key or b"").decode(errors="replace")
        kind = failure.detail.partition(":")[0]  # what follows may quote a person's data
        where = f"{record.topic}[{record.partition}] offset {record.offset}"
        self.failed[name] = FailedKey(masked(name), f"{failure.reason.value} ({kind})", where)
        if step.topic == ARCHIVE:
            return  # it was a dead letter when it was read from the log
        self.counts["failed"] += 1
        value = letter_of(self.stage.name, record, failure, key)
        step.emit(RECORD_FAILED, name, value, ("reason", failure.reason.value.encode()), partition=step.partition)

    @property
    def outputs(self) -> list[Output]:
        return self.step.published()
