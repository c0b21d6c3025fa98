"""A passage goes by the version that it entered, whatever is applied meanwhile, whoever dies, and whichever release wrote its state."""

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.messaging.domain.passages import dispatch_id, entry_id
from services.messaging.domain.planning import KnownSteps, laid_out
from shared.contracts.definitions import DefinitionRecord, DefinitionSet, set_key
from shared.contracts.journey_blob import Entry, Person, SendStep, encode_person
from shared.contracts.slots import partition_count, slot
from shared.definitions.template import Templates
from shared.runtime.observer import Observer
from shared.testing.fakes import Copy
from tests.unit.versions_world import DAY, HOUR, VERSIONS, Log, Released, Story, T, as_released, definition, journey, stage

MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.integers(0, 9)),
        st.tuples(st.just("apply"), st.integers(0, len(VERSIONS) - 1)),
        st.tuples(st.just("tick"), st.sampled_from([1_000, HOUR, 3 * HOUR, DAY])),
        st.tuples(st.just("merge"), st.integers(1, 9)),
        st.tuples(st.just("work"), st.integers(0, 7)),
        st.tuples(st.just("work"), st.integers(0, 7)),
    ),
    min_size=15,
    max_size=70,
)


@given(moves=MOVES, seed=st.integers(0, 2**32), upgraded=st.integers(0, 70))
@settings(max_examples=25, deadline=None)
def test_passages_neither_double_nor_lose_a_message_under_changes_deaths_an_upgrade_and_a_rebuild(
    moves: list[tuple[str, int]], seed: int, upgraded: int
) -> None:
    """Up to move `upgraded` the release before is at work."""
    random, told = Random(seed), Story(Released(frozenset({"email"})))
    told.apply(VERSIONS[0])
    told.scene.settle()
    copy: Copy | None = None
    for number, (what, how) in enumerate(moves):
        if number == upgraded:
            told.scene.redefine(stage())
        if what == "enter":
            told.enter(f"u:{how}")
        elif what == "apply":
            told.apply(VERSIONS[how])
        elif what == "tick":
            told.tick(how)
        elif what == "merge":
            told.merge(f"u:{how}", "u:0")
        elif pending := told.scene.pending():
            where = pending[random.randrange(len(pending))]
            if random.random() < 0.4:
                told.scene.crash(where, random.randint(1, 5), random.randint(0, 4))
            else:
                told.scene.work(where, random.randint(1, 5))
            if random.random() < 0.2:
                told.scene.restart()
                told.scene.batch_bytes = random.choice((1, 500, 4 << 20))
            if random.random() < 0.1:
                if copy is not None and number > upgraded:
                    told.scene.restore(copy)
                copy = told.scene.redis.snapshot()
            if random.random() < 0.1:
                told.scene.restart()
                told.scene.redis.flush()
    told.scene.redefine(stage())
    told.end()
    told.whole()
    before, digest = told.requests(), told.scene.digest()
    told.scene.restart()
    told.scene.redis.flush()
    told.scene.rebuild("journeys", 1)
    told.end()
    assert told.requests() == before
    assert told.scene.digest() == digest


def test_who_entered_under_the_release_before_goes_on_by_the_steps_and_ids_that_are_stored_with_the_passage() -> None:
    told = Story(Released(frozenset({"email"})))
    told.apply(VERSIONS[0])
    told.begin("u:1")
    told.scene.redefine(stage())
    told.apply(VERSIONS[2])
    told.scene.settle()
    [stored] = told.person("u:1").entries
    assert stored.carried == (SendStep("steps[2]", "email", "ben", "marketing", DAY),)
    told.end()
    assert told.asked("u:1", T) == ["steps[0]", "steps[2]"]


def test_ids_of_messages_are_those_of_the_release_before_for_steps_without_an_id() -> None:
    """Written out: a person who entered then, and is folded again by a later release, must get the same."""
    entered = entry_id("keep_important", "u:17850", T)
    [first, _, third] = laid_out(definition(VERSIONS[0]), Templates([]))
    assert (first.id, third.id) == ("steps[0]", "steps[2]")
    assert [dispatch_id(entered, one.id) for one in (first, third)] == [
        "c28d4101667a65bb095de60fae47e33b",
        "f1c98b78371b6e8536ec4a144cabc443",
    ]


def test_a_passage_of_an_older_version_goes_on_by_it_while_a_new_one_goes_by_the_new() -> None:
    told = Story()
    told.apply(VERSIONS[0])
    told.scene.settle()
    told.begin("u:1")
    told.apply(VERSIONS[1])
    told.scene.settle()
    told.enter("u:2")
    told.end()
    assert [told.asked(who, at) for who, at in sorted(told.entered)] == [
        ["steps[0]", "steps[2]"],
        ["steps[0]", "steps[1]", "steps[3]", "steps[5]"],
    ]


def test_a_journey_that_was_taken_away_is_gone_through_to_its_end() -> None:
    told = Story()
    told.apply(VERSIONS[3])
    told.scene.settle()
    told.begin("u:1")
    told.apply()
    told.end()
    assert told.asked("u:1", T) == ["first", "second"]


def test_a_passage_that_comes_by_a_merge_waits_until_its_slot_has_the_set_that_it_entered_by() -> None:
    loser, winner = "u:1", next(f"u:{n}" for n in range(2, 99) if slot(f"u:{n}") != slot("u:1"))
    told = Story()
    told.apply(VERSIONS[0])
    told.scene.settle()
    told.now += 10
    newer = told.apply(VERSIONS[1], only=(slot(loser),))
    told.scene.settle()
    told.enter(loser)
    at = told.now
    told.scene.settle()
    told.merge(loser, winner)
    told.scene.settle()
    told.tick(1_000)
    told.scene.settle()
    assert told.requests() == []
    [stands] = told.person(winner).entries
    assert (stands.path, stands.due, stands.ready) == ((0,), at, told.now + 60_000)
    told.scene.activate(newer.activated_at)
    told.end()
    assert told.asked(loser, at) == ["steps[0]", "steps[1]", "steps[3]", "steps[5]"]


class Counting(Observer):
    """How often passages stood still."""

    stuck = 0

    def folded(self, stage: str, topic: str, counts: Any) -> None:
        self.stuck += counts["stuck"]


def test_a_passage_whose_version_is_gone_from_the_log_stands_still_is_counted_and_goes_on_when_it_is_applied_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = Counting()
    monkeypatch.setattr("shared.testing.scene.Observer", lambda: seen)
    told = Story()
    gone = told.apply(VERSIONS[0])
    told.scene.settle()
    told.begin("u:1")
    told.now += 10
    told.apply(VERSIONS[3])
    told.log.topic.told(DefinitionRecord(set_key(gone.number), None))
    told.scene.restart()
    told.end()
    assert told.asked("u:1", T) == ["steps[0]"]
    assert seen.stuck == 6, "once when it was due, and at most once a day from then on"
    told.apply(VERSIONS[0])
    told.end()
    assert told.asked("u:1", T) == ["steps[0]", "steps[2]"]


def test_an_older_version_is_there_from_its_first_set_on_and_never_before() -> None:
    log = Log()
    sets = [log.apply(text, at=T + number) for number, text in enumerate(VERSIONS)]
    versions = [definition(text).version for text in VERSIONS]
    for place, one in enumerate(sets):
        there = [log.of(one).earlier("greet", version) is not None for version in versions]
        assert there == [number <= place for number in range(len(VERSIONS))]
    assert log.of(sets[-1]).earlier("greet", 1) is None
    assert log.of(sets[-1]).earlier("other", versions[0]) is None
    found = log.of(sets[-1]).earlier("greet", versions[1])
    assert found == definition(VERSIONS[1])
    log.topic.told(DefinitionRecord(set_key(sets[0].number), None))
    assert [log.of(sets[-1]).earlier("greet", version) is not None for version in versions] == [False, True, True, True]


def test_an_earlier_journey_that_this_release_cannot_read_is_not_found() -> None:
    log = Log()
    first, last = log.apply(VERSIONS[0], at=T), log.apply(VERSIONS[1], at=T + 1)
    path = next(file for file in first.files if file.path == "j0.yaml")
    log.topic._texts[path.sha256] = log.topic._texts[next(file.sha256 for file in first.files if file.path == "s.yaml")]
    assert log.of(last).earlier("greet", definition(VERSIONS[0]).version) is None


def test_a_message_of_an_older_version_is_of_the_class_that_its_template_has_now() -> None:
    log = Log()
    first = log.apply(VERSIONS[0], at=T)
    last = log.apply(VERSIONS[1], classes="transactional", at=T + 1)

    def classes(one: DefinitionSet, templates: Templates) -> set[str]:
        steps = KnownSteps((), log.of(one).earlier, templates)("greet", definition(VERSIONS[0]).version)
        assert steps is not None
        return {step.message_class for step in steps if isinstance(step, SendStep)}

    assert classes(first, log.of(first).read.templates) == {"marketing"}
    assert classes(last, log.of(last).read.templates) == {"transactional"}
    assert classes(last, Templates([])) == {"marketing"}


steps = st.lists(st.sampled_from(["ann", "ben", "wait 1h", "wait 2d"]), min_size=1, max_size=12)


@given(steps, st.integers(0, 12), st.sampled_from(["cat", "wait 1h", "new=dan"]))
def test_a_step_put_in_before_others_changes_none_of_the_ids_that_are_written(those: list[str], place: int, new: str) -> None:
    named = [step if step.startswith("wait") else f"s{number}={step}" for number, step in enumerate(those)]
    before = laid_out(definition(journey(*named)), Templates([]))
    after = laid_out(definition(journey(*named[:place], new, *named[place:])), Templates([]))
    written = [step for step in after if isinstance(step, SendStep) and step.template not in ("cat", "dan")]
    assert written == [step for step in before if isinstance(step, SendStep)]


def test_an_id_makes_a_new_version_and_no_id_leaves_the_version_that_it_was() -> None:
    plain, named = definition(journey("ann", "wait 2h", "ben")), definition(journey("first=ann", "wait 2h", "ben"))
    assert plain.version != named.version
    assert plain.version == 2054998503, "as the release before has it"


@pytest.mark.parametrize("steps", [10, 50])
def test_what_is_kept_of_a_waiting_person_does_not_grow_with_the_steps_of_the_journey(steps: int) -> None:
    long = laid_out(definition(journey("wait 30d", *["ann"] * (steps - 1))), Templates([]))
    entry = Entry(b"0" * 16, "greet", 2**32 - 1, "u:1234567890", "important", T, 90 * DAY, T + 1, (0,), T + 30 * DAY)
    assert len(encode_person(Person(entries=(entry,)))) < 100
    assert len(as_released(Person(entries=(msgspec.structs.replace(entry, carried=long),)))) > 30 * steps


def test_all_partitions_take_part() -> None:
    assert len({slot(f"u:{n}") for n in range(10)}) > partition_count() // 2
