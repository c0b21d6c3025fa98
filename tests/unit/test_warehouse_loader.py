"""The loop of the warehouse against a log and tables in memory that fail, forget answers, and change hands."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.warehouse.domain.block import Limits
from services.warehouse.domain.progress import LONGEST_BYTES, Place, Progress, Range, decode
from services.warehouse.domain.rows import Record, Table
from services.warehouse.keeping import Keeper
from services.warehouse.loader import Loader
from services.warehouse.ports import Assigned, LogAway
from shared.adapters.clickhouse import StoreAway, StoreRefused
from shared.contracts.kept_rows import Noted
from shared.contracts.slots import MOST_PARTITIONS
from shared.contracts.topics import EVENT_RESOLVED
from tests.unit.warehouse_notes import MemoryNotes


class Tables:
    """Keeps tokens like ClickHouse; fails, applied or not, as it is told: `away`, `cut` (applied, answer lost), `refused`."""

    def __init__(self, troubles: Sequence[str]) -> None:
        self.troubles = list(troubles)
        self.tokens: dict[str, bytes] = {}
        self.rows: list[bytes] = []
        self.notes = MemoryNotes()

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


class Broker:
    """Some partitions in memory, with what the group committed of each: a commit holds for all of its partitions or for none."""

    def __init__(self, records: int, partitions: int) -> None:
        self.records = {Place(EVENT_RESOLVED, partition): _records(partition, partitions, records) for partition in range(partitions)}
        self.committed: dict[Place, tuple[int, str]] = {}

    def progress(self, place: Place) -> Progress:
        offset, metadata = self.committed.get(place, (0, ""))
        return decode(place.partition, offset, metadata)

    @property
    def done(self) -> bool:
        return all(self.committed.get(place, (0,))[0] == len(log) for place, log in self.records.items())


def _records(partition: int, partitions: int, records: int) -> list[Record]:
    """What is this partition's of the numbers below `records`."""
    numbers = range(partition, records, partitions)
    return [
        Record(at, at, b"k", b'{"n":%d}' % number, [("cause", b"resolver|in|%d|%d|0" % (partition, at))])
        for at, number in enumerate(numbers)
    ]


class Log:
    """One member of the group. `script` says what each call does: change hands, or refuse a commit. Which partitions it has next, `hands`
    say: a number for each assignment, of which every partition that is set in it is ours. `alone`: its loader stops when its part is done.
    """

    def __init__(self, broker: Broker, script: Sequence[str], hands: Sequence[int] = (), alone: bool = False) -> None:
        self.broker, self.script, self.hands, self.alone = broker, list(script), list(hands), alone
        self.at: dict[Place, int] = {}
        self.owned = False
        self.loader: Loader

    def _next(self) -> str:
        return self.script.pop(0) if self.script else ""

    def _assign(self) -> None:
        hand = self.hands.pop(0) if self.hands else -1
        places = [place for place in self.broker.records if hand >> place.partition & 1]
        told = {place: self.broker.progress(place) for place in places}
        self.at, self.owned = {place: one.next for place, one in told.items()}, True
        self.loader.rebalance().assigned([Assigned(place, one, 0) for place, one in told.items()])

    def _revoke(self) -> None:
        self.owned = False
        self.loader.rebalance().revoked()

    def _fetch(self, most: int) -> list[tuple[Place, Record]]:
        found = [(place, one) for place, at in self.at.items() for one in self.broker.records[place][at : at + most]]
        self.at = {place: min(at + most, len(self.broker.records[place])) for place, at in self.at.items()}
        return found

    def read(self, most: int, seconds: float) -> list[tuple[Place, Record]]:
        if not self.owned:
            self._assign()
            return []
        if self._next() == "rebalance":
            self._revoke()
            return []
        found = self._fetch(7)
        mine = all(self.broker.committed.get(place, (0,))[0] == len(self.broker.records[place]) for place in self.at)
        if not found and not self.script and mine:
            if self.alone or self.broker.done:
                self.loader.stop()
            else:
                self._revoke()  # the others' part is left
        return found

    def keep_alive(self, seconds: float) -> list[tuple[Place, Record]]:
        if self._next() == "rebalance":
            self._revoke()
            return []
        return self._fetch(1)  # what was fetched before the pause may still come

    def resume(self) -> None:
        return

    def commit(self, progress: Mapping[Place, Progress]) -> None:
        if self._next() == "commit":
            raise LogAway("not now")
        if not self.owned:
            raise LogAway("not ours")
        assert progress.keys() <= self.at.keys()
        self.broker.committed |= {place: (one.next, one.encode()) for place, one in progress.items()}

    def committed(self, places: Sequence[Place]) -> Mapping[Place, Progress]:
        if self._next() == "commit":
            raise LogAway("not now")
        return {place: self.broker.progress(place) for place in places}

    def again(self, ranges: Mapping[Place, Range]) -> Mapping[Place, list[Record]]:
        if self._next() == "commit":
            raise LogAway("not now")
        return {place: self.broker.records[place][one.first : one.last + 1] for place, one in ranges.items()}

    def reached(self) -> Mapping[Place, int]:
        return {place: len(self.broker.records[place]) for place, at in self.at.items() if at == len(self.broker.records[place])}

    def spans(self, stood: Mapping[Place, int], from_ms: int) -> Mapping[Place, tuple[int, int]]:
        if self._next() == "commit":
            raise LogAway("not now")
        logs = {place: self.broker.records[place] for place in stood}
        young = {place: next((one.offset for one in log if one.appended_at >= from_ms), len(log)) for place, log in logs.items()}
        return {place: (min(young[place], stood[place]), len(log)) for place, log in logs.items()}

    def go_back(self, to: Mapping[Place, int]) -> None:
        assert to.keys() == self.at.keys()
        self.at = dict(to)

    def waiting(self, progress: Mapping[Place, int]) -> Mapping[str, int]:
        return {place.topic: len(self.broker.records[place]) - at for place, at in progress.items()}


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

    def missing(self, lost: bool) -> None:
        return

    def rebuilding(self, left: int, gap: bool) -> None:
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


def load(
    records: int, script: Sequence[str], troubles: Sequence[str], partitions: int = 1, hands: Sequence[int] = ()
) -> tuple[Broker, Tables, Told]:
    log, tables, told = Log(Broker(records, partitions), script, hands), Tables(troubles), Told()
    log.loader = Loader(tables, told, Limits(5, 10_000), 0.25, 16.0, Keeper(tables.notes, lambda: None), Clock())
    log.loader.run(log)
    return log.broker, tables, told


def numbers(tables: Tables) -> list[int]:
    text = b"".join(tables.rows)
    return sorted(int(piece.split(b"}")[0]) for piece in text.split(b'{"n":')[1:])


def test_everything_is_written_once() -> None:
    broker, tables, told = load(33, [], [], 3)
    assert numbers(tables) == list(range(33))
    assert broker.committed[Place(EVENT_RESOLVED, 2)] == (11, ";resolver|in:2=10.0")
    assert (told.rows, told.held) == (33, [])


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from(["", "", "", "rebalance", "commit"]), max_size=40),
    st.lists(st.sampled_from(["", "", "away", "cut", "refused"]), max_size=15),
    st.integers(1, 4),
    st.lists(st.integers(0, 15), max_size=12),
)
def test_no_row_is_lost_or_doubled_whatever_fails_and_whoever_owns_what(
    script: list[str], troubles: list[str], partitions: int, hands: list[int]
) -> None:
    broker, tables, told = load(40, script, troubles, partitions, hands)
    assert numbers(tables) == list(range(40))
    for place, log in broker.records.items():
        assert broker.progress(place) == Progress(len(log), (), {f"resolver|in|{place.partition}": (len(log) - 1, 0)})
    assert not told.held or told.held[-1] is None


FAR = 2**54


def _caused_behind(offset: int, record: Record) -> Record:
    lane, at, nth = record.headers[0][1].decode().rsplit("|", 2)
    return record._replace(headers=[("cause", f"{lane}|{offset + 1 + int(at)}|{nth}".encode())])


class FullBroker(Broker):
    """Of many partitions, whose records come from every slot of the resolver: commits are as long as they get."""

    def __init__(self, records: int, partitions: int) -> None:
        super().__init__(records, partitions)
        heard = {f"resolver|{source}|{of}": (FAR, 0) for source in ("in", "replayed", "other") for of in range(partitions)}
        self.committed = dict.fromkeys(self.records, (0, Progress(0, (), heard).encode()))
        self.records = {place: [_caused_behind(FAR, one) for one in records] for place, records in self.records.items()}


def test_with_very_many_partitions_blocks_become_smaller_and_all_is_written_once() -> None:
    log, tables, told = Log(FullBroker(400, MOST_PARTITIONS), ["", "", "", "rebalance", "", "commit"]), Tables(["", "cut", "away"]), Told()
    tables.notes.noted = [Noted("*", 0, 0, 1)]
    log.loader = Loader(tables, told, Limits(400, 100_000), 0.25, 16.0, Keeper(tables.notes, lambda: None), Clock())
    log.loader.run(log)
    assert numbers(tables) == list(range(400))
    assert log.broker.done
    assert len(tables.tokens) > 1
    assert max(len(metadata) for _, metadata in log.broker.committed.values()) <= LONGEST_BYTES
    assert all(metadata.startswith("z1:") for _, metadata in log.broker.committed.values())


class Stopped(BaseException):
    """What a SIGKILL is to everything that goes on."""


class Doomed(Tables):
    """Takes so many inserts; its process dies in the next, before it is applied or after."""

    def __init__(self, inserts: int, applied: bool) -> None:
        super().__init__([])
        self._left, self._applied = inserts, applied

    def insert(self, table: Table, rows: bytes, token: str) -> None:
        self._left -= 1
        if self._left >= 0 or self._applied:
            super().insert(table, rows, token)
        if self._left < 0:
            raise Stopped


def _member(broker: Broker, tables: Tables, hand: int) -> Log:
    log = Log(broker, [], [hand], alone=True)
    log.loader = Loader(tables, Told(), Limits(5, 10_000), 0.25, 16.0, Keeper(tables.notes, lambda: None), Clock())
    return log


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("first_heir_dies", [False, True])
def test_a_block_of_somebody_killed_is_made_whole_again_by_whoever_has_a_part_of_it(applied: bool, first_heir_dies: bool) -> None:
    broker, tables = Broker(60, 4), Tables([])

    def killed(hand: int, inserts: int, applied: bool) -> None:
        doomed = Doomed(inserts, applied)
        doomed.tokens, doomed.rows, doomed.notes = tables.tokens, tables.rows, tables.notes
        log = _member(broker, doomed, hand)
        with pytest.raises(Stopped):
            log.loader.run(log)

    killed(0b1111, 1, applied)
    assert [len(broker.progress(place).intent) for place in broker.records] == [4, 4, 4, 4]
    if first_heir_dies:
        killed(0b0101, 0, True)
        assert len(tables.rows) == 2
    for hand in (0b0101, 0b1010):
        log = _member(broker, tables, hand)
        log.loader.run(log)
    assert numbers(tables) == list(range(60))
    assert broker.done


def test_what_others_offsets_were_moved_from_by_hand_is_written_without_them() -> None:
    broker, doomed = Broker(60, 2), Doomed(0, False)
    log = _member(broker, doomed, 0b11)
    with pytest.raises(Stopped):
        log.loader.run(log)
    del broker.committed[Place(EVENT_RESOLVED, 1)]
    tables = Tables([])
    for hand in (0b01, 0b10):
        log = _member(broker, tables, hand)
        log.loader.run(log)
    assert numbers(tables) == list(range(60))


def test_the_longer_writing_takes_the_more_rows_wait_for_it() -> None:
    """A block costs ClickHouse as much as thousands of rows, so a busy one is given fewer of them."""

    def inserts(seconds: float) -> int:
        clock = Clock()
        log, tables, told = Log(Broker(600, 1), []), SlowTables(clock, seconds), Told()
        log.loader = Loader(tables, told, Limits(10_000, 10_000_000), 0.25, 16.0, Keeper(tables.notes, lambda: None), clock)
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
