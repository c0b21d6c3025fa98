"""What one insert a table writes: chunks of all partitions of a topic that have rows.

Together, because a block costs ClickHouse as much as some thousand rows (measured; README). Only where there are so many partitions that
their ranges do not fit into what a commit may say (progress.py) there are several blocks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from services.warehouse.domain.chunk import Chunk, Pending
from services.warehouse.domain.packed import longest_packed, packed_causes, packed_ranges
from services.warehouse.domain.progress import LONGEST_BYTES, Place, Progress, Ranges, written
from services.warehouse.domain.rows import Record, Table


@dataclass(frozen=True)
class Limits:
    """At either what is in hand is written: records of one topic, bytes of all."""

    records: int
    bytes: int


@dataclass(frozen=True)
class Block:
    """`chunks` by partition, in the order of these."""

    topic: str
    chunks: Mapping[int, Chunk]

    @property
    def ranges(self) -> Ranges:
        return tuple((partition, chunk.range) for partition, chunk in self.chunks.items())

    @property
    def token(self) -> str:
        """The insert token: the same for the same rows, whoever inserts them."""
        return f"{self.topic}:{written(self.ranges)}"

    @property
    def newest_ms(self) -> int:
        """When the log took the newest record, epoch milliseconds."""
        return max(chunk.newest_ms for chunk in self.chunks.values())

    @property
    def rows(self) -> dict[Table, bytes]:
        """The bytes for each table."""
        tables = {table: None for chunk in self.chunks.values() for table in chunk.rows}
        return {table: b"".join(chunk.rows.get(table, b"") for chunk in self.chunks.values()) for table in tables}

    def count(self, table: Table) -> int:
        """Rows for one table."""
        return sum(chunk.counts.get(table, 0) for chunk in self.chunks.values())

    def meant(self) -> dict[Place, Progress]:
        """To be committed before the insert, all at once."""
        ranges = self.ranges
        return {Place(self.topic, partition): Progress(chunk.range.first, ranges, chunk.before) for partition, chunk in self.chunks.items()}

    def done(self) -> dict[Place, Progress]:
        """To be committed after it."""
        return {Place(self.topic, partition): chunk.done for partition, chunk in self.chunks.items()}


def blocks(topic: str, chunks: Mapping[int, Chunk]) -> list[Block]:
    """The chunks in as few blocks as their commits allow, in the order of partitions: each is committed with all ranges of its block."""
    room = longest_packed(LONGEST_BYTES)
    found: list[dict[int, Chunk]] = []
    ranges = causes = room
    for partition, chunk in sorted(chunks.items()):
        more, own = len(packed_ranges(((partition, chunk.range),))), len(packed_causes(chunk.before))
        if ranges + more + max(causes, own) > room:
            found.append({})
            ranges = causes = 0
        found[-1][partition] = chunk
        ranges, causes = ranges + more, max(causes, own)
    return [Block(topic, together) for together in found]


class Gathering:
    """What was read and is not yet written, of every partition that is ours."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pending: dict[Place, Pending] = {}

    def begin(self, place: Place, progress: Progress) -> None:
        """Gather this partition from there on. Its intent, if any, must have been carried out."""
        self._pending[place] = Pending(place, progress)

    def clear(self) -> None:
        """Forget all of it: others read it again."""
        self._pending.clear()

    def add(self, place: Place, record: Record, now_s: float) -> None:
        """Take the next record of a partition; one of a partition that was not begun is nothing to us."""
        pending = self._pending.get(place)
        if pending is not None:
            pending.add(record, now_s)

    @property
    def next(self) -> dict[Place, int]:
        """The first offset not read, of each partition."""
        return {place: one.next for place, one in self._pending.items()}

    def _records(self) -> dict[str, int]:
        """Rows waiting, by topic that has some."""
        waiting: dict[str, int] = {}
        for place, one in self._pending.items():
            if one.records:
                waiting[place.topic] = waiting.get(place.topic, 0) + one.records
        return waiting

    @property
    def topics(self) -> int:
        """Of how many topics `take` would give blocks."""
        return len(self._records())

    @property
    def full(self) -> bool:
        """Whether it must be written before more is taken."""
        if sum(one.bytes for one in self._pending.values()) >= self._limits.bytes:
            return True
        return max(self._records().values(), default=0) >= self._limits.records

    @property
    def opened(self) -> float | None:
        """Since when the oldest row waits; None if nothing does."""
        return min((one.opened for one in self._pending.values() if one.opened is not None), default=None)

    def take(self) -> list[Block]:
        """All rows, a block for each topic that has some, or several where one cannot hold all partitions."""
        return [block for topic in self._records() for block in blocks(topic, self._chunks(topic))]

    def _chunks(self, topic: str) -> dict[int, Chunk]:
        return {place.partition: one.take() for place, one in self._pending.items() if place.topic == topic and one.records}

    def passed(self, reached: Mapping[Place, int]) -> None:
        """Partitions have been read up to these offsets: what lies behind their last records is no record."""
        for place, offset in reached.items():
            if place in self._pending:
                self._pending[place].passed(offset)

    def settle(self) -> dict[Place, Progress]:
        """Where the partitions stand that have moved and have no row waiting."""
        return {place: progress for place, one in self._pending.items() if (progress := one.settle()) is not None}
