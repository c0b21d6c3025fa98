"""The records of one partition between the log and the tables: repeats dropped, ranges kept exact, due by size or age."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.warehouse.domain.amounts import Fault
from services.warehouse.domain.progress import Causes, Progress, Range
from services.warehouse.domain.rows import Record, Row, Table, row
from shared.contracts import headers
from shared.contracts.headers import Cause


@dataclass(frozen=True)
class Limits:
    """At either a chunk is full."""

    records: int
    bytes: int


@dataclass(frozen=True)
class Chunk:
    """What one insert a table will write. `before` are the causes seen before `range`, `after` those with it."""

    range: Range
    rows: Mapping[Table, bytes]
    counts: Mapping[Table, int]
    before: Causes
    after: Causes
    newest_ms: int
    repeated: int
    faults: tuple[Fault, ...]

    def meant(self) -> Progress:
        """To be committed before the insert."""
        return Progress(self.range.first, self.range, self.before)

    def done(self) -> Progress:
        """To be committed after it."""
        return Progress(self.range.last + 1, None, self.after)


class Pending:
    """One partition's chunk under way. Not a clock reader: times come in as seconds of any steady clock."""

    def __init__(self, topic: str, partition: int, progress: Progress, limits: Limits) -> None:
        """Start where `progress` says. With an intent, the first chunk is exactly that range, however large or small."""
        self.topic, self.partition = topic, partition
        self._limits = limits
        self._exact = progress.intent
        self._first = self.next = progress.next
        self._before: dict[str, tuple[int, int]] = dict(progress.causes)
        self._after = dict(self._before)
        self._rows: list[Row] = []
        self._opened: float | None = None
        self._newest_ms = 0
        self.bytes = 0
        self.repeated = 0
        self.faults: list[Fault] = []

    @property
    def records(self) -> int:
        """Rows waiting."""
        return len(self._rows)

    def add(self, record: Record, now_s: float) -> bool:
        """Take the next record; False if it does not belong to this chunk and must be given again after `take`."""
        if record.offset < self.next:
            return True  # read before: a fetch after an assignment may begin earlier
        if self._exact is not None and record.offset > self._exact.last:
            self.next = self._exact.last + 1
            return False
        self.next = record.offset + 1
        if self._is_repeat(record):
            self.repeated += 1
            return True
        made = row(self.topic, self.partition, record)
        if made is None:
            return True
        if self._opened is None:
            self._opened = now_s
        self._rows.append(made)
        self.bytes += len(made.data)
        self._newest_ms = max(self._newest_ms, record.appended_at)
        if made.fault is not None:
            self.faults.append(made.fault)
        return True

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

    @property
    def full(self) -> bool:
        """Whether it must be written before more is taken: by its size, or because an exact range is whole."""
        if self._exact is not None:
            return self.next > self._exact.last
        return len(self._rows) >= self._limits.records or self.bytes >= self._limits.bytes

    @property
    def ready(self) -> bool:
        """Whether there are rows that may be written now; those of an exact range only once it is whole."""
        return bool(self._rows) and (self._exact is None or self.full)

    def due_at(self, age_s: float) -> float | None:
        """The instant at which it is due by age; None if nothing waits, and for an exact range, which waits until it is whole."""
        return None if self._exact is not None or self._opened is None else self._opened + age_s

    def take(self) -> Chunk:
        """The chunk, and begin the next. Its range holds every offset since the last one."""
        rows: dict[Table, list[bytes]] = {}
        for one in self._rows:
            rows.setdefault(one.table, []).append(one.data)
        chunk = Chunk(
            range=self._exact or Range(self._first, self.next - 1),
            rows={table: b"".join(data) for table, data in rows.items()},
            counts={table: len(data) for table, data in rows.items()},
            before=dict(self._before),
            after=dict(self._after),
            newest_ms=self._newest_ms,
            repeated=self.repeated,
            faults=tuple(self.faults),
        )
        self._exact, self._opened, self._rows, self.bytes, self.faults, self.repeated = None, None, [], 0, [], 0
        self._before = dict(self._after)
        self._first = self.next
        return chunk

    def settle(self) -> Progress | None:
        """Where it stands, if it has moved and no row waits: to be committed by itself. None otherwise."""
        if self._exact is not None or self._rows or self.next == self._first:
            return None
        self._first = self.next
        self._before = dict(self._after)
        return Progress(self.next, None, dict(self._after))
