"""The stage under the runtime's slot, on fakes: what goes out, what is kept, and when."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

import deploy
from services.segmentation.stage import SeenEvent, SegmentationStage
from shared.contracts.changes import SEGMENT_CHANGED_DECODER, SegmentChanged, Transition
from shared.contracts.clock import ClockRecord, encode_clock
from shared.contracts.identity import MergeRecord
from shared.contracts.membership_blob import Membership, decode_membership, members_index
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import EVENT_RESOLVED, RECORD_FAILED, SEGMENT_CHANGED
from shared.definitions.folder import read_folder
from shared.definitions.segment import Segment
from shared.rules.compiler import compile_plan
from shared.runtime.envelope import peek
from shared.runtime.observer import Observer
from shared.runtime.slot import Slot
from shared.runtime.stage import Step
from shared.testing.fakes import FakeLog, FakeRedis

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NOON = 20_000 * DAY + 12 * HOUR
ORDER, VIEW = "Order Completed", "Product Viewed"

BOUGHT = {"did": ORDER, "within": "30d"}
QUIET = {"did_not": VIEW, "within": "30m"}
KNOWN = {"trait": "email", "exists": True}


def segment(name: str, when: dict[str, Any]) -> Segment:
    return Segment.model_validate({"segment": name, "title": {"zh": "测试", "en": "test"}, "when": when})


class World:
    """The stage with some segments over fake servers; time stands still unless `tick` moves it."""

    def __init__(self, *segments: Segment) -> None:
        self.log = FakeLog(now=NOON)
        self.redis = FakeRedis()
        self.restart(*segments)

    def restart(self, *segments: Segment, since: Mapping[str, int] | None = None) -> None:
        """A new process with these definitions; `since`: when the log applied each."""
        self.stage = SegmentationStage(compile_plan(segments, "UTC", since))
        self.slots: dict[int, Slot[Membership, SeenEvent]] = {}

    def event(self, key: str, event: str, at: int, message_id: str = "m", merged_from: str | None = None, **properties: object) -> None:
        body = {"type": "track", "message_id": message_id, "source_id": "web", "timestamp": at, "received_at": self.log.now, "event": event}
        headers = [] if merged_from is None else [("merged_from", merged_from.encode())]
        self.log.append(EVENT_RESOLVED, key, msgspec.json.encode({**body, "properties": properties}), headers)

    def identify(self, key: str, at: int, message_id: str = "m", **traits: object) -> None:
        body = {"type": "identify", "message_id": message_id, "source_id": "web", "timestamp": at, "received_at": self.log.now}
        self.log.append(EVENT_RESOLVED, key, msgspec.json.encode({**body, "traits": traits}))

    def merge(self, loser: str, winner: str) -> None:
        self.log.append(EVENT_RESOLVED, loser, msgspec.json.encode(MergeRecord(loser, winner, 0)), [("kind", b"merge")])

    def tick(self, now: int) -> None:
        """All resolver slots have come to `now`."""
        self.log.now = max(self.log.now, now)
        for partition in range(partition_count()):
            for source in range(partition_count()):
                value = encode_clock(ClockRecord(source, now, 0))
                self.log.append(EVENT_RESOLVED, f"clock:{source}", value, [("kind", b"clock")], partition)

    async def run(self) -> "World":
        """Deliver all that is there, also what follows from it."""
        for _ in range(3):
            for topic in self.stage.inputs:
                for partition in range(partition_count()):
                    records = self.log.partitions[topic, partition]
                    start = self.log.commits.get(("test", topic, partition), 0)
                    if start < len(records):
                        assert await self._slot(partition).process(topic, records[start:])
                        self.log.commits["test", topic, partition] = len(records)
        return self

    def _slot(self, partition: int) -> Slot[Membership, SeenEvent]:
        if partition not in self.slots:
            store = self.redis.store(self.stage.name, partition)
            self.slots[partition] = Slot(self.stage, partition, store, self.log, Observer(), group="test")
        return self.slots[partition]

    def changes(self) -> list[SegmentChanged]:
        records = sorted(self.log.records(SEGMENT_CHANGED), key=lambda record: record.timestamp)
        return [SEGMENT_CHANGED_DECODER.decode(record.value or b"") for record in records]

    def told(self) -> list[tuple[str, str, Transition, int]]:
        return [(one.profile_id, one.segment, one.transition, one.at) for one in self.changes()]

    def members(self, name: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for data in self.redis.slots.values():
            found |= data.indexes.get(members_index(name), {})
        return found

    def step(self, key: str, now: int) -> Step:
        """A step of the stage for `key` alone, outside the slots."""
        step = Step(self.stage.name, EVENT_RESOLVED, 0)
        step.plan = self.stage.compile(None)
        step.key, step.now = key, now
        return step

    def outputs(self, step: Step) -> list[SegmentChanged]:
        return [SEGMENT_CHANGED_DECODER.decode(output.value or b"") for output in step.outputs]

    def state(self, key: str) -> Membership:
        return decode_membership(peek(self.redis.states(self.stage.name)[key])[2])


ENTERED, LEFT = Transition.ENTERED, Transition.LEFT


async def test_a_person_enters_by_an_event_that_is_named() -> None:
    world = World(segment("buyers", BOUGHT))
    world.tick(NOON)
    world.event("u:1", ORDER, NOON + 300, message_id="order-1")
    await world.run()
    (change,) = world.changes()
    assert (change.profile_id, change.segment, change.transition) == ("u:1", "buyers", ENTERED)
    assert (change.at, change.decided_at, change.by_event) == (NOON, NOON, "order-1")  # received at noon: the future is clamped
    assert change.version == segment("other", BOUGHT).version
    assert world.members("buyers") == {"u:1": NOON}


async def test_a_person_leaves_when_the_window_has_passed_without_an_event() -> None:
    world = World(segment("buyers", BOUGHT))
    world.tick(NOON)
    world.event("u:1", ORDER, NOON - 90 * MINUTE)
    border = NOON - 2 * HOUR + 30 * DAY  # hours: the one in which it happened is the thirtieth day's last
    world.tick(border - 1)
    await world.run()
    assert world.members("buyers") == {"u:1": NOON - 90 * MINUTE}
    world.tick(border + 5)
    await world.run()
    assert world.told()[1:] == [("u:1", "buyers", LEFT, border)]
    assert world.changes()[1].by_event is None
    assert world.members("buyers") == {}


async def test_silence_is_noticed_without_an_event() -> None:
    world = World(segment("quiet", QUIET))
    world.tick(NOON)
    world.event("a:1", VIEW, NOON)
    world.tick(NOON + HOUR)
    await world.run()
    assert world.told() == [("a:1", "quiet", ENTERED, NOON + 30 * MINUTE)]


async def test_of_a_person_of_whom_no_rule_asks_it_is_kept_once_that_they_are_there() -> None:
    world = World(segment("buyers", BOUGHT), segment("known", KNOWN))
    world.tick(NOON)
    world.event("a:1", "Cart Viewed", NOON)
    world.identify("a:1", NOON, phone="+8613800138000")
    await world.run()
    assert list(world.redis.states("segmentation")) == ["a:1"]
    commits = world.redis.commits
    world.event("a:1", "Cart Viewed", NOON)
    await world.run()
    assert world.redis.commits == commits + 1  # the fence moves
    assert list(world.redis.states("segmentation")) == ["a:1"]
    assert world.changes() == []


async def test_the_first_sight_of_a_person_decides_what_holds_of_everybody() -> None:
    world = World(segment("quiet", QUIET), segment("known", KNOWN))
    world.tick(NOON)
    world.event("a:1", "Cart Viewed", NOON, message_id="first")
    await world.run()
    assert [(one.segment, one.by_event) for one in world.changes()] == [("quiet", "first")]


async def test_a_late_event_counts_where_it_belongs() -> None:
    world = World(segment("buyers", BOUGHT), segment("twice", {"did": ORDER, "within": "60d", "count": {"gte": 2}}))
    world.tick(NOON)
    world.event("u:1", ORDER, NOON - DAY)
    world.event("u:1", ORDER, NOON - 59 * DAY, message_id="late")
    world.event("u:2", ORDER, NOON - 31 * DAY)
    await world.run()
    assert ("u:1", "twice", ENTERED, NOON - 59 * DAY) in world.told()
    assert "u:2" not in world.members("buyers")
    world.tick(NOON + DAY)
    await world.run()
    assert world.told()[-1] == ("u:1", "twice", LEFT, 20_001 * DAY)


@pytest.mark.parametrize("aggregate", [{}, {"count": {"gte": 1}}, {"sum": {"of": "p", "gte": 5}}, {"min": {"of": "p", "gte": 5}}])
async def test_an_event_ahead_of_the_clock_is_seen_at_once(aggregate: dict[str, Any]) -> None:
    world = World(segment("now", {"did": ORDER, "within": "5m", **aggregate}))
    world.tick(NOON - 1)
    world.event("u:1", ORDER, NOON, p=5)
    await world.run()
    assert world.told() == [("u:1", "now", ENTERED, NOON)]


async def test_a_late_event_cannot_enter_before_the_last_leaving() -> None:
    world = World(segment("buyers", BOUGHT))
    world.tick(NOON)
    world.event("u:1", ORDER, NOON - 29 * DAY)
    border = NOON + DAY
    world.tick(border + HOUR)
    world.event("u:1", ORDER, NOON - DAY, message_id="late")
    await world.run()
    assert world.told() == [("u:1", "buyers", transition, at) for transition, at in (
        (ENTERED, NOON - 29 * DAY), (LEFT, border), (ENTERED, border)
    )]  # fmt: skip


def test_an_event_that_comes_before_its_timer_is_folded_after_it() -> None:
    stage = SegmentationStage(compile_plan([segment("buyers", BOUGHT)], "UTC"))
    step = Step(stage.name, EVENT_RESOLVED, 0)
    step.plan = stage.compile(None)
    step.key, step.now = "u:1", NOON
    state = stage.empty("u:1")
    for at in (NOON, NOON + 40 * DAY):
        step.now = at
        state = stage.fold(state, SeenEvent("track", "m", "web", at, at, ORDER), step)
    changes = [SEGMENT_CHANGED_DECODER.decode(output.value or b"") for output in step.outputs]
    assert [(one.transition, one.at) for one in changes] == [(ENTERED, NOON), (LEFT, NOON + 30 * DAY), (ENTERED, NOON + 40 * DAY)]


async def test_nothing_is_decided_before_all_clocks_have_been_read() -> None:
    world = World(segment("buyers", BOUGHT), segment("known", KNOWN))
    world.event("u:1", ORDER, NOON - 40 * DAY)
    world.identify("u:1", NOON, email="a@example.com")
    await world.run()
    assert world.changes() == []
    world.tick(NOON)
    await world.run()
    assert world.told() == [("u:1", "known", ENTERED, NOON)]


async def test_transitions_wait_for_the_blob_of_a_merged_person() -> None:
    winner, loser = "u:1", "a:2"
    assert slot(winner) != slot(loser)
    world = World(segment("twice", {"did": ORDER, "within": "60d", "count": {"eq": 2}}), segment("buyers", BOUGHT))
    world.tick(NOON)
    world.event(loser, ORDER, NOON - DAY)
    world.event(loser, ORDER, NOON - DAY)
    await world.run()
    assert set(world.members("twice")) == set(world.members("buyers")) == {loser}
    before = world.told()
    world.event(winner, ORDER, NOON, merged_from=loser)
    await world.run()
    assert world.told() == before
    world.merge(loser, winner)
    await world.run()
    assert [one for one in world.told() if one not in before] == [(winner, "twice", LEFT, NOON)]
    assert world.members("buyers") == {winner: NOON - DAY}
    assert world.members("twice") == {}


async def test_after_a_merge_the_winner_leaves_when_the_losers_window_has_passed() -> None:
    world = World(segment("buyers", BOUGHT))
    world.tick(NOON)
    world.event("a:2", ORDER, NOON - DAY)
    world.merge("a:2", "u:1")
    await world.run()
    world.tick(NOON + 29 * DAY)
    await world.run()
    assert world.told() == [("a:2", "buyers", ENTERED, NOON - DAY), ("u:1", "buyers", LEFT, NOON + 29 * DAY)]
    assert world.members("buyers") == {}


async def test_refolding_all_from_an_empty_store_decides_the_same_and_says_it_once() -> None:
    world = World(segment("buyers", BOUGHT), segment("quiet", QUIET), segment("known", KNOWN))
    world.tick(NOON)
    for number in range(12):
        world.event(f"u:{number % 4}", ORDER if number % 3 else VIEW, NOON - number * 3 * DAY, message_id=f"m{number}")
        world.identify(f"u:{number % 4}", NOON - number, message_id=f"i{number}", email="a@example.com" if number % 2 else None)
    world.tick(NOON + 20 * DAY)
    await world.run()
    states, told = world.redis.states("segmentation"), world.told()
    world.redis.flush()
    world.log.commits.clear()
    world.slots.clear()
    await world.run()
    assert world.redis.states("segmentation") == states
    assert world.told() == told
    assert told


async def test_a_changed_definition_decides_anew_on_the_next_event_or_timer() -> None:
    world = World(segment("buyers", BOUGHT), segment("old", {"did": ORDER}))
    world.tick(NOON)
    world.event("u:1", ORDER, NOON)
    world.event("u:2", ORDER, NOON)
    await world.run()
    before = world.told()
    world.restart(
        segment("buyers", BOUGHT), segment("ever", {"did": ORDER, "count": {"gte": 1}}), segment("today", {"last": ORDER, "within": "1d"})
    )
    world.event("u:1", "Cart Viewed", NOON)
    await world.run()
    told = [one for one in world.told() if one not in before]
    assert ("u:1", "old", LEFT, NOON) in told
    assert ("u:1", "today", ENTERED, NOON) in told  # the last order was kept before, for another rule
    assert ("u:1", "ever", ENTERED, NOON) not in told  # orders were not counted before
    assert next(one.version for one in world.changes() if one.segment == "old" and one.transition is LEFT) == 0
    assert set(world.members("old")) == {"u:2"}
    world.tick(NOON + 30 * DAY)
    await world.run()
    assert world.members("old") == world.members("buyers") == world.members("today") == {}


async def test_titles_tests_and_other_segments_change_no_version() -> None:
    one = segment("buyers", BOUGHT)
    other = Segment.model_validate(
        {"segment": "b", "title": {"zh": "乙", "en": "B"}, "when": {"within": "30d", "did": ORDER}, "description": "x"}
    )
    assert one.version == other.version
    assert one.version != segment("buyers", {"did": ORDER, "within": "31d"}).version


async def test_a_trait_is_the_last_one_said_whatever_the_order() -> None:
    world = World(segment("beijing", {"trait": "city", "is": "北京"}), segment("placed", {"trait": "city", "exists": True}))
    world.tick(NOON)
    world.identify("u:1", NOON, message_id="b", city="上海")
    world.identify("u:1", NOON - 5, message_id="z", city="北京")
    world.identify("u:1", NOON, message_id="a", city="北京")
    world.identify("u:2", NOON - 5, city="北京")
    world.identify("u:2", NOON, city=None)
    await world.run()
    assert world.members("beijing") == {}
    assert set(world.members("placed")) == {"u:1"}


async def test_money_is_summed_exactly_as_number_or_as_text() -> None:
    world = World(segment("exact", {"did": ORDER, "sum": {"of": "revenue", "eq": 0}}))
    world.tick(NOON)
    for number in range(1000):
        world.event("u:1", ORDER, NOON - number * MINUTE, message_id=str(number), revenue="0.10" if number % 2 else 0.1)
    world.event("u:1", ORDER, NOON, revenue=-100)
    world.event("u:1", ORDER, NOON, revenue="a lot")
    world.event("u:1", ORDER, NOON, revenue={"amount": 5})
    await world.run()
    assert world.state("u:1").members == {"exact": NOON}


@pytest.mark.parametrize("value", ["1e999999999", "NaN", "Infinity", "1_000", "１２", "9" * 70, "0x10", " 5"])
async def test_text_that_is_no_plain_number_counts_as_absent(value: str) -> None:
    world = World(segment("rich", {"did": ORDER, "max": {"of": "revenue", "gte": 0}}))
    world.tick(NOON)
    world.event("u:1", ORDER, NOON, revenue=value)
    await world.run()
    assert world.changes() == []
    assert world.log.records(RECORD_FAILED) == []


async def test_properties_that_are_no_object_are_no_properties() -> None:
    world = World(segment("buyers", {"did": ORDER, "where": {"coupon": {"exists": False}}}))
    world.tick(NOON)
    body = {
        "type": "track",
        "message_id": "m",
        "source_id": "web",
        "timestamp": NOON,
        "received_at": NOON,
        "event": ORDER,
        "properties": [1],
    }
    world.log.append(EVENT_RESOLVED, "u:1", msgspec.json.encode(body))
    await world.run()
    assert set(world.members("buyers")) == {"u:1"}


async def test_a_page_and_a_screen_are_events_too() -> None:
    world = World(segment("page", {"did": "Page Viewed"}), segment("screen", {"did": "Screen Viewed"}))
    world.tick(NOON)
    for kind in ("page", "screen", "group", "alias"):
        body = {"type": kind, "message_id": "m", "source_id": "web", "timestamp": NOON, "received_at": NOON, "event": "Page Viewed"}
        world.log.append(EVENT_RESOLVED, f"a:{kind}", msgspec.json.encode(body))
    await world.run()
    assert set(world.members("page")) == {"a:page"}
    assert set(world.members("screen")) == {"a:screen"}


async def test_a_regular_customer_takes_less_than_500_bytes() -> None:
    shipped = read_folder(Path(deploy.__file__).parent / "definitions" / "segments").needed(Segment).of(Segment)
    world = World(*(one.definition for one in shipped))
    world.tick(NOON)
    for number in range(20):
        world.event("u:1", ORDER, NOON - number * 8 * DAY, message_id=str(number), revenue=f"{number * 37}.55")
    await world.run()
    assert set(world.state("u:1").members) == {"important_keep"}
    assert len(world.redis.states("segmentation")["u:1"]) < 500
