"""What the loader needs of the log and the tables; adapters/ has the real ones."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from services.warehouse.domain.progress import Place, Progress, Range
from services.warehouse.domain.rows import Record, Table


class LogAway(Exception):
    """Kafka did not take a commit, or did not tell one: it is away, or these partitions are no longer ours."""


class Assigned(NamedTuple):
    """A partition that is ours from now on: what was committed for it, and how many records left the log before we read them."""

    place: Place
    progress: Progress
    lost: int


class Rebalance(NamedTuple):
    """Called from within `read` and `keep_alive`, in their thread. Every change is a revocation first."""

    assigned: Callable[[Sequence[Assigned]], None]
    revoked: Callable[[], None]


class Log(Protocol):
    """A member of the consumer group."""

    def read(self, most: int, seconds: float) -> list[tuple[Place, Record]]:
        """Records, `most` at most, waiting `seconds` for that many."""

    def keep_alive(self, seconds: float) -> list[tuple[Place, Record]]:
        """Stay in the group for `seconds` without fetching; what had been fetched before may still come."""

    def resume(self) -> None:
        """Fetch again after `keep_alive`."""

    def commit(self, progress: Mapping[Place, Progress]) -> None:
        """Commit offsets with their metadata, durably. Raises LogAway."""

    def committed(self, places: Sequence[Place]) -> Mapping[Place, Progress]:
        """What is committed for these, ours or not, all of one instant. Raises LogAway."""

    def again(self, ranges: Mapping[Place, Range]) -> Mapping[Place, list[Record]]:
        """The records of these ranges, as far as they are still in the log, ours or not. Raises LogAway."""

    def reached(self) -> Mapping[Place, int]:
        """Where partitions of ours end, as far as they have been read to the end: the marks of transactions behind the last record are
        no records, so no record says that they have been passed."""

    def spans(self, stood: Mapping[Place, int], from_ms: int) -> Mapping[Place, tuple[int, int]]:
        """Of each partition the first offset that the log took at `from_ms` or later and still has, and the next one. Raises LogAway.

        `stood`: where each partition stands. What was never written is never left out, so none begins behind that.
        """

    def go_back(self, to: Mapping[Place, int]) -> None:
        """Read all partitions that are ours from these offsets on, and `resume`."""

    def waiting(self, progress: Mapping[Place, int]) -> Mapping[str, int]:
        """Records behind these offsets, by topic, as far as is known without asking."""


class Tables(Protocol):
    """Where rows go. Raises StoreAway and StoreRefused of shared.adapters.clickhouse."""

    def insert(self, table: Table, rows: bytes, token: str) -> None:
        """Insert once for this token, however often called."""


class Observer(Protocol):
    """Is told what happens."""

    def written(self, table: Table, rows: int, seconds: float, newest_ms: int) -> None: ...
    def done(self, topic: str, repeated: int, faults: Sequence[str]) -> None: ...
    def held_up(self, reason: str | None) -> None: ...
    def missing(self, lost: bool) -> None: ...
    def rebuilding(self, left: int, gap: bool) -> None: ...
    def retried(self) -> None: ...
    def lost(self, records: int) -> None: ...
    def standing(self, waiting: Mapping[str, int]) -> None: ...
