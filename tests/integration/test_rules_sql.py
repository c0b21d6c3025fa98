"""Stream = SQL: whoever the production stage has in a segment, ClickHouse finds there too, person by person."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from deploy.local.process import Process
from services.segmentation.rehearsal import Alone, advance
from services.segmentation.stage import SeenEvent, SegmentationStage
from services.warehouse.adapters.tables import ClickHouseTables
from services.warehouse.domain.rows import Record, Table, row
from services.warehouse.migrate import found, migrate
from shared.adapters.clickhouse import ClickHouse
from shared.adapters.store_settings import Address
from shared.contracts import headers
from shared.contracts.events import EVENT_ENCODER, EventType, ReceivedEvent
from shared.contracts.identity import MergeRecord
from shared.contracts.membership_blob import Membership
from shared.contracts.slots import slot
from shared.contracts.topics import EVENT_RESOLVED
from shared.definitions.models import canonical
from shared.definitions.segment import Segment
from shared.rules.compiler import compile_plan
from shared.rules.sql.members import members, memberships
from tests.integration.wild_rules import Call, Wild

pytestmark = pytest.mark.real

SEGMENTS, PEOPLE, CALLS = 30, 40, 9


@pytest.fixture(scope="module")
def store(clickhouse: Process) -> Iterator[ClickHouse]:
    """The warehouse's tables; what is in them goes when this module ends."""
    client = ClickHouse(Address(clickhouse.url))  # type: ignore[attr-defined]
    migrate(client, found())
    yield client
    _empty(client)
    client.close()


def _empty(store: ClickHouse) -> None:
    for table in ("events", "merges"):
        store.command(f"TRUNCATE TABLE rapport.{table}")


@dataclass
class World:
    """One log, read by the production stage and by the warehouse's own rows."""

    stage: SegmentationStage
    states: dict[str, Membership] = field(default_factory=dict)
    winners: dict[str, str] = field(default_factory=dict)
    rows: dict[Table, list[bytes]] = field(default_factory=dict)
    offset: int = 0

    def call(self, call: Call, now: int, *, twice: bool, moved: bool) -> None:
        """An event is in the log, `twice` perhaps: the second is a copy that only ClickHouse meets. `moved`: under its canonical id."""
        body = msgspec.Raw(call.body)
        value = EVENT_ENCODER.encode(
            ReceivedEvent(
                type=EventType(call.type),
                message_id=call.message_id,
                source_id="web",
                timestamp=call.at,
                received_at=call.at + 5,
                original_timestamp=call.at - 1,
                anonymous_id=call.person,
                event=call.event,
                properties=msgspec.Raw(b"{}") if call.type == "identify" else body,
                traits=body if call.type in ("identify", "group") else msgspec.Raw(b"{}"),
                context=msgspec.Raw(b'{"properties":{"p":7},"traits":{"p":7},"p":7}'),
            )
        )
        key = self.root(call.person)
        for _ in range(2 if twice else 1):
            self._row(key if moved else call.person, value)
        self.wake(key, now)
        step = self._step(key, now)
        item = msgspec.json.decode(value, type=SeenEvent)
        self.states[key] = self.stage.fold(self.states.get(key, self.stage.empty(key)), item, step)

    def merge(self, loser: str, winner: str, now: int) -> None:
        """`loser` was merged into `winner`."""
        self._row(loser, msgspec.json.encode(MergeRecord(loser, winner, now)), (headers.KIND, headers.KIND_MERGE))
        for key in (loser, winner):
            self.wake(key, now)
        states = [self.states.pop(key, self.stage.empty(key)) for key in (winner, loser)]
        self.stage.leave(states[1], winner, self._step(loser, now))
        step = self._step(winner, now)
        self.states[winner] = self.stage.settled(self.stage.merge(states[0], states[1], step), step)
        self.winners[loser] = winner

    def wake(self, key: str, now: int) -> None:
        """Time passes up to `now`, and every timer on the way fires; the state goes through its bytes."""
        if key in self.states:
            self.states[key] = self.stage.load(self.stage.dump(advance(self.stage, self.states[key], self._step(key, now), now)))

    def root(self, key: str) -> str:
        while key in self.winners:
            key = self.winners[key]
        return key

    def members(self) -> dict[str, list[str]]:
        return {key: sorted(state.members) for key, state in self.states.items() if state.members}

    def fill(self, store: ClickHouse) -> None:
        """Bring the rows into the tables as the warehouse does."""
        _empty(store)
        for table, rows in self.rows.items():
            ClickHouseTables(store).insert(table, b"".join(rows), f"{id(self)}:{self.offset}")

    def _step(self, key: str, now: int) -> Alone:
        step = Alone(self.stage.name, EVENT_RESOLVED, 0)
        step.plan = self.stage.compile(None)
        step.key, step.now = key, now
        return step

    def _row(self, key: str, value: bytes, *told: tuple[str, bytes]) -> None:
        made = row(EVENT_RESOLVED, slot(key), Record(self.offset, 1_700_000_000_000, key.encode(), value, list(told)))
        assert made is not None
        self.rows.setdefault(made.table, []).append(made.data)
        self.offset += 1


def _by_sql(store: ClickHouse, segments: Sequence[Segment], now: int, zone: str) -> dict[str, list[str]]:
    query = memberships(segments, now, zone)
    found = {}
    for answer in store.rows(query.sql, query.parameters):
        names = sorted(segment.segment for segment, holds in zip(segments, answer["holds"], strict=True) if holds)
        if names:
            found[answer["person"]] = names
    return found


@settings(max_examples=300 if settings.get_current_profile_name() == "fuzz" else 12, phases=[Phase.explicit, Phase.generate])
@given(st.integers(0, 2**32))
def test_clickhouse_finds_the_same_members_as_the_stream(store: ClickHouse, seed: int) -> None:
    wild = Wild(seed)
    segments = wild.segments(SEGMENTS)
    people = [f"a:{number}" for number in range(PEOPLE)]
    world = World(SegmentationStage(compile_plan(segments, wild.zone)))
    calls, merges = wild.calls(people, CALLS), wild.merges(people)
    moments = sorted(wild.choice(*range(len(calls))) for _ in merges)
    clock = 0
    for place, call in enumerate(calls):
        clock = min(max(clock, call.at - wild.choice(0, 5, 120_000)), wild.now)
        world.call(call, clock, twice=wild.choice(False, False, True), moved=wild.choice(False, True))
        while merges and moments[-len(merges)] <= place:
            world.merge(*merges.pop(0), clock)
    for key in list(world.states):
        world.wake(key, wild.now)
    world.fill(store)
    by_stream, by_sql = world.members(), _by_sql(store, segments, wild.now, wild.zone)
    assert by_sql == by_stream, f"seed {seed}\n{_story(world, segments, calls, wild, by_sql)}"


def _story(world: World, segments: Sequence[Segment], calls: Sequence[Call], wild: Wild, by_sql: dict[str, list[str]]) -> str:
    """Everything about the first person and segment in which the two differ."""
    by_stream = world.members()
    person = next(one for one in sorted({*by_stream, *by_sql}) if by_stream.get(one) != by_sql.get(one))
    names = set(by_stream.get(person, [])) ^ set(by_sql.get(person, []))
    segment = next(one for one in segments if one.segment in names)
    did = [call for call in calls if world.root(call.person) == person]
    lines = [
        f"stream {segment.segment in by_stream.get(person, [])}",
        f"now {wild.now} {wild.zone}",
        canonical(segment.when),
        *map(str, did),
    ]
    return re.sub(r"(.)\1{20,}", r"\1…", "\n".join(lines))


def _segments(*rules: dict[str, Any]) -> list[Segment]:
    titles = {"zh": "测试", "en": "test"}
    return [Segment.model_validate({"segment": f"s{place}", "title": titles, "when": rule}) for place, rule in enumerate(rules)]


def _paid(number: int, at: int, revenue: str) -> Call:
    return Call("a:1", f"m{number}", "track", "Order Completed", at, f'{{"revenue":{revenue}}}'.encode())


NOW = 1_712_400_000_000
"""2024-04-06 10:40 UTC: in Lord Howe the evening before the clocks go back by half an hour."""


WINDOWS: Sequence[dict[str, Any]] = ({}, {"within": "60d"}, {"within": "5d"}, {"within": "12h"}, {"between": ["60d", "30d"]})
BOUNDS: Sequence[dict[str, Any]] = ({"eq": 7}, {"gt": 7}, {"lt": 0}, {"eq": 0})


def test_a_bucket_whose_sum_does_not_fit_64_bits_counts_as_absent_in_both(store: ClickHouse) -> None:
    """923 amounts of 10^12 are more than 64 bits hold: such a minute, hour and day, one of them negative, beside two amounts of 7."""
    zone, day = "Australia/Lord_Howe", 86_400_000
    sums = [{"did": "Order Completed", **window, "sum": {"of": "revenue", **bounds}} for window in WINDOWS for bounds in BOUNDS]
    segments = _segments(*sums)
    world = World(SegmentationStage(compile_plan(segments, zone)))
    for number, (vast, at) in enumerate((("1000000000000", NOW - 30_000), ("-1e12", NOW - 35 * day), ("1e12", NOW - 2 * day))):
        for place in range(923):
            world.call(_paid(1000 * number + place, at - place % 7, vast), NOW, twice=False, moved=True)
    for place, at in enumerate((NOW - 3 * 3_600_000, NOW - 40 * day)):
        world.call(_paid(5000 + place, at, "7"), NOW, twice=False, moved=True)
    world.wake("a:1", NOW)
    world.fill(store)
    assert _by_sql(store, segments, NOW, zone) == world.members()
    assert sorted(world.members()["a:1"]) == sorted(["s3", "s4", "s8", "s12", "s16"]), "nothing of all, 7 of each window"


def test_a_list_a_large_number_and_an_object_equal_no_text(store: ClickHouse) -> None:
    conditions: Sequence[dict[str, Any]] = ({"in": ["[1]", "1e300", "{}", '{"a":1}']}, {"exists": True}, {"is_not": "[1]"})
    segments = _segments(*({"did": "Order Completed", "where": {"revenue": condition}} for condition in conditions))
    for value in ("[1]", "1e300", "{}", '{"a":1}'):
        world = World(SegmentationStage(compile_plan(segments, "UTC")))
        world.call(_paid(0, NOW, value), NOW, twice=False, moved=True)
        world.fill(store)
        assert world.members() == _by_sql(store, segments, NOW, "UTC") == {"a:1": ["s1", "s2"]}


def test_two_who_were_merged_into_one_who_was_merged_again_are_one(store: ClickHouse) -> None:
    (segment,) = _segments({"did": "Order Completed", "count": {"eq": 3}})
    world = World(SegmentationStage(compile_plan([segment], "UTC")))
    for number, person in enumerate(("a:1", "a:2", "a:3")):
        world.call(Call(person, f"m{number}", "track", "Order Completed", NOW, b"{}"), NOW, twice=False, moved=False)
    for loser, winner in (("a:1", "u:1"), ("a:2", "u:1"), ("u:1", "u:2"), ("a:3", "u:2"), ("u:2", "u:3")):
        world.merge(loser, winner, NOW)
    world.fill(store)
    query = members(segment, NOW, "UTC")
    assert [row["person"] for row in store.rows(query.sql, query.parameters)] == ["u:3"]
    assert list(world.members()) == ["u:3"]


UNTILS = (
    None, "2024-04-06T10:39:59Z", "2024-04-06T10:41:00Z", "2024-04-06T18:41:00.5+08:00", "2024-04-06T18:39:00+08:00",
    "2024-02-30T00:00:00Z",
    "2024-13-01T00:00:00Z", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00+08:00", "2199-12-31T23:59:59Z", "2024-04-06", "tomorrow", 7, True,
)  # fmt: skip


def test_tags_and_segments_of_segments_are_the_same_in_both(store: ClickHouse) -> None:
    segments = _segments(
        {"tag": "vip"},
        {"any": [{"tag": "kol"}, {"in_segment": "s0"}]},
        {"none": [{"in_segment": "s1"}]},
        {"all": [{"in_segment": "s2"}, {"in_segment": "s4"}]},
        {"did_not": "Order Completed"},
    )
    world = World(SegmentationStage(compile_plan(segments, "UTC")))
    number = 0
    for person, until in enumerate(UNTILS):
        for place, (event, tag) in enumerate((("Tag Added", "kol"), ("Tag Removed", "vip"), ("Tag Added", "vip"), ("Tag Removed", "kol"))):
            if (person + place) % 5:
                body = {"tag": tag, "reason": "r"} | ({} if until is None else {"until": until})
                at = NOW - 1000 + (person * 7 + place * 5) % 11
                world.call(Call(f"a:{person}", f"m{number}", "track", event, at, msgspec.json.encode(body)), NOW, twice=False, moved=True)
                number += 1
    for name in (b'""', b"7", b'"vip "'):
        odd = b'{"tag":' + name + b"}"
        world.call(Call("a:odd", f"m{number}{name!r}", "track", "Tag Added", NOW, odd), NOW, twice=False, moved=True)
    for key in list(world.states):
        world.wake(key, NOW)
    world.fill(store)
    assert _by_sql(store, segments, NOW, "UTC") == world.members()
    assert {name for names in world.members().values() for name in names} == {"s0", "s1", "s2", "s3", "s4"}
    query = members(segments[3], NOW, "UTC", {one.name: one for one in segments})
    assert {row["person"] for row in store.rows(query.sql, query.parameters)} == {
        key for key, names in world.members().items() if "s3" in names
    }
