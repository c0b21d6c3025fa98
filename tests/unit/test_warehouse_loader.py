"""The loop of the warehouse against a log and tables in memory that fail, forget answers, and change hands."""

from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from services.warehouse.domain.chunk import Limits
from services.warehouse.domain.progress import Progress, decode
from services.warehouse.domain.rows import Record, Table
from services.warehouse.loader import Loader
from services.warehouse.ports import Assigned, LogAway, Place
from shared.adapters.clickhouse import StoreAway, StoreRefused
from shared.contracts.topics import EVENT_RESOLVED

PLACE = Place(EVENT_RESOLVED, 0)


class Tables:
    """Keeps tokens like ClickHouse; fails, applied or not, as it is told: `away`, `cut` (applied, answer lost), `refused`."""

    def __init__(self, troubles: Sequence[str]) -> None:
        self.troubles = list(troubles)
        self.tokens: dict[str, bytes] = {}
        self.rows: list[bytes] = []

    def insert(self, table: Table, rows: bytes, token: str) -> None:
        trouble = self.troubles.pop(0) if self.troubles else ""
        if trouble == "away":
            raise StoreAway("away")
        if trouble == "refused":
            raise StoreRefused(60, "no such table")
        if token not in self.tokens:
            self.tokens[token] = rows
            self.rows.append(rows)
        assert self.tokens[token] == rows, "one token for different rows"
        if trouble == "cut":
            raise StoreAway("the answer was cut")


class SlowTables(Tables):
    """Each insert takes so many seconds."""

    def __init__(self, clock: "Clock", seconds: float) -> None:
        super().__init__([])
        self._clock, self._seconds = clock, seconds

    def insert(self, table: Table, rows: bytes, token: str) -> None:
        self._clock.now += self._seconds
        super().insert(table, rows, token)


class Log:
    """A partition in memory. `events` says what each call does: hand over records, lose the partition, refuse a commit."""

    def __init__(self, records: int, script: Sequence[str]) -> None:
        self.records = [Record(n, n, b"k", b'{"n":%d}' % n, [("cause", b"resolver|in|0|%d|0" % n)]) for n in range(records)]
        self.script = list(script)
        self.committed: tuple[int, str] = (0, "")
        self.at = 0
        self.loader: Loader
        self.owned = False

    def _next(self) -> str:
        return self.script.pop(0) if self.script else ""

    def _assign(self) -> None:
        progress = decode(*self.committed)
        self.at, self.owned = progress.next, True
        self.loader.rebalance().assigned([Assigned(PLACE, progress, 0)])

    def read(self, most: int, seconds: float) -> list[tuple[Place, Record]]:
        if not self.owned:
            self._assign()
            return []
        what = self._next()
        if what == "rebalance":
            self.owned = False
            self.loader.rebalance().revoked()
            return []
        found = self.records[self.at : self.at + 7]
        self.at += len(found)
        if not found and not self.script and self.committed[0] == len(self.records):
            self.loader.stop()
        return [(PLACE, one) for one in found]

    def keep_alive(self, seconds: float) -> list[tuple[Place, Record]]:
        if self._next() == "rebalance":
            self.owned = False
            self.loader.rebalance().revoked()
            return []
        found = self.records[self.at : self.at + 1]  # what was fetched before the pause may still come
        self.at += len(found)
        return [(PLACE, one) for one in found]

    def resume(self) -> None:
        return

    def commit(self, progress: Mapping[Place, Progress]) -> None:
        if self._next() == "commit":
            raise LogAway("not now")
        if not self.owned:
            raise LogAway("not ours")
        ((_, one),) = progress.items()
        self.committed = (one.next, one.encode())

    def waiting(self, progress: Mapping[Place, int]) -> Mapping[str, int]:
        return {place.topic: len(self.records) - at for place, at in progress.items()}


class Told:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.held: list[str | None] = []
        self.rows = 0

    def written(self, table: Table, rows: int, seconds: float, newest_ms: int) -> None:
        self.rows += rows

    def done(self, topic: str, repeated: int, faults: Sequence[str]) -> None:
        return

    def held_up(self, reason: str | None) -> None:
        self.held.append(reason)

    def retried(self) -> None:
        return

    def lost(self, records: int) -> None:
        return

    def standing(self, waiting: Mapping[str, int]) -> None:
        return


class Clock:
    """Moves on by itself, so that every wait ends."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.05
        return self.now


def load(records: int, script: Sequence[str], troubles: Sequence[str]) -> tuple[Log, Tables, Told]:
    log, tables, told = Log(records, script), Tables(troubles), Told()
    log.loader = Loader(tables, told, Limits(5, 10_000), 100_000, 0.25, 16.0, Clock())
    log.loader.run(log)
    return log, tables, told


def numbers(tables: Tables) -> list[int]:
    text = b"".join(tables.rows)
    return [int(piece.split(b"}")[0]) for piece in text.split(b'{"n":')[1:]]


def test_everything_is_written_once_and_in_order() -> None:
    log, tables, told = load(33, [], [])
    assert numbers(tables) == list(range(33))
    assert log.committed == (33, ";resolver|in:0=32.0")
    assert (told.rows, told.held) == (33, [])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(["", "", "", "rebalance", "commit"]), max_size=40),
    st.lists(st.sampled_from(["", "", "away", "cut", "refused"]), max_size=15),
)
def test_no_row_is_lost_or_doubled_whatever_fails_and_whoever_owns_it(script: list[str], troubles: list[str]) -> None:
    log, tables, told = load(40, script, troubles)
    assert numbers(tables) == list(range(40))
    assert decode(*log.committed) == Progress(40, None, {"resolver|in|0": (39, 0)})
    assert not told.held or told.held[-1] is None


def test_the_longer_writing_takes_the_more_rows_wait_for_it() -> None:
    """A block costs ClickHouse as much as thousands of rows, so a busy one is given fewer of them."""

    def inserts(seconds: float) -> int:
        clock = Clock()
        log, tables, told = Log(600, []), SlowTables(clock, seconds), Told()
        log.loader = Loader(tables, told, Limits(10_000, 10_000_000), 10_000_000, 0.25, 16.0, clock)
        log.loader.run(log)
        assert numbers(tables) == list(range(600))
        return len(tables.rows)

    at_once, slow, slower = inserts(0.0), inserts(0.2), inserts(1.0)
    assert at_once > 1.5 * slow
    assert slow > 1.5 * slower


def test_a_store_that_is_away_is_told_and_then_no_more() -> None:
    _, tables, told = load(5, [], ["away", "away"])
    assert numbers(tables) == [0, 1, 2, 3, 4]
    assert told.held == ["StoreAway: away", "StoreAway: away", None]
