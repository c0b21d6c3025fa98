"""What the log has lost, folded from the archive: the warehouse's rows of events, merges and segment transitions.

A slot that begins with nothing, where the log no longer begins at the beginning, draws a cut. Below it the archive has what came; above
it the log has everything, also what followed from it. Rows come in the order in which the log took them, each under the key into which
its own had been merged below the cut. So no merge is gone through again there: markers and `absorbed` are set from the rows of merges.
Time is the rows' append time. Nothing that follows below the cut is published: it was, when the records themselves were read.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple, Protocol

import structlog

from shared.contracts.clock import ClockRecord, encode_clock
from shared.contracts.definitions import ACTIVATED_DECODER
from shared.contracts.headers import CAUSE, KIND, ORIGIN, Position, header, lane_and_place
from shared.contracts.slots import partition_count
from shared.contracts.topics import DEFINITION_ACTIVATED, EVENT_RESOLVED, RECORD_FAILED, SEGMENT_CHANGED, SEGMENT_MS, TURN_RECORDED
from shared.runtime.batch import Batch
from shared.runtime.cut import ARCHIVE, KIND_ABSORBED, KIND_MARKER, Cut
from shared.runtime.meta import Meta
from shared.runtime.ports import Log, LogAway, StoreAway, TopicPartition
from shared.runtime.stage import Output, ReadRecord, Record, Stage

ARCHIVED: Final = (EVENT_RESOLVED, SEGMENT_CHANGED)
"""Topics of which every record is a row."""
HOUR_MS: Final = 3_600_000
MARGIN_MS: Final = 2 * SEGMENT_MS
"""So much more than it must have is left to the archive, so that retention does not overtake the slot on its way; never the last hour."""
LATEST_MS: Final = SEGMENT_MS + HOUR_MS
"""The broker deletes whole segments by age: what it deleted of one topic is no later than this behind the first that it kept of another."""
NEVER: Final = 9_000_000_000_000
REPEATS: Final = 10_000
"""So many records below the cut are looked through for causes: one of them may stand above it again."""
Bounds = Mapping[TopicPartition, tuple[int, int]]
_log = structlog.get_logger("runtime")


class What(IntEnum):
    """What a row says; of one instant, in this order."""

    MARKER = 1
    ABSORBED = 2
    EVENT = 3
    TRANSITION = 4


TOPIC_OF: Final = {What.EVENT: EVENT_RESOLVED, What.TRANSITION: SEGMENT_CHANGED}


class Place(NamedTuple):
    """A row's place in the archive's order. `at`: when the log took it, epoch ms."""

    at: int
    what: int
    partition: int
    offset: int

    def encode(self) -> int:
        """A number that grows with the place: the row's offset in the topic ARCHIVE."""
        return (((self.at << 3) | self.what) << 80) | (self.partition << 64) | self.offset

    @classmethod
    def decode(cls, number: int) -> "Place":
        head = number >> 80
        return cls(head >> 3, head & 7, (number >> 64) & 0xFFFF, number & 0xFFFF_FFFF_FFFF_FFFF)


class Row(NamedTuple):
    """MARKER: `key` was merged into `value`. ABSORBED: `key` has taken `value` in. Else `value` is the record, `key` whose it is."""

    place: Place
    key: bytes
    value: bytes


class ArchiveAway(StoreAway):
    """The archive does not answer, or has not all yet: wait and try again."""


class Archive(Protocol):
    """The warehouse's rows, as a slot reads them."""

    async def whole(self, cut: Cut) -> None:
        """Returns if all rows below `cut` have been written. Raises ArchiveAway, in words that say what is waited for."""

    async def about(self, partition: int, cut: Cut) -> int:
        """About how many rows below `cut` slot `partition` reads: merges into other slots are left out of account. Raises ArchiveAway."""

    async def page(self, partition: int, cut: Cut, after: Place | None) -> Sequence[Row]:
        """Rows below `cut` behind `after`, in order, of keys that live in slot `partition`: some, within a bound of bytes; none if none is
        left. Raises ArchiveAway."""


def _record(row: Row) -> ReadRecord:
    place = row.place
    topic = TOPIC_OF.get(What(place.what))
    if topic is None:
        headers = [(KIND, KIND_MARKER if place.what == What.MARKER else KIND_ABSORBED)]
    else:
        headers = [(ORIGIN, Position(topic, place.partition, place.offset).encode())]
    return ReadRecord(ARCHIVE, 0, place.encode(), place.at, row.key, row.value, headers)


def _clock(at: int, now: int) -> ReadRecord:
    """The other resolver slots' clocks stand at the cut meanwhile (`begin`), so this one is the time."""
    return ReadRecord(ARCHIVE, 0, Place(at, 0, 0, 0).encode(), at, b"clock:0", encode_clock(ClockRecord(0, now, 0)), ())


def records_of(rows: Sequence[Row], now: int) -> list[Record]:
    """Rows as records of the topic ARCHIVE, and before each that came in a later second than `now` the clock that says so."""
    records: list[Record] = []
    for row in rows:
        at = row.place.at
        second = at - at % 1000
        if second > now:
            now = second
            records.append(_clock(at, second))
        records.append(_record(row))
    return records


class Archived:
    """One slot's way through the archive. `archive` None: there is none, and the log's beginning is all there is."""

    def __init__(self, archive: Archive | None, stage: Stage[Any, Any], partition: int, log: Log) -> None:
        self._archive = archive
        self._stage = stage
        self._log = log
        self._partition = partition
        own = [*(topic for topic in stage.inputs if topic in ARCHIVED), *([stage.moved] if stage.moved else [])]
        self._inputs = own if EVENT_RESOLVED in own else []
        self._acked: dict[str, int] = {}
        self.asking = False

    @property
    def gives_back(self) -> bool:
        """Whether what has left the log can be had all the same."""
        return self._archive is not None and bool(self._inputs)

    async def shortened(self) -> str | None:
        """Which inputs no longer begin at their beginning, in words."""
        bounds = await self._log.bounds([(topic, self._partition) for topic in self._stage.inputs])
        begins = [f"{topic}[{partition}] begins at {first}" for (topic, partition), (first, _) in sorted(bounds.items()) if first > 0]
        return ", ".join(begins) or None

    async def begin(
        self, meta: Meta, bounds: Bounds, committed: Mapping[TopicPartition, int], in_force: Callable[[int], int] = lambda _: 0
    ) -> bool:
        """Whether the slot has still to fold what lies below a cut. It is drawn now if the slot begins with nothing and the log has lost
        what it needs. Sets the cut, the fences at it, the definitions in force there (`in_force`: Plans.before), clocks and `fired`."""
        meta.archive = self._archive is not None
        cut = meta.cut
        if cut is None and meta.seq == 0 and self._archive is not None:
            least = await self._least_said(await self._least(bounds), bounds)
            if least:
                cut = await self._draw(least, bounds, committed)
                meta.clocks = dict.fromkeys(range(1, partition_count()), cut.until)
                meta.definitions = await self._activated(cut.until) or in_force(cut.until)
                words = "the log has lost its beginning: what it lacks is folded from ClickHouse"
                _log.warning(words, stage=self._stage.name, slot=self._partition, until=cut.until)
        meta.cut = cut
        self._acked = {} if cut is None else {topic: offset for (topic, _), offset in committed.items()}
        if cut is None or cut.done:
            meta.fences.pop(ARCHIVE, None)
            return False
        meta.fired = (-1, 0)  # the timers of a clock fire at it again, and say nothing
        meta.fences.setdefault(ARCHIVE, 0)
        for topic in cut.at:  # if the log has lost more meanwhile, that is seen when all below the cut is folded
            meta.fences[topic] = max(cut.at[topic][self._partition], bounds[topic, self._partition][0])
        return True

    async def _activated(self, until: int) -> int:
        """Which set of definitions the slot went by at an instant, as far as the log knows; 0 if it does not."""
        where = (DEFINITION_ACTIVATED, self._partition)
        if DEFINITION_ACTIVATED not in self._stage.inputs:
            return 0
        first, end = (await self._log.bounds([where]))[where][0], (await self._log.at([where], until))[where]
        start, newest = max(first, end - REPEATS), 0
        while start < end:
            records, start = await self._log.read(*where, start, end)
            newest = max(newest, *(ACTIVATED_DECODER.decode(record.value or b"").activated_at for record in records), 0)
        return newest

    async def _draw(self, least: int, bounds: Bounds, committed: Mapping[TopicPartition, int]) -> Cut:
        where = (EVENT_RESOLVED, self._partition)
        settled = [await self._time(*where, committed[where] - 1) if committed[where] > bounds[where][0] else least]
        for topic in self._inputs:  # what follows from what lies below the cut must have been read, wherever it goes on
            unread = max(committed[topic, self._partition], bounds[topic, self._partition][0])
            settled.append(await self._time(topic, self._partition, unread))
        until = max(least, min(least + MARGIN_MS, *(at - HOUR_MS for at in settled if at is not None)))
        count = partition_count()
        offsets = await self._log.at([(topic, partition) for topic in self._inputs for partition in range(count)], until)
        return Cut(until, {topic: [offsets[topic, partition] for partition in range(count)] for topic in self._inputs})

    async def _least(self, bounds: Bounds) -> int:
        """The earliest instant from which on the log has all that this slot reads; 0 if it has everything."""
        begins = await self._begins({(topic, self._partition): bounds[topic, self._partition] for topic in self._inputs})
        base = begins.pop((EVENT_RESOLVED, self._partition), None)
        if base is None:
            return max(begins.values(), default=0)
        return max(base, *(min(at, base + LATEST_MS) for at in begins.values()), 0)

    async def _least_said(self, least: int, bounds: Bounds) -> int:
        """The same, if it is to have all that the slot has told of it, too: else outputs would be published again, in another order.

        Where the inputs are whole (`least` 0), an output may have lost its first segment all the same.
        """
        topics = [(topic, partition) for topic in self._stage.output_topics() for partition in range(partition_count())]
        begins = await self._begins(await self._log.bounds([*topics, (TURN_RECORDED, self._partition)]))
        if not begins or EVENT_RESOLVED not in self._inputs:
            return least
        base = least or await self._time(EVENT_RESOLVED, self._partition, bounds[EVENT_RESOLVED, self._partition][0]) or 0
        return max(least, *(min(at, base + LATEST_MS) for at in begins.values()))

    async def _begins(self, bounds: Bounds) -> dict[TopicPartition, int]:
        """Of partitions that have lost their beginning: from when on they have everything."""
        found = {}
        for where, (first, end) in bounds.items():
            if first > 0:
                at = await self._time(*where, first) if first < end else None
                found[where] = NEVER if at is None else at + 1
        return found

    async def _time(self, topic: str, partition: int, offset: int) -> int | None:
        """When the log took the first record at or behind `offset`."""
        end = (await self._log.bounds([(topic, partition)]))[topic, partition][1]
        while offset < end:
            records, offset = await self._log.read(topic, partition, offset, end)
            if records:
                return records[0].timestamp
        return None

    async def pages(self, cut: Cut, meta: Meta, position: Mapping[str, int]) -> AsyncIterator[list[Record]]:
        """What lies below the cut behind `position`, page by page. Raises ArchiveAway, LogAway."""
        if self._archive is None:
            raise ArchiveAway("the slot is folded from ClickHouse, and RAPPORT_CLICKHOUSE_URL is no longer set here")
        await self._archive.whole(cut)
        meta.rows = (meta.rows[0], await self._archive.about(self._partition, cut))
        while True:
            at = position[ARCHIVE]
            self.asking = True
            try:
                rows = await self._archive.page(self._partition, cut, Place.decode(at - 1) if at else None)
            finally:
                self.asking = False
            if not rows:
                break
            yield records_of(rows, meta.clocks.get(0, -1))
        last = await self._time(EVENT_RESOLVED, self._partition, cut.at[EVENT_RESOLVED][self._partition] - 1)
        if last is not None and last > meta.clocks.get(0, -1):  # no clock below the cut is later; what was due at one has been said
            yield [_clock(last, last)]

    def count(self, meta: Meta, records: Sequence[Record]) -> None:
        """Note how many rows have been folded, so that an order says how far it is. Clocks are none."""
        meta.rows = (meta.rows[0] + sum(1 for record in records if record.headers), meta.rows[1])

    def above(self, cut: Cut | None, first: Mapping[str, int]) -> dict[str, int]:
        """The first offset of each input that is read from the log; `first`: that the log has."""
        offsets = {} if cut is None else cut.at
        return {topic: max(at, offsets[topic][self._partition]) if topic in offsets else at for topic, at in first.items()}

    def unsaid(self, batch: Batch[Any, Any]) -> list[Output]:
        """What is published of a batch. Below the cut nothing: rows that cannot be folded are left out, and logged. Above it what follows
        from a record that had been acked has been said, if under another cause: the slot may wait for a blob no more that it waited for
        then. Blobs, and letters of what fails only now, are published as ever."""
        if batch.step.topic != ARCHIVE:
            acked = self._acked.get(batch.step.topic, 0)
            kept = (self._stage.moved, RECORD_FAILED)
            return [one for one in batch.outputs if one.source_offset >= acked or one.topic in kept] if acked else batch.outputs
        if batch.failed:
            words = "rows of ClickHouse that cannot be folded are left out: their records were dead letters, if they failed then"
            of = next(iter(batch.failed.values()))
            _log.warning(words, stage=self._stage.name, slot=self._partition, keys=len(batch.failed), reason=of.cause, at=of.where)
        return []

    async def overtaken(self, cut: Cut) -> bool:
        """Whether the log has meanwhile lost more than lies below the cut."""
        bounds = await self._log.bounds([(topic, self._partition) for topic in self._inputs])
        return await self._least(bounds) > cut.until

    async def leave(self, cut: Cut, meta: Meta) -> None:
        """All below the cut is folded: the log's own clocks hold from here, and what stands above the cut a second time is known."""
        for topic in cut.at:
            until = cut.at[topic][self._partition]
            start = max((await self._log.bounds([(topic, self._partition)]))[topic, self._partition][0], until - REPEATS)
            while start < until:
                records, start = await self._log.read(topic, self._partition, start, until)
                _see(meta.seen[topic], records)
        now = meta.clocks.get(0)
        meta.clocks = {} if now is None else dict.fromkeys(range(partition_count()), now)
        meta.cut = Cut(cut.until, cut.at, done=True)


def _see(seen: dict[str, int], records: Sequence[Record]) -> None:
    for record in records:
        raw = header(record.headers, CAUSE)
        if raw is not None:
            lane, place = lane_and_place(raw)
            seen[lane] = max(seen.get(lane, -1), place)


def begin_again() -> LogAway:
    return LogAway("the log lost more while the slot was folded from ClickHouse: it begins again")
