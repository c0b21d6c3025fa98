"""Segments as sets in the log have them: changed ones are decided anew of everybody, others say nothing, filling ones have nobody."""

from collections.abc import Mapping
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.segmentation.stage import SegmentationStage
from shared.contracts.changes import SEGMENT_CHANGED_DECODER, ChangeReason, SegmentChanged, Transition
from shared.contracts.definitions import ENCODER, DefinitionActivated, DefinitionSet, SegmentState
from shared.contracts.headers import CAUSE, header
from shared.contracts.slots import partition_count
from shared.contracts.topics import DEFINITION_ACTIVATED, EVENT_RESOLVED, SEGMENT_CHANGED
from shared.definitions.applied import Applied, removed
from shared.definitions.folder import read_texts
from shared.definitions.segment import Segment
from shared.definitions.sets import Order, next_set
from shared.rules.compiler import compile_plan
from shared.runtime import waking
from shared.testing.scene import Scene

T0 = 1_700_000_000_000
HOUR = 3_600_000
NO_RULE = "segment: {name}\ntitle: {{zh: x, en: x}}\nwhen: {rule}\n"
BOUGHT = "{did: Bought, within: 7d}"
BOUGHT_TWICE = "{did: Bought, within: 7d, count: {gte: 2}}"
NOT_BOUGHT = "{did_not: Bought, within: 7d}"


class Installation(Scene):
    """Segmentation, and the sets that were applied."""

    def __init__(self) -> None:
        super().__init__(SegmentationStage(compile_plan([], "UTC")))
        self.all: list[DefinitionSet] = []
        self.texts: dict[int, Mapping[str, str]] = {}
        self.sets = self  # type: ignore[assignment]
        self.read_to_end = True

    def at(self, activated_at: int) -> Applied | None:
        found = next((one for one in self.all if one.activated_at >= activated_at), None)
        if found is None:
            return None
        return Applied(found, read_texts(self.texts[found.number]), removed(one for one in self.all if one.number <= found.number))

    def before(self, until: int) -> int:
        return max((one.activated_at for one in self.all if one.activated_at < until), default=0)

    def apply(self, rules: Mapping[str, str], filling: bool = False, from_now: str = "") -> None:
        """The next set: segment -> rule. `filling`: each version of a rule asks something that no other asks."""
        texts = {f"{name}.yaml": NO_RULE.format(name=name, rule=rule) for name, rule in rules.items()}
        read = read_texts(texts)
        assert not read.problems
        asked = {one.definition.name: frozenset({str(one.definition.version) if filling else "all"}) for one in read.of(Segment)}
        one = next_set(
            self.all[-1] if self.all else None,
            read,
            texts,
            asked,
            Order("k", "ops", "why", from_now=frozenset({from_now} - {""})),
            T0 + len(self.all),
        )
        self.all.append(one)
        self.texts[one.number] = texts
        record = ENCODER.encode(DefinitionActivated(number=one.number, activated_at=one.activated_at))
        for partition in range(partition_count()):
            self.log.append(DEFINITION_ACTIVATED, "set", record, (), partition)
        self.settle()

    def event(self, who: str, name: str) -> None:
        self.log.now += 1
        value = {
            "type": "track", "message_id": f"m{self.log.now}", "source_id": "s", "timestamp": self.log.now, "received_at": self.log.now,
            "event": name, "properties": {}, "traits": {},
        }  # fmt: skip
        self.log.append(EVENT_RESOLVED, who, msgspec.json.encode(value))

    def pass_time(self, ms: int) -> None:
        self.log.now += ms
        self.tick(self.log.now)
        self.settle()

    def told(self) -> list[SegmentChanged]:
        return [SEGMENT_CHANGED_DECODER.decode(record.value or b"") for record in self.log.records(SEGMENT_CHANGED)]

    def members(self, segment: str) -> set[str]:
        inside: set[str] = set()
        for one in self.told():
            if one.segment == segment:
                (inside.add if one.transition is Transition.ENTERED else inside.discard)(one.profile_id)
        return inside


def test_a_thousand_people_of_whom_no_rule_ever_asked_are_members_of_a_did_not_segment_once_it_is_applied() -> None:
    world = Installation()
    people = {f"u:{n}" for n in range(1000)}
    for who in sorted(people):
        world.event(who, "Viewed")
    world.pass_time(1000)
    world.apply({"quiet": NOT_BOUGHT})
    world.pass_time(1000)
    assert world.members("quiet") == people
    assert {(one.transition, one.reason) for one in world.told()} == {(Transition.ENTERED, ChangeReason.DEFINITION)}


def test_of_idle_people_a_changed_segment_is_decided_anew_and_an_unchanged_one_says_nothing() -> None:
    world = Installation()
    world.apply({"buyers": BOUGHT, "quiet": NOT_BOUGHT})
    world.event("u:1", "Bought")
    world.event("u:2", "Viewed")
    world.pass_time(1000)
    assert (world.members("buyers"), world.members("quiet")) == ({"u:1"}, {"u:2"})
    before = world.told()
    world.apply({"buyers": BOUGHT_TWICE, "quiet": NOT_BOUGHT})
    world.pass_time(1000)
    assert [(one.profile_id, one.segment, one.transition, one.reason) for one in world.told() if one not in before] == [
        ("u:1", "buyers", Transition.LEFT, ChangeReason.DEFINITION)
    ]


def test_a_segment_that_is_no_longer_there_is_left_by_all_and_comes_back_with_what_has_come_since_if_that_is_accepted() -> None:
    world = Installation()
    world.apply({"buyers": BOUGHT})
    world.event("u:1", "Bought")
    world.pass_time(1000)
    world.apply({})
    world.pass_time(1000)
    assert world.members("buyers") == set()
    world.apply({"again": BOUGHT})
    world.event("u:1", "Bought")
    world.pass_time(1000)
    assert world.members("again") == set()  # what came while nobody asked is not known
    world.apply({"again": BOUGHT}, from_now="again")
    world.pass_time(1000)
    assert world.members("again") == {"u:1"}


def test_nobody_enters_a_segment_that_is_being_filled_and_it_counts_from_now_on() -> None:
    world = Installation()
    world.apply({"buyers": BOUGHT}, filling=True)
    for who in ("u:1", "u:2"):
        world.event(who, "Viewed")
    world.pass_time(1000)
    world.apply({"buyers": BOUGHT, "viewers": "{did: Viewed, within: 7d}", "quiet": "{did_not: Viewed, within: 30d}"}, filling=True)
    assert world.all[-1].filling == {"viewers", "quiet"}
    world.event("u:1", "Viewed")
    world.event("u:1", "Bought")
    world.pass_time(1000)
    assert [(one.profile_id, one.segment) for one in world.told()] == [("u:1", "buyers")]


def test_who_has_an_event_before_the_sweep_comes_is_decided_at_it_and_not_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "SWEEP_PAGE", 1)
    world = Installation()
    people = [f"u:{n}" for n in range(40)]
    for who in people:
        world.event(who, "Viewed")
    world.pass_time(1000)
    world.apply({"quiet": NOT_BOUGHT})
    world.event(people[-1], "Viewed")
    world.settle()
    assert world.members("quiet") == {people[-1]}
    for _ in range(40):
        world.pass_time(1000)
    assert sorted(one.profile_id for one in world.told()) == sorted(people)


ALL_RULES = (BOUGHT, BOUGHT_TWICE, NOT_BOUGHT, "{did: Viewed, within: 30m}", "{any: [{trait: plan, is: gold}, {did: Bought}]}")
RULES = st.sampled_from(ALL_RULES)
KEEPING = {f"keeps{n}": rule for n, rule in enumerate(ALL_RULES)}
"""Whoever changes between them has had history of all that they ask."""
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("event"), st.tuples(st.sampled_from([f"u:{n}" for n in range(12)]), st.sampled_from(("Bought", "Viewed")))),
        st.tuples(st.just("apply"), st.dictionaries(st.sampled_from(("one", "two", "three")), RULES, max_size=3)),
        st.tuples(st.just("time"), st.sampled_from((1000, HOUR, 24 * HOUR))),
        st.tuples(st.just("trouble"), st.integers(0, 3)),
    ),
    max_size=30,
)


@given(moves=MOVES, seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_members_are_those_of_the_newest_set_and_a_rebuild_from_zero_says_nothing_again(moves: list[tuple[str, object]], seed: int) -> None:
    random = Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waking, "SWEEP_PAGE", 2)
        world = Installation()
        rules: Mapping[str, str] = KEEPING
        world.apply(rules)
        for what, how in moves:
            if what == "event" and isinstance(how, tuple):
                world.event(*how)
            elif what == "apply" and isinstance(how, dict):
                rules = KEEPING | how
                world.apply(rules)
            elif what == "time" and isinstance(how, int):
                world.pass_time(how)
            elif pending := world.pending():
                world.crash(random.choice(pending), 3, int(str(how)))
                world.restart()
                if random.random() < 0.3:
                    world.redis.flush()
        for _ in range(10):
            world.pass_time(1000)
        fresh = Installation()
        fresh.apply(rules)
        for record in sorted(world.log.records(EVENT_RESOLVED), key=lambda one: one.timestamp):
            if record.key and not record.key.startswith(b"clock"):
                fresh.log.append(EVENT_RESOLVED, record.key.decode(), record.value)
        fresh.log.now = world.log.now
        fresh.tick(world.log.now)
        fresh.settle()
        for name in rules:
            assert world.members(name) == fresh.members(name), name
        for name in {one.segment for one in world.told()} - set(rules):
            assert world.members(name) == set(), name
        before = world.log.records(SEGMENT_CHANGED)
        assert len({header(record.headers, CAUSE) for record in before}) == len(before)
        world.restart()
        world.redis.flush()
        for partition in range(partition_count()):
            world.take_over(partition)
        world.settle()
        assert world.log.records(SEGMENT_CHANGED) == before
        assert all(one.state is not SegmentState.FILLING for one in (world.all[-1].definitions if world.all else ()))
