"""Features against the oracle that looks at raw events: whatever the rule, the history, the order and the pace of time."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.segmentation.rehearsal import advance
from services.segmentation.stage import SeenEvent, SegmentationStage
from shared.contracts.changes import SEGMENT_CHANGED_DECODER, SegmentChanged, Transition
from shared.contracts.membership_blob import Membership, canonical_membership, decode_membership, encode_membership
from shared.contracts.topics import EVENT_RESOLVED
from shared.definitions.segment import Segment
from shared.rules.compiler import compile_plan
from shared.rules.oracle import Happening, Json, Past
from shared.rules.pairs import MAX_TOTAL
from shared.rules.rule import holds
from shared.rules.sums import add_sum, unite_sums
from shared.runtime.stage import Step

BASE = 1_730_000_000_000
"""27 October 2024, 03:33 UTC: a week before New York's clocks go back."""
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
ZONES = ("UTC", "Asia/Shanghai", "America/New_York")

EVENTS = st.sampled_from(["Order Completed", "Product Viewed"])
NUMBERS = st.sampled_from([Decimal("-2.5"), Decimal("0"), Decimal("0.01"), Decimal("10.5"), Decimal("99.99"), Decimal("7")])
VALUES = st.one_of(NUMBERS, NUMBERS.map(str), st.sampled_from(["a", "b", "", True, False, None]))
FIELDS = st.sampled_from(["p", "q"])


def _window() -> st.SearchStrategy[dict[str, Any]]:
    within = st.sampled_from(["1m", "3m", "45m", "24h", "25h", "5d", "30d", "31d", "60d"]).map(lambda text: {"within": text})
    pairs = [("30m", "10m"), ("24h", "1h"), ("48h", "24h"), ("10d", "1d"), ("60d", "30d"), ("40d", "39d")]
    return st.one_of(within, st.sampled_from(pairs).map(lambda pair: {"between": list(pair)}))


def _bounds(number: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    one = st.tuples(st.sampled_from(["gte", "gt", "lte", "lt", "eq"]), number).map(lambda pair: {pair[0]: pair[1]})
    two = st.tuples(number, number).filter(lambda pair: pair[0] < pair[1])
    return st.one_of(one, two.map(lambda pair: {"gte": pair[0], "lt": pair[1]}))


def _condition() -> st.SearchStrategy[dict[str, Any]]:
    literal = st.sampled_from(["a", "b", True, Decimal("7"), Decimal("10.50")])
    return st.one_of(
        st.sampled_from(["is", "is_not"]).flatmap(lambda op: literal.map(lambda value: {op: value})),
        st.lists(literal, min_size=1, max_size=3).map(lambda values: {"in": values}),
        st.booleans().map(lambda value: {"exists": value}),
        st.tuples(st.sampled_from(["gt", "gte", "lt", "lte"]), NUMBERS).map(lambda pair: {pair[0]: pair[1]}),
    )


def _aggregate() -> st.SearchStrategy[dict[str, Any]]:
    count = _bounds(st.integers(0, 4)).filter(lambda bounds: bounds != {"lt": 0}).map(lambda bounds: {"count": bounds})
    measured = st.builds(
        lambda name, of, bounds: {name: {"of": of, **bounds}}, st.sampled_from(["sum", "min", "max"]), FIELDS, _bounds(NUMBERS)
    )
    return st.one_of(st.just({}), count, measured)


def _leaf() -> st.SearchStrategy[dict[str, Any]]:
    where = st.one_of(st.just({}), st.dictionaries(FIELDS, _condition(), min_size=1, max_size=2).map(lambda found: {"where": found}))
    did = st.builds(
        lambda head, event, window, aggregate, only: {head: event, **window, **aggregate, **only},
        st.sampled_from(["did", "did_not"]),
        EVENTS,
        st.one_of(st.just({}), _window()),
        _aggregate(),
        where,
    ).filter(lambda leaf: not ("did_not" in leaf and leaf.get("count") == {"gte": 0}))
    age = st.builds(
        lambda head, event, window, only: {head: event, **window, **only}, st.sampled_from(["first", "last"]), EVENTS, _window(), where
    )
    trait = st.builds(lambda name, condition: {"trait": name, **condition}, FIELDS, _condition())
    return st.one_of(did, age, trait)


def _tree(part: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda head, parts: {head: parts}, st.sampled_from(["all", "any", "none"]), st.lists(part, min_size=1, max_size=3))


RULES = st.recursive(_leaf(), _tree, max_leaves=4)


def segments(*rules: dict[str, Any]) -> list[Segment]:
    """Each rule as a segment s0, s1, …"""
    titles = {"zh": "测试", "en": "test"}
    return [Segment.model_validate({"segment": f"s{n}", "title": titles, "when": rule}) for n, rule in enumerate(rules)]


@st.composite
def histories(draw: st.DrawFn) -> list[Happening]:
    """Up to a dozen events over some minutes, hours or months, often close to one another and to borders."""
    reach = draw(st.sampled_from([10 * MINUTE, 3 * HOUR, 3 * DAY, 12 * DAY, 70 * DAY]))
    step = draw(st.sampled_from([1, 1000, MINUTE, HOUR, DAY]))
    found = []
    for number in range(draw(st.integers(0, 12))):
        at = BASE + draw(st.integers(0, reach)) // step * step
        event = draw(st.one_of(st.none(), EVENTS, EVENTS, EVENTS))
        found.append(Happening(at, f"m{number}", event, draw(st.dictionaries(FIELDS, VALUES, max_size=2))))
    return found


@dataclass
class Person:
    """One person under the production stage, on a virtual clock."""

    stage: SegmentationStage
    state: Membership
    step: Step

    @classmethod
    def new(cls, defined: Sequence[Segment], zone: str, key: str = "u:1") -> "Person":
        stage = SegmentationStage(compile_plan(defined, zone))
        step = Step(stage.name, EVENT_RESOLVED, 0)
        step.plan = stage.compile(None)
        step.key = key
        return cls(stage, stage.empty(key), step)

    def at(self, now: int) -> "Person":
        """Let time pass, waking at each timer; the state goes through its bytes."""
        self.state = self.stage.load(self.stage.dump(advance(self.stage, self.state, self.step, now)))
        return self

    def jump(self, now: int) -> None:
        """Let time pass at once: one wake, late."""
        self.step.now = now
        if self.state.due and self.state.due <= now:
            self.state = self.stage.wake(self.state, self.step)

    def take(self, one: Happening) -> None:
        body = msgspec.Raw(msgspec.json.Encoder(decimal_format="number").encode(one.values))
        kind = "identify" if one.event is None else "track"
        item = SeenEvent(kind, one.message_id, "web", one.at, one.at, one.event, body if one.event else msgspec.Raw(b"{}"), body)
        self.state = self.stage.fold(self.state, item, self.step)

    def members(self) -> list[bool]:
        return [segment.name in self.state.members for segment in self.stage.compile(None).segments]

    def changes(self) -> list[SegmentChanged]:
        values = [output.value for output in self.step.outputs]
        return [SEGMENT_CHANGED_DECODER.decode(value) for value in values if value is not None]


def _expected(defined: Sequence[Segment], history: Sequence[Happening], now: int, zone: str) -> list[bool]:
    if not history:
        return [False] * len(defined)  # of nobody nothing is known, not even that they are
    return [holds(segment.when, Past(history, now, zone)) for segment in defined]


@settings(max_examples=400, deadline=None)
@given(st.lists(RULES, min_size=1, max_size=3), histories(), st.sampled_from(ZONES), st.randoms(use_true_random=False))
def test_buckets_answer_what_raw_events_would_whatever_the_order(
    rules: list[dict[str, Any]], history: list[Happening], zone: str, rnd: random.Random
) -> None:
    defined = segments(*rules)
    end = max((one.at for one in history), default=BASE) + rnd.choice([0, 1, MINUTE, HOUR, 2 * DAY, 35 * DAY])
    blobs = []
    for _ in range(3):
        person = Person.new(defined, zone)
        arriving = rnd.sample(history, len(history))
        clock = sorted(rnd.choice([0, BASE, rnd.randint(BASE, end)]) for _ in arriving)
        for one, now in zip(arriving, clock, strict=True):
            person.at(now).take(one)
        person.at(end)
        assert person.members() == _expected(defined, history, end, zone)
        blobs.append(canonical_membership(person.stage.dump(person.state)))
    assert len(set(blobs)) == 1


@settings(max_examples=300, deadline=None)
@given(st.lists(RULES, min_size=1, max_size=2), histories(), st.sampled_from(ZONES), st.randoms(use_true_random=False))
def test_between_two_timers_nothing_changes_and_each_timer_is_for_something(
    rules: list[dict[str, Any]], history: list[Happening], zone: str, rnd: random.Random
) -> None:
    defined = segments(*rules)
    person = Person.new(defined, zone)
    for one in history:
        person.at(max(person.step.now, one.at)).take(one)
    now, wakes = person.step.now, 0
    while (due := person.state.due) and wakes < 40:
        assert due > now
        for probe in {now, due - 1, rnd.randint(now, due - 1)}:
            assert person.members() == _expected(defined, history, probe, zone)
        now, wakes = due, wakes + 1
        person.at(now)
        assert person.members() == _expected(defined, history, now, zone)
    if not person.state.due:
        assert person.members() == _expected(defined, history, now + 400 * DAY, zone)


@settings(max_examples=200, deadline=None)
@given(st.lists(RULES, min_size=1, max_size=2), histories(), st.sampled_from(ZONES))
def test_a_late_clock_finds_the_changes_that_a_punctual_one_would_have(
    rules: list[dict[str, Any]], history: list[Happening], zone: str
) -> None:
    defined = segments(*rules)
    punctual, late = Person.new(defined, zone), Person.new(defined, zone)
    for person in (punctual, late):
        person.step.now = BASE
        for one in history:
            person.take(one)
    end = BASE + 200 * DAY
    punctual.at(end)
    late.jump(end)
    told = [(change.segment, change.transition, change.at) for change in punctual.changes()]
    assert [(change.segment, change.transition, change.at) for change in late.changes()] == told
    assert punctual.state == late.state


@pytest.mark.parametrize(("truth", "number"), [(False, Decimal(0)), (True, Decimal("0.0001"))])
def test_a_truth_value_and_the_number_that_stands_for_it_in_memory_are_two_values(truth: bool, number: Decimal) -> None:
    person = Person.new(segments({"trait": "p", "is": truth}, {"trait": "p", "is": number}), "UTC")
    values: list[Json] = [truth, number, truth]
    for minute, value in enumerate(values):
        at = BASE + minute * MINUTE
        person.at(at).take(Happening(at, f"m{minute}", None, {"p": value}))
        assert person.members() == ([False, True] if minute == 1 else [True, False])


@settings(max_examples=200, deadline=None)
@given(st.lists(RULES, min_size=1, max_size=2), histories(), histories(), st.sampled_from(ZONES))
def test_two_people_merged_are_the_person_who_did_both(
    rules: list[dict[str, Any]], mine: list[Happening], theirs: list[Happening], zone: str
) -> None:
    defined = segments(*rules)
    assume(mine or theirs)
    theirs = [Happening(one.at, f"other-{one.message_id}", one.event, one.values) for one in theirs]
    end = BASE + 71 * DAY
    winner, loser, both = (Person.new(defined, zone) for _ in range(3))
    for person, history in ((winner, mine), (loser, theirs), (both, mine + theirs)):
        person.step.now = BASE
        for one in history:
            person.take(one)
        person.at(end)
    merged = [winner.stage.merge(*pair, step=winner.step) for pair in _pairs(winner, loser)]
    assert [canonical_membership(winner.stage.dump(state)) for state in merged[:1]] == [
        canonical_membership(winner.stage.dump(state)) for state in merged[1:]
    ]
    state = winner.stage.settled(merged[0], winner.step)
    assert canonical_membership(winner.stage.dump(state)) == canonical_membership(both.stage.dump(both.state))
    assert state.due == both.state.due


def _pairs(one: Person, other: Person) -> list[tuple[Membership, Membership]]:
    """Both ways to merge two states, as copies."""
    copies = [person.stage.dump(person.state) for person in (one, other)]
    load = one.stage.load
    return [(load(copies[0]), load(copies[1])), (load(copies[1]), load(copies[0]))]


@settings(max_examples=200, deadline=None)
@given(st.lists(RULES, min_size=1, max_size=2), histories(), st.sampled_from(ZONES), st.randoms(use_true_random=False))
def test_entering_and_leaving_alternate_and_never_go_back_in_time(
    rules: list[dict[str, Any]], history: list[Happening], zone: str, rnd: random.Random
) -> None:
    person = Person.new(segments(*rules), zone)
    person.step.now = BASE
    for one in history:
        person.at(max(person.step.now, one.at + rnd.choice([-5 * DAY, 0, 5 * DAY]))).take(one)
    person.at(person.step.now + 10 * DAY)
    by_segment: dict[str, list[SegmentChanged]] = {}
    for change in person.changes():
        by_segment.setdefault(change.segment, []).append(change)
    for changes in by_segment.values():
        assert [change.transition for change in changes] == [Transition.ENTERED, Transition.LEFT] * (len(changes) // 2) + [
            Transition.ENTERED
        ] * (len(changes) % 2)
        assert [change.at for change in changes] == sorted(change.at for change in changes)
    assert person.members() == [len(by_segment.get(f"s{n}", [])) % 2 == 1 for n in range(len(rules))]


VAST = st.integers(-(10**16), 10**16).map(lambda n: n // 10**14 * 10**14 or 1)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), VAST, st.integers(1, 1500)), max_size=12),
    st.randoms(use_true_random=False),
)
def test_sums_around_the_end_of_64_bits_are_exact_in_any_order_and_any_merge(added: list[tuple[int, int, int]], rnd: random.Random) -> None:
    """A bucket out of range is absent and comes back; what is kept is the exact sum, however it came about."""
    totals = Counter[int]()
    for bucket, value, times in added:
        totals[bucket] += value * times
    repeated = [(bucket, value) for bucket, value, times in added for _ in range(times)]
    met = {bucket for bucket, *_ in added}
    for _ in range(2):
        rnd.shuffle(repeated)
        split = rnd.randint(0, len(repeated))
        one, two = Membership(), Membership()
        for state, part in ((one, repeated[:split]), (two, repeated[split:])):
            for bucket, value in part:
                add_sum(state, "s", bucket, value)
        one, two = (decode_membership(encode_membership(state)) for state in (one, two))
        unite_sums(one, two, "s")
        pairs = one.series.get("s", [])
        fitting = {bucket: totals[bucket] for bucket in met if -MAX_TOTAL <= totals[bucket] <= MAX_TOTAL}
        assert dict(zip(pairs[::2], pairs[1::2], strict=True)) == fitting
        assert {int(bucket): int(text) for bucket, text in one.beyond.get("s", {}).items()} == {
            bucket: totals[bucket] for bucket in met - fitting.keys()
        }
        assert pairs[::2] == sorted(pairs[::2])
