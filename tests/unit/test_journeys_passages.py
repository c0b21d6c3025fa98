"""Passages through journeys as a set: ids, the guard, merges, steps on a virtual clock."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from services.messaging.domain import passages
from services.messaging.domain.passages import (
    MONTH_MS,
    MOST_A_MONTH,
    MOST_ENDED,
    MOST_PASSAGES,
    Advanced,
    Plan,
    bounded,
    dispatch_id,
    enter,
    entry_id,
    holding,
    next_due,
    taken_in,
    united,
)
from shared.contracts.journey_blob import Entry, Person, SendStep, Step, WaitStep, decode_person, encode_person

HOUR = 3600 * 1000
DAY = 24 * HOUR
SEND = SendStep("steps[0]", "email", "hello", "marketing", DAY)
WAIT = WaitStep("steps[1]", 3 * DAY)
AGAIN = SendStep("steps[2]", "email", "again", "marketing", DAY)
PLAN = Plan("keep", 1, "important", 90 * DAY, (SEND, WAIT, AGAIN))
FREE = PLAN._replace(journey="free", guard=0)
KNOWN = {(plan.journey, plan.version): plan.steps for plan in (PLAN, FREE)}

instants = st.integers(0, 400).map(lambda days: days * DAY)
entered = st.builds(lambda plan, who, at: enter(plan, who, at, at + 1), st.sampled_from([PLAN, FREE]), st.sampled_from("abc"), instants)
sets = st.lists(entered, max_size=12).map(lambda found: united(found, ()))


def advance(entries: tuple[Entry, ...], now: int, known: Mapping[tuple[str, int], Sequence[Step]] = KNOWN) -> Advanced:
    return passages.advance(entries, now, lambda journey, version: known.get((journey, version)))


def ids(entries: tuple[Entry, ...]) -> set[bytes]:
    return {entry.id for entry in entries}


def test_ids_depend_on_journey_person_and_instant_and_on_nothing_else() -> None:
    first = entry_id("keep", "u:1", 1000)
    assert first == entry_id("keep", "u:1", 1000)
    assert len({first, entry_id("keep", "u:1", 1001), entry_id("keep", "u:2", 1000), entry_id("keepu", ":1", 1000)}) == 4
    assert enter(PLAN, "u:1", 1000, 5).id == enter(PLAN._replace(version=2, steps=()), "u:1", 1000, 9).id == first
    assert dispatch_id(first, "steps[0]") != dispatch_id(first, "steps[1]")
    assert len(dispatch_id(first, "steps[0]")) == 32


@given(sets, sets)
def test_uniting_is_commutative(one: tuple[Entry, ...], other: tuple[Entry, ...]) -> None:
    assert united(one, other) == united(other, one)


@given(sets, sets, sets)
def test_uniting_is_associative_and_idempotent(a: tuple[Entry, ...], b: tuple[Entry, ...], c: tuple[Entry, ...]) -> None:
    assert united(united(a, b), c) == united(a, united(b, c))
    assert united(a, a) == a


@given(sets, sets, instants)
def test_what_has_come_further_holds(one: tuple[Entry, ...], other: tuple[Entry, ...], now: int) -> None:
    ahead, *_ = advance(one, now)
    back = united(ahead, united(one, other))
    assert all(entry in back for entry in ahead)


@given(sets)
def test_of_one_journey_no_two_hold_within_the_guard(entries: tuple[Entry, ...]) -> None:
    held = [entry for entry in holding(entries) if entry.guard]
    assert all(later.at - earlier.at >= later.guard for earlier, later in pairwise(held))
    assert {entry.id for entry in entries if not entry.guard} <= {entry.id for entry in holding(entries)}
    if any(entry.guard for entry in entries):
        assert min(entry.at for entry in entries if entry.guard) in {entry.at for entry in held}


@given(st.permutations([enter(PLAN, who, day * DAY, 0) for who, day in (("a", 0), ("b", 50), ("c", 95), ("a", 200))]))
def test_the_order_in_which_transitions_arrive_does_not_matter(order: list[Entry]) -> None:
    entries: tuple[Entry, ...] = ()
    for entry in order:
        entries = united(entries, (entry,))
    assert [entry.at // DAY for entry in holding(entries)] == [0, 95, 200]


def test_after_a_merge_the_earlier_passage_goes_on_and_the_other_one_stops() -> None:
    early, *_ = advance((enter(PLAN, "a", 0, 1),), DAY)
    late, *_ = advance((enter(PLAN, "b", DAY, 1),), DAY)
    entries, asked, _ = advance(united(early, late), 30 * DAY)
    assert [(one.entry.profile, one.step.template) for one in asked] == [("a", "again")]
    assert next_due(entries) is None
    assert advance(entries, 400 * DAY)[1] == []


@given(sets, st.lists(instants, max_size=8))
def test_however_time_is_cut_each_step_is_asked_for_once(entries: tuple[Entry, ...], cuts: list[int]) -> None:
    asked: list[tuple[bytes, str]] = []
    state = entries
    for now in sorted([*cuts, 1000 * DAY]):
        state, found, _ = advance(state, now)
        asked += [(one.entry.id, one.step.id) for one in found]
    expected = {
        (entry.id, step.id) for entry in holding(entries) for step in KNOWN[entry.journey, entry.version] if isinstance(step, SendStep)
    }
    assert sorted(asked) == sorted(expected)


@given(sets, instants)
def test_nothing_is_due_at_or_before_now_after_advancing(entries: tuple[Entry, ...], now: int) -> None:
    state, *_ = advance(entries, now)
    due = next_due(state)
    assert due is None or due > now


def test_waits_count_from_when_the_step_fell_due_not_from_when_it_ran() -> None:
    entries, asked, _ = advance((enter(PLAN, "a", 0, 1),), 2 * DAY)
    assert [(one.step.id, one.due) for one in asked] == [("steps[0]", 0)]
    assert next_due(entries) == 3 * DAY
    _, asked, _ = advance(entries, 9 * DAY)
    assert [(one.step.id, one.due) for one in asked] == [("steps[2]", 3 * DAY)]


def test_nothing_happens_before_the_stage_has_read_what_the_decision_rested_on() -> None:
    entries = (enter(PLAN, "a", 0, 5 * DAY),)
    assert next_due(entries) == 5 * DAY
    assert advance(entries, 4 * DAY) == (entries, [], 0)


def test_a_passage_keeps_the_steps_of_the_version_that_was_entered() -> None:
    old = enter(PLAN, "a", 0, 1)
    new = enter(PLAN._replace(version=2, steps=(AGAIN,)), "a", 0, 1)
    running, *_ = advance((old,), 1)
    assert united(running, (new,))[0].version == 1


def test_ended_passages_without_a_guard_are_forgotten_guarded_ones_are_kept() -> None:
    entries, *_ = advance(united((enter(PLAN, "a", 0, 1),), (enter(FREE, "a", 0, 1),)), 9 * DAY)
    assert [entry.journey for entry in entries] == ["keep"]
    assert entries[0].ended


def test_what_is_remembered_of_one_journey_is_bounded() -> None:
    entries: tuple[Entry, ...] = ()
    for day in range(0, 200 * 100, 100):
        entries = taken_in(entries, (enter(PLAN, "a", day * DAY, 1),)).entries
        entries, *_ = advance(entries, (day + 10) * DAY)
    assert len(entries) <= MOST_ENDED
    assert ids(entries) >= {entry_id("keep", "a", 199 * 100 * DAY)}


def test_whoever_enters_and_leaves_all_the_time_is_still_written_to_once_within_the_guard() -> None:
    at_once = PLAN._replace(steps=(SEND,))
    known = {(at_once.journey, at_once.version): at_once.steps}
    entries: tuple[Entry, ...] = ()
    asked: list[int] = []
    for hour in range(100 * 24):
        entries = taken_in(entries, (enter(at_once, "a", hour * HOUR, 1),)).entries
        entries, found, _ = advance(entries, hour * HOUR + 1, known)
        asked += [one.due for one in found]
    assert asked == [0, 90 * DAY]
    assert len(entries) <= MOST_ENDED + 1


crowds = st.lists(
    st.builds(
        lambda plan, who, hour: enter(plan, who, hour * HOUR, hour * HOUR + 1),
        st.sampled_from([PLAN, FREE]),
        st.sampled_from("ab"),
        st.integers(0, 24 * 400) | st.integers(24 * 30, 24 * 32),
    ),
    max_size=300,
).map(lambda found: united(found, ()))


def unbounded_model(entries: tuple[Entry, ...], journey: str) -> list[Entry]:
    """What may stay of one journey, by the words of the bound: nobody is refused but the latest of many."""
    own = sorted((entry for entry in entries if entry.journey == journey), key=lambda entry: (entry.at, entry.id))
    before = [sum(other.at // MONTH_MS == entry.at // MONTH_MS for other in own[:place]) for place, entry in enumerate(own)]
    return [entry for entry, others in zip(own, before, strict=True) if others < MOST_A_MONTH][:MOST_PASSAGES]


@given(crowds)
def test_what_the_bounds_leave_is_what_they_say_and_nothing_else_is_given_up(entries: tuple[Entry, ...]) -> None:
    kept = bounded(entries)
    for journey in ("keep", "free"):
        mine = [entry for entry in kept if entry.journey == journey]
        assert mine == unbounded_model(entries, journey)
        if len(mine) == sum(entry.journey == journey for entry in entries):
            assert [e for e in holding(kept) if e.journey == journey] == [e for e in holding(entries) if e.journey == journey]
    assert next(iter(holding(kept)), None) == next(iter(holding(entries)), None)  # the first of all holds, whatever comes after it
    held = [entry for entry in holding(kept) if entry.guard]
    assert all(later.at - earlier.at >= later.guard for earlier, later in pairwise(held))


@given(crowds, st.randoms(use_true_random=False))
def test_the_bounds_do_not_depend_on_the_order_of_arrival_nor_on_merges(entries: tuple[Entry, ...], random: Random) -> None:
    """One after the other, and as parts that are themselves bounded before they are united."""
    shuffled = list(entries)
    random.shuffle(shuffled)
    parts: list[tuple[Entry, ...]] = []
    for start in range(0, len(shuffled), 23):
        part: tuple[Entry, ...] = ()
        for entry in shuffled[start : start + 23]:
            part = taken_in(part, (entry,)).entries
        parts.append(part)
    while len(parts) > 1:
        parts.append(taken_in(parts.pop(random.randrange(len(parts))), parts.pop(random.randrange(len(parts)))).entries)
    assert (parts[0] if parts else ()) == bounded(entries)


def test_a_hundred_thousand_transitions_in_a_journey_with_a_long_wait_keep_a_small_state() -> None:
    """The figures of services/messaging/domain/passages.py: steps as long as they may be, one transition every five minutes for a year."""
    ten = tuple(SendStep(f"steps[{n}]", "email", "t" * 63, "marketing", 31 * DAY, 2, 7 * DAY) for n in range(9))
    long = PLAN._replace(steps=(WaitStep("steps[9]", 366 * DAY), *ten))
    entries: tuple[Entry, ...] = ()
    refused = 0
    for start in range(0, 100_000, 500):
        entering = [enter(long, "a", (start + place) * 5 * 60_000, 1) for place in range(500)]
        entries, more = taken_in(entries, entering)
        refused += more
    assert len(entries) == min(MOST_PASSAGES, MOST_A_MONTH * -(-100_000 * 5 * 60_000 // MONTH_MS))
    assert refused == 100_000 - len(entries)
    assert len(encode_person(Person(entries=entries))) < 40 * 1024
    assert [entry.at // DAY for entry in holding(entries)] == [0, 90, 180, 270]


@given(sets)
def test_blobs_come_back_as_they_were(entries: tuple[Entry, ...]) -> None:
    assert decode_person(encode_person(Person(entries=entries))).entries == entries
