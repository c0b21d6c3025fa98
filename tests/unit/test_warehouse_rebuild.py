"""A ClickHouse that lost rows is noticed, nothing is written over the loss, and an order loads everything again."""

from collections.abc import Callable, Sequence

import pytest

from services.warehouse.domain.block import Limits
from services.warehouse.domain.progress import Place, Progress
from services.warehouse.keeping import Keeper, Lost
from services.warehouse.loader import Loader
from shared.contracts.kept_rows import Deleted, Noted
from shared.contracts.rebuilds import RebuildChanged, View
from shared.contracts.topics import EVENT_RESOLVED
from tests.unit.test_warehouse_loader import Broker, Clock, Log, Tables, Told, numbers
from tests.unit.warehouse_notes import MemoryNotes

HERE = Place(EVENT_RESOLVED, 0)
CAUSES = {"resolver|in|0": (9, 0)}
ENDS = {HERE: 10_000}


def order(generation: int, from_ms: int = 0) -> RebuildChanged:
    return RebuildChanged(
        id=str(generation), view=View.WAREHOUSE, generation=generation, asked_at=generation, asked_by="ops", from_ms=from_ms
    )


def keeper(notes: MemoryNotes, *orders: RebuildChanged) -> Keeper:
    return Keeper(notes, lambda: orders[-1] if orders else None)


def begun(notes: MemoryNotes, next_: int = 10) -> Keeper:
    made = keeper(notes)
    made.begin({HERE: Progress(next_)}, ENDS)
    return made


def test_a_first_start_and_an_upgrade_are_no_loss() -> None:
    notes = MemoryNotes()
    begun(notes, 0)
    assert notes.noted == [Noted(EVENT_RESOLVED, 0, 0, 0)]
    old = MemoryNotes()
    old.noted = [Noted("*", 0, 0, 1)]
    keeper(old).begin({HERE: Progress(500, (), CAUSES)}, ENDS)
    assert Noted(EVENT_RESOLVED, 0, 0, 500) in old.noted


def test_records_that_left_the_log_unread_are_noted_where_a_rebuild_looks() -> None:
    notes = MemoryNotes()
    kept = begun(notes, 40)
    kept.skipped([HERE, Place(EVENT_RESOLVED, 1)])
    assert notes.noted[-1] == Noted(EVENT_RESOLVED, 0, 0, 40, gap=True)
    kept.note({HERE: 50})
    assert notes.noted[-1] == Noted(EVENT_RESOLVED, 0, 0, 50, gap=True)
    assert kept.left() == (0, False), "nothing is being loaded again"


def test_an_emptied_clickhouse_is_noticed_at_the_start_also_when_its_tables_were_made_again() -> None:
    notes = MemoryNotes()
    notes.empty()
    for _ in range(2):
        with pytest.raises(Lost, match="rapport rebuild warehouse"):
            keeper(notes).begin({HERE: Progress(500, (), CAUSES)}, ENDS)
        notes.make_tables()
    assert notes.noted == []


def test_an_older_copy_is_noticed_and_not_hidden_by_the_next_note() -> None:
    notes = MemoryNotes()
    live = begun(notes)
    older = list(notes.noted)
    live.note({HERE: 30})
    notes.noted = older
    with pytest.raises(Lost, match="ends 20 records too early"):
        live.look()
    with pytest.raises(Lost, match="ends 20 records too early"):
        live.note({HERE: 40})
    with pytest.raises(Lost, match="ends 20 records too early"):
        keeper(notes).begin({HERE: Progress(30, (), CAUSES)}, ENDS)
    assert notes.noted == older


def test_a_copy_of_before_a_rebuild_is_noticed_though_it_reaches_further() -> None:
    notes = MemoryNotes()
    live = begun(notes, 300)
    before = list(notes.noted)
    live.rewound(7, {HERE: (0, 300)})
    live.note({HERE: 150})
    notes.noted = before
    with pytest.raises(Lost, match="older than the rebuild"):
        live.note({HERE: 160})


@pytest.mark.parametrize("gone", ["events", "merges", "progress", "kept"])
def test_a_dropped_table_is_noticed(gone: str) -> None:
    notes = MemoryNotes()
    live = begun(notes)
    notes.empty([gone])
    with pytest.raises(Lost, match=gone):
        live.look()


@pytest.mark.parametrize("now", [{}, {("events", "202601"): 7}])
def test_a_truncated_table_is_noticed_even_if_new_rows_have_come(now: dict[tuple[str, str], int]) -> None:
    notes = MemoryNotes()
    notes.blocks = {("events", "202601"): 1}
    live = begun(notes)
    notes.blocks = now
    with pytest.raises(Lost, match=r"events.*202601"):
        live.look()


def test_a_dropped_partition_is_named_beside_a_truncated_table() -> None:
    notes = MemoryNotes()
    months = [f"2026{month:02}" for month in range(1, 6)]
    notes.blocks = {
        ("messages", "202601"): 3,
        **{("events", month): 1 for month in months},
        ("merges", "all"): 2,
        ("messages", "202602"): 4,
    }
    live = begun(notes)
    notes.blocks = {("merges", "all"): 2, ("messages", "202602"): 4}
    with pytest.raises(Lost) as lost:
        live.look()
    words = "events (partitions 202601, 202602, 202603 and 2 more); messages (partition 202601): `rapport rebuild warehouse`"
    assert str(lost.value).startswith(f"rows were dropped from ClickHouse: {words}")


def test_a_dropped_partition_is_named_beside_a_dropped_table() -> None:
    notes = MemoryNotes()
    notes.blocks = {("merges", "all"): 2, ("events", "202601"): 1, ("events", "202602"): 5}
    live = begun(notes)
    notes.names.remove("merges")
    notes.blocks = {("events", "202602"): 5}
    with pytest.raises(Lost) as lost:
        live.look()
    words = "ClickHouse has lost tables: merges; rows were dropped from ClickHouse: events (partition 202601): `rapport"
    assert str(lost.value).startswith(words)


def test_what_a_delete_took_is_no_loss_and_excuses_nothing_that_goes_later() -> None:
    notes = MemoryNotes()
    notes.blocks = {("events", "202601"): 1, ("events", "202602"): 2}
    live = begun(notes)
    del notes.blocks["events", "202601"]
    notes.deletes, notes.now = [Deleted("events", 2000)], 3000
    live.look()
    del notes.blocks["events", "202602"]
    with pytest.raises(Lost, match="202602"):
        live.look()


def test_a_delete_that_takes_long_excuses_whatever_goes_until_it_has_ended() -> None:
    notes = MemoryNotes()
    notes.blocks = {("events", "202601"): 1, ("events", "202602"): 2}
    live = begun(notes)
    notes.deletes, notes.now = [Deleted("events", 2000, running=True)], 3000
    live.look()
    notes.blocks["events", "202601"] = 5  # its oldest part was emptied first
    live.look()
    notes.blocks["events", "202603"], notes.now = 9, 4000
    live.look()
    del notes.blocks["events", "202601"]
    live.look()
    notes.deletes, notes.now = [Deleted("events", 2000)], 5000
    live.look()
    del notes.blocks["events", "202602"]
    with pytest.raises(Lost, match="202602"):
        live.look()


def test_a_delete_does_not_excuse_a_partition_that_came_after_it_began() -> None:
    notes = MemoryNotes()
    notes.blocks = {("events", "202601"): 1}
    live = begun(notes)
    notes.deletes, notes.now = [Deleted("events", 2000, running=True)], 3000
    notes.blocks["events", "202603"] = 9
    live.look()
    del notes.blocks["events", "202603"]
    with pytest.raises(Lost, match="202603"):
        live.look()


class Operator(Told):
    """Gives an order once the loader says that rows are missing."""

    def __init__(self, given: list[RebuildChanged], then: Callable[[], RebuildChanged]) -> None:
        super().__init__()
        self._given, self._then = given, then
        self.gaps: list[tuple[int, bool]] = []

    def missing(self, lost: bool) -> None:
        if lost and not self._given:
            self._given.append(self._then())

    def rebuilding(self, left: int, gap: bool) -> None:
        self.gaps.append((left, gap))


def loaded(broker: Broker, tables: Tables, given: list[RebuildChanged], script: Sequence[str] = (), told: Told | None = None) -> None:
    log = Log(broker, script)
    log.loader = Loader(
        tables, told or Told(), Limits(5, 10_000), 0.25, 16.0, Keeper(tables.notes, lambda: given[-1] if given else None), Clock()
    )
    log.loader.run(log)


def test_after_a_loss_nothing_is_written_until_it_is_ordered_and_then_everything_is_there_once() -> None:
    broker, tables = Broker(40, 3), Tables([])
    loaded(broker, tables, [])
    tables.rows.clear()
    tables.tokens.clear()
    tables.notes.empty()
    given: list[RebuildChanged] = []
    told = Operator(given, lambda: order(7))
    loaded(broker, tables, given, told=told)
    assert numbers(tables) == list(range(40))
    assert next(reason for reason in told.held if reason).endswith("(RUNBOOK.md, Rebuild a view)")
    assert told.gaps[-1] == (0, False)
    assert all(token.startswith("7/") for token in tables.tokens)


def test_a_rebuild_of_whole_tables_is_not_swallowed_by_the_tokens_of_before() -> None:
    broker, tables = Broker(40, 3), Tables([])
    loaded(broker, tables, [])
    loaded(broker, tables, [order(7)])
    assert numbers(tables) == sorted([*range(40), *range(40)])  # the second net drops one of each: ReplacingMergeTree
    loaded(broker, tables, [order(7)])
    assert len(numbers(tables)) == 80


def test_a_kafka_that_was_emptied_loses_no_row_to_the_tokens_of_the_one_before() -> None:
    tables = Tables([])
    loaded(Broker(40, 1), tables, [])
    younger = Broker(20, 1)
    loaded(younger, tables, [])
    assert numbers(tables) == sorted([*range(40), *range(20)])
    before = len(tables.notes.noted)
    loaded(younger, tables, [])
    assert numbers(tables) == sorted([*range(40), *range(20)])
    assert tables.notes.noted[before:] == [], "a start after that is as any other"


@pytest.mark.parametrize("at", range(0, 30, 2))
@pytest.mark.parametrize("trouble", ["rebalance", "commit"])
def test_a_rebuild_survives_whatever_happens_to_it(at: int, trouble: str) -> None:
    broker, tables = Broker(40, 3), Tables([])
    loaded(broker, tables, [])
    tables.rows.clear()
    tables.tokens.clear()
    tables.notes.empty()
    loaded(broker, tables, [order(7)], [""] * at + [trouble])
    assert numbers(tables) == list(range(40))


def test_from_an_instant_only_what_the_log_took_since_is_read_again() -> None:
    broker, tables = Broker(40, 1), Tables([])
    loaded(broker, tables, [])
    tables.rows.clear()
    loaded(broker, tables, [order(7, from_ms=30)])
    assert numbers(tables) == list(range(30, 40))


def test_an_instant_later_than_what_was_written_leaves_out_nothing_that_was_never_written() -> None:
    broker, tables = Broker(40, 1), Tables([])
    whole = {place: list(records) for place, records in broker.records.items()}
    for place, records in whole.items():
        broker.records[place] = records[:20]
    loaded(broker, tables, [])
    assert numbers(tables) == list(range(20))
    for place, records in whole.items():
        broker.records[place] = records
    loaded(broker, tables, [order(7, from_ms=30)])
    assert numbers(tables) == list(range(40))
