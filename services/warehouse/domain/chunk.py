"""The records of one partition between the log and the tables: repeats dropped, ranges kept exact."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from services.warehouse.domain.amounts import Fault
from services.warehouse.domain.progress import Causes, Place, Progress, Range
from services.warehouse.domain.rows import Record, Row, Table, row
from shared.contracts import headers
from shared.contracts.headers import Cause


@dataclass(frozen=True)
class Chunk:
    """What one partition gives to a block. `before` are the causes seen before `range`, `after` those with it."""

    range: Range
    rows: Mapping[Table, bytes]
    counts: Mapping[Table, int]
    before: Causes
    after: Causes
    newest_ms: int
    repeated: int
    faults: tuple[Fault, ...]

    @property
    def done(self) -> Progress:
        """To be committed after the insert."""
        return Progress(self.range.last + 1, (), self.after)


class Pending:
    """One partition's chunk under way. Not a clock reader: times come in as seconds of any steady clock."""

    def __init__(self, place: Place, progress: Progress) -> None:
        """Start where `progress` says."""
        self._place = place
        self._first = self.next = progress.next
        self._before: dict[str, tuple[int, int]] = dict(progress.causes)
        self._after = dict(self._before)
        self._begin()

    def _begin(self) -> None:
        self._rows: list[Row] = []
        self._newest_ms = 0
        self._repeated = 0
        self._faults: list[Fault] = []
        self.opened: float | None = None
        self.bytes = 0

    @property
    def records(self) -> int:
        """Rows waiting; since `opened`, None when there are none."""
        return len(self._rows)

    def add(self, record: Record, now_s: float) -> None:
        """Take the next record."""
        if record.offset < self.next:
            return  # read before: a fetch after an assignment may begin earlier
        self.next = record.offset + 1
        if self._is_repeat(record):
            self._repeated += 1
            return
        made = row(self._place.topic, self._place.partition, record)
        if made is None:
            return
        if self.opened is None:
            self.opened = now_s
        self._rows.append(made)
        self.bytes += len(made.data)
        self._newest_ms = max(self._newest_ms, record.appended_at)
        if made.fault is not None:
            self._faults.append(made.fault)

    def passed(self, offset: int) -> None:
        """There is no record between where it stands and `offset`. While rows wait it stays: a range ends with a record."""
        if not self._rows and self.next < offset:
            self.next = offset

    def _is_repeat(self, record: Record) -> bool:
        raw = headers.header(record.headers, headers.CAUSE)
        if raw is None:
            return False
        try:
            cause = Cause.decode(raw)
        except ValueError:
            return False  # no cause that we know: then it is the second net's to find a repeat
        at = (cause.offset, cause.nth)
        if at <= self._after.get(cause.lane, (-1, -1)):
            return True
        self._after[cause.lane] = at
        return False

    def take(self) -> Chunk:
        """The chunk, and begin the next. Its range holds every offset since the last one."""
        rows: dict[Table, list[bytes]] = {}
        for one in self._rows:
            rows.setdefault(one.table, []).append(one.data)
        chunk = Chunk(
            range=Range(self._first, self.next - 1),
            rows={table: b"".join(data) for table, data in rows.items()},
            counts={table: len(data) for table, data in rows.items()},
            before=dict(self._before),
            after=dict(self._after),
            newest_ms=self._newest_ms,
            repeated=self._repeated,
            faults=tuple(self._faults),
        )
        self._begin()
        self._before = dict(self._after)
        self._first = self.next
        return chunk

    def settle(self) -> Progress | None:
        """Where it stands, if it has moved and no row waits: to be committed by itself. None otherwise."""
        if self._rows or self.next == self._first:
            return None
        self._first = self.next
        self._before = dict(self._after)
        return Progress(self.next, (), dict(self._after))


def chunk_again(place: Place, wanted: Range, before: Causes, records: Iterable[Record]) -> Chunk:
    """The chunk of exactly that range, as it was made the first time. Offsets that have left the log are not in `records`."""
    pending = Pending(place, Progress(wanted.first, (), before))
    for record in records:
        if wanted.first <= record.offset <= wanted.last:
            pending.add(record, 0.0)
    return replace(pending.take(), range=wanted)
