"""`in_segment` and `tag` against the oracle, and what is particular to them; and what a leaf registers."""

import random
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.segmentation.rehearsal import rehearse
from shared.contracts.membership_blob import Membership, canonical_membership
from shared.contracts.tag_blob import MAX_TAGS, TAG_ADDED, TAG_REMOVED, TAGS, decode_tags, until_ms
from shared.definitions.folder import read_texts
from shared.definitions.order import Circle
from shared.definitions.segment import Segment
from shared.rules.compiler import compile_plan
from shared.rules.leaves import LEAVES
from shared.rules.leaves.tag import Tags
from shared.rules.oracle import Happening, Past
from shared.rules.rule import HEADS, holds
from tests.unit.test_segmentation_features import BASE, DAY, HOUR, MINUTE, RULES, ZONES, Person, histories, segments

SOON = "2024-10-27T06:00:00+00:00"
TAGGED = st.builds(
    lambda event, tag, until: (event, {"tag": tag, "reason": "r"} | ({"until": until} if until else {})),
    st.sampled_from([TAG_ADDED, TAG_ADDED, TAG_REMOVED]),
    st.sampled_from(["vip", "kol", "", 7]),
    st.sampled_from([None, None, SOON, "2024-12-01T00:00:00Z", "tomorrow"]),
)


@st.composite
def dependent(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rules of s0, s1, …, any of which may speak of those of smaller number, and of tags."""
    found: list[dict[str, Any]] = [draw(RULES)]
    for number in range(1, draw(st.integers(2, 4))):
        leaves = [{"in_segment": f"s{draw(st.integers(0, number - 1))}"} for _ in range(draw(st.integers(1, 2)))]
        leaves.append(draw(st.one_of(RULES, st.sampled_from([{"tag": "vip"}, {"tag": "kol"}]))))
        found.append({draw(st.sampled_from(["all", "any", "none"])): leaves})
    return found


@st.composite
def pasts(draw: st.DrawFn) -> list[Happening]:
    found = draw(histories())
    for number, (event, values) in enumerate(draw(st.lists(TAGGED, max_size=5))):
        found.append(Happening(BASE + draw(st.integers(0, 3 * HOUR)) // MINUTE * MINUTE, f"t{number}", event, values))
    return found


def expected(defined: list[Segment], history: list[Happening], now: int, zone: str) -> list[bool]:
    answers: dict[str, bool] = {}
    for one in defined:  # each after those that it speaks of
        answers[one.name] = bool(history) and holds(one.when, Past(history, now, zone, answers))
    return list(answers.values())


@settings(max_examples=300, deadline=None)
@given(dependent(), pasts(), st.sampled_from(ZONES), st.randoms(use_true_random=False))
def test_segments_of_segments_and_tags_answer_what_raw_events_would_whatever_the_order(
    rules: list[dict[str, Any]], history: list[Happening], zone: str, rnd: random.Random
) -> None:
    defined = segments(*rules)
    end = max((one.at for one in history), default=BASE) + rnd.choice([0, 1, MINUTE, HOUR, 2 * DAY, 35 * DAY])
    blobs = set()
    for _ in range(3):
        person = Person.new(defined, zone)
        clock = sorted(rnd.choice([0, BASE, rnd.randint(BASE, end)]) for _ in history)
        for one, now in zip(rnd.sample(history, len(history)), clock, strict=True):
            person.at(now).take(one)
        person.at(end)
        members = {one.name: one.name in person.state.members for one in defined}
        assert list(members.values()) == expected(defined, history, end, zone)
        blobs.add(canonical_membership(person.stage.dump(person.state)))
    assert len(blobs) == 1


@settings(max_examples=150, deadline=None)
@given(dependent(), pasts(), st.sampled_from(ZONES), st.integers(0, 12))
def test_whoever_was_two_people_is_decided_as_the_one_who_did_both(
    rules: list[dict[str, Any]], history: list[Happening], zone: str, cut: int
) -> None:
    assume(history)
    defined = segments(*rules)
    winner, loser = Person.new(defined, zone), Person.new(defined, zone, "u:2")
    end = BASE + 40 * DAY
    for person, part in ((winner, history[:cut]), (loser, history[cut:])):
        person.step.now = BASE
        for one in part:
            person.take(one)
        person.at(end)
    state = winner.stage.settled(winner.stage.merge(winner.state, loser.state, winner.step), winner.step)
    assert [one.name in state.members for one in defined] == expected(defined, history, end, zone)


@settings(max_examples=100, deadline=None)
@given(dependent(), pasts())
def test_between_two_timers_nothing_changes(rules: list[dict[str, Any]], history: list[Happening]) -> None:
    defined = segments(*rules)
    person = Person.new(defined, "UTC")
    for one in history:
        person.at(max(person.step.now, one.at)).take(one)
    now = person.step.now
    for _ in range(40):
        due = person.state.due
        if not due:
            break
        for probe in {now, due - 1}:
            assert [one.name in person.state.members for one in defined] == expected(defined, history, probe, "UTC")
        now = due
        person.at(now)


def test_a_tag_ends_at_its_until_and_says_by_whom_and_why() -> None:
    person = Person.new(segments({"tag": "vip"}), "UTC").at(BASE)
    person.take(Happening(BASE, "m1", TAG_ADDED, {"tag": "vip", "reason": "complained", "by": "ann", "until": SOON}))
    assert person.members() == [True]
    fact = decode_tags(person.state.kept[TAGS])["vip"]
    assert (fact.reason, fact.by, fact.source_id, fact.at, fact.until) == ("complained", "ann", "web", BASE, until_ms(SOON))
    assert person.state.due == until_ms(SOON)
    assert person.at(until_ms(SOON)).members() == [False]


@pytest.mark.parametrize("odd", [{"a": 1}, ["z"], 7, True, 10**40])
def test_what_is_no_text_gives_no_reason_and_nobody_who_said_it(odd: Any) -> None:
    person = Person.new(segments({"tag": "vip"}), "UTC").at(BASE)
    person.take(Happening(BASE, "m1", TAG_ADDED, {"tag": "vip", "reason": odd, "by": odd}))
    fact = decode_tags(person.state.kept[TAGS])["vip"]
    assert (fact.reason, fact.by) == ("", "")


def test_tags_are_kept_for_who_asks_though_no_rule_does() -> None:
    person = Person.new(segments({"did": "A"}), "UTC").at(BASE)
    person.take(Happening(BASE, "m1", TAG_ADDED, {"tag": "kol"}))
    assert set(decode_tags(person.state.kept[TAGS])) == {"kol"}


def test_of_too_many_tags_those_stay_that_were_spoken_of_last_in_any_order() -> None:
    words = [Happening(BASE + n, f"m{n}", TAG_ADDED, {"tag": f"t{n}"}) for n in range(MAX_TAGS + 50)]
    kept = set()
    for order in (words, words[::-1]):
        person = Person.new(segments({"tag": "t7"}), "UTC").at(BASE + HOUR)
        for one in order:
            person.take(one)
        kept.add(person.state.kept[TAGS])
        assert person.members() == [False]
    assert len(kept) == 1
    assert set(decode_tags(kept.pop())) == {f"t{n}" for n in range(50, MAX_TAGS + 50)}


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-06-01", "2026-06-01T09:00:00", "2026-13-01T09:00:00Z", "1780000000000"])
def test_an_until_that_is_no_time_with_its_offset_is_none(text: str) -> None:
    assert until_ms(text) == 0


def test_a_circle_of_segments_is_refused() -> None:
    with pytest.raises(Circle, match="s0 -> s1 -> s0"):
        compile_plan(segments({"in_segment": "s1"}, {"none": [{"in_segment": "s0"}]}), "UTC")


def written(name: str, when: str) -> str:
    return f"segment: {name}\ntitle: {{zh: a, en: b}}\nwhen: {when}\n"


def test_segments_that_are_not_there_or_stand_in_a_circle_are_mistakes_with_file_and_line() -> None:
    circle = {f"{one}.yaml": written(one, f"{{none: [{{in_segment: {two}}}]}}") for one, two in (("x", "y"), ("y", "z"), ("z", "x"))}
    lost = {"a.yaml": written("a", "{all: [{did: A}, {in_segment: bought}]}")}
    problems = [str(problem) for problem in read_texts(circle | lost).problems]
    assert problems == [
        "a.yaml:3: when.all[1].in_segment: there is no segment 'bought'; there are a, x, y, z",
        "x.yaml:3: when.none[0].in_segment: these segments speak of one another in a circle: x -> y -> z -> x",
    ]


def test_a_long_chain_of_segments_is_decided_each_after_the_one_that_it_speaks_of() -> None:
    chain = segments(*({"none": [{"in_segment": f"s{n + 1}"}]} for n in range(300)), {"did": "A"})
    person = Person.new(chain, "UTC").at(BASE)
    person.take(Happening(BASE, "m", "A", {}))
    assert person.members() == [one.name in person.state.members for one in person.stage.compile(None).segments]
    assert [f"s{n}" in person.state.members for n in (300, 299, 298, 0)] == [True, False, True, True]


def test_the_tests_of_a_segment_are_run_with_those_that_it_speaks_of() -> None:
    base, other = segments({"did": "A"}, {"in_segment": "s0"})
    tested = other.model_validate(
        other.model_dump(by_alias=True, exclude={"when", "tests"}, exclude_none=True)
        | {"when": {"in_segment": "s0"}}
        | {"tests": [{"name": "did", "now": SOON, "given": [{"at": "2024-10-27T03:00:00Z", "track": "A"}], "expect": "in"}]}
    )
    (outcome,) = rehearse(tested, "UTC", {"s0": base})
    assert outcome.passed
    assert [change.segment for change in outcome.changes] == ["s1"]


def test_every_leaf_is_registered_by_the_name_of_its_head() -> None:
    assert [leaf.head for leaf in LEAVES] == list(HEADS[: len(LEAVES)])
    assert all(leaf.head in leaf.model_fields for leaf in LEAVES)
    assert Tags() in {feature for leaf in LEAVES for feature in leaf.always}
    assert Membership().blank
