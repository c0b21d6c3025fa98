"""Anonymous people who never came back are forgotten in every stage, by the order of the log; nobody else is; who comes back is as new."""

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.messaging.domain.passages import Plan
from services.messaging.stage import Journeys
from services.profile.folder_stage import FolderStage
from services.profile.resolver_stage import ResolverStage
from services.segmentation.stage import SegmentationStage
from shared.contracts.changes import (
    CHANGE_ENCODER,
    PROFILE_CHANGED_DECODER,
    SEGMENT_CHANGED_DECODER,
    ChangeReason,
    ProfileChanged,
    SegmentChanged,
    Transition,
)
from shared.contracts.digest import root
from shared.contracts.events import ReceivedEvent
from shared.contracts.headers import KIND, KIND_EXPIRED
from shared.contracts.identity import Expiry
from shared.contracts.ids import is_anonymous, user
from shared.contracts.journey_blob import WaitStep, decode_person
from shared.contracts.link_blob import decode_links
from shared.contracts.membership_blob import members_index
from shared.contracts.profile_blob import Profile, decode_profile
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import EVENT_RECEIVED, EVENT_RESOLVED, FOLDER_REPLAYED, MESSAGE_REQUESTED, PROFILE_CHANGED, SEGMENT_CHANGED
from shared.definitions.segment import Segment
from shared.rules.compiler import compile_plan
from shared.runtime.envelope import peek
from shared.testing.histories import encoded, event, histories, key_of
from shared.testing.scene import Scene

HOUR, DAY = 3_600_000, 86_400_000
UNSEEN = 400 * DAY
STAGES = ("resolver", "folder", "segmentation", "journeys")
VIEWED = Segment.model_validate({"segment": "viewed", "title": {"zh": "看", "en": "viewed"}, "when": {"did": "Product Viewed"}})
PLAN = Plan("hello", 1, "viewed", 0, (WaitStep("steps[0]", 390 * DAY), WaitStep("steps[1]", 390 * DAY)))


class World(Scene):
    """All stages over fakes; whoever viewed a product is in a segment and on a long journey."""

    def __init__(self, *plans: Plan) -> None:
        segments = SegmentationStage(compile_plan([VIEWED], "UTC"))
        super().__init__(ResolverStage(), FolderStage(), segments, Journeys(frozenset(), {"viewed": list(plans or (PLAN,))}))
        self.messages = 0

    def send(self, **fields: Any) -> None:
        """An event now, and time for all that follows from it."""
        self.messages += 1
        self.receive(event(fields.pop("type_", "track"), f"m{self.messages}", self.log.now, received_at=self.log.now, **fields))
        self.pass_time(2000)

    def receive(self, one: ReceivedEvent) -> None:
        self.log.append(EVENT_RECEIVED, key_of(one), encoded(one))

    def pass_time(self, ms: int) -> None:
        self.settle()
        self.log.now += ms
        self.tick(self.log.now)
        self.settle()

    def ask(self, typed: str, unseen_ms: int = UNSEEN) -> None:
        """As the sweep asks."""
        self.log.append(EVENT_RECEIVED, typed, msgspec.json.encode(Expiry(typed, unseen_ms)), [(KIND, KIND_EXPIRED)])

    def holders(self, typed: str) -> list[str]:
        """Stages in which anything is left under a key: a state, a timer, a second blob, a member of an index."""
        left = []
        for (stage, _), data in self.redis.slots.items():
            members = [member for index in data.indexes.values() for member in index]
            if typed in data.states or typed in data.timers or data.sides.get(typed) or typed in members:
                left.append(stage)
        return sorted(left, key=STAGES.index)

    def profile(self, typed: str) -> Profile:
        raw = self.redis.states("folder").get(typed)
        return Profile() if raw is None else decode_profile(peek(raw)[2])

    def expiries(self) -> list[Expiry]:
        records = self.log.records(EVENT_RESOLVED)
        return [msgspec.json.decode(one.value or b"", type=Expiry) for one in records if dict(one.headers).get(KIND) == KIND_EXPIRED]

    def transitions(self) -> list[SegmentChanged]:
        return [SEGMENT_CHANGED_DECODER.decode(record.value or b"") for record in self.log.records(SEGMENT_CHANGED)]

    def summaries(self) -> list[ProfileChanged]:
        return [PROFILE_CHANGED_DECODER.decode(record.value or b"") for record in self.log.records(PROFILE_CHANGED)]


@pytest.fixture
def world() -> World:
    made = World()
    made.tick(made.log.now)
    return made


def test_who_never_came_back_is_gone_from_every_stage_and_leaves_their_segments(world: World) -> None:
    world.send(anonymous_id="1")
    assert world.holders("a:1") == list(STAGES)
    world.pass_time(UNSEEN + HOUR)
    world.ask("a:1")
    world.pass_time(2000)
    assert world.holders("a:1") == []
    left = world.transitions()[-1]
    assert (left.profile_id, left.segment, left.transition, left.reason) == ("a:1", "viewed", Transition.LEFT, ChangeReason.EXPIRED)
    assert members_index("viewed") in world.redis.slots["segmentation", slot("a:1")].indexes
    world.pass_time(UNSEEN)
    assert world.holders("a:1") == [], "no timer brings anything back"
    assert world.log.records(MESSAGE_REQUESTED) == []


@pytest.mark.parametrize("unread", [True, False])
def test_an_event_that_stands_before_the_question_keeps_the_person(world: World, unread: bool) -> None:
    world.send(anonymous_id="1")
    world.pass_time(UNSEEN + HOUR)
    late = event("track", "late", world.log.now, received_at=world.log.now, anonymous_id="1")
    world.receive(late)
    if not unread:
        world.settle()
    world.ask("a:1")
    world.pass_time(2000)
    assert (world.holders("a:1"), world.expiries()) == (list(STAGES), [])
    assert world.profile("a:1").events == 2


def test_an_event_that_was_only_repeated_keeps_the_person_too(world: World) -> None:
    world.send(anonymous_id="1")
    first = world.log.records(EVENT_RECEIVED)[0]
    world.pass_time(UNSEEN + HOUR)
    world.log.append(EVENT_RECEIVED, "a:1", first.value)
    world.ask("a:1")
    world.pass_time(2000)
    assert world.holders("a:1") == list(STAGES)


def test_the_times_of_the_log_decide_not_those_of_events(world: World) -> None:
    old = event("track", "old", world.log.now - 3 * UNSEEN, anonymous_id="1")
    world.receive(old)
    world.pass_time(UNSEEN - DAY)
    world.ask("a:1")
    world.pass_time(2000)
    assert world.holders("a:1") == list(STAGES)
    world.pass_time(DAY + HOUR)
    world.ask("a:1")
    world.pass_time(2000)
    assert world.holders("a:1") == []


def test_who_is_known_stays_with_all_that_leads_to_them(world: World) -> None:
    world.send(anonymous_id="1")
    world.send(anonymous_id="1", user_id="ann")
    world.send(type_="identify", anonymous_id="2", ids={"email": "x@example.com"})
    world.pass_time(2 * UNSEEN)
    for typed in ("a:1", "a:2", "u:ann", "email:x@example.com"):
        world.ask(typed)
    world.pass_time(2000)
    assert world.expiries() == []
    assert world.profile("u:ann").events == 2
    world.send(anonymous_id="1")
    world.send(anonymous_id="2")
    assert (world.profile("u:ann").events, world.profile("email:x@example.com").events) == (3, 2)


def test_an_expiry_that_reaches_a_stage_after_the_merge_takes_nothing_from_the_winner(world: World) -> None:
    world.send(anonymous_id="1")
    world.send(anonymous_id="1", user_id="ann")
    world.log.append(EVENT_RESOLVED, "a:1", msgspec.json.encode(Expiry("a:1", UNSEEN, world.log.now + 2 * UNSEEN)), [(KIND, KIND_EXPIRED)])
    world.pass_time(2000)
    assert world.profile("u:ann").events == 2
    assert world.markers("folder") == {"a:1": "u:ann"}


def test_a_refusal_outlives_even_a_question_that_should_not_have_been_asked(world: World) -> None:
    """The sweep does not ask for such a person (test_anonymous_sweep.py)."""
    refusal = {"consent": {"categoryPreferences": {"email": False}}}
    world.send(anonymous_id="1", context=refusal)
    world.pass_time(UNSEEN + HOUR)
    world.ask("a:1")
    world.pass_time(2000)
    person = decode_person(peek(world.redis.states("journeys")["a:1"])[2])
    assert {channel: consent.granted for channel, consent in person.consents.items()} == {"email": False}
    assert person.entries == ()
    assert world.profile("a:1").events == 1
    world.send(anonymous_id="1")
    person = decode_person(peek(world.redis.states("journeys")["a:1"])[2])
    assert not person.consents["email"].granted


def test_a_refusal_that_was_taken_back_is_none(world: World) -> None:
    for granted in (False, True):
        world.send(anonymous_id="1", context={"consent": {"categoryPreferences": {"email": granted}}})
    world.pass_time(UNSEEN + HOUR)
    world.ask("a:1")
    world.pass_time(2000)
    assert world.holders("a:1") == []


def test_who_comes_back_is_a_new_person_under_the_old_id(world: World) -> None:
    for _ in range(3):
        world.send(anonymous_id="1")
    before = world.summaries()[-1]
    world.pass_time(UNSEEN + HOUR)
    world.ask("a:1")
    world.pass_time(2000)
    world.send(anonymous_id="1")
    assert world.holders("a:1") == list(STAGES)
    assert (world.profile("a:1").events, world.profile("a:1").first_seen) == (1, world.log.now - 2000)
    assert [(one.transition, one.reason) for one in world.transitions()] == [
        (Transition.ENTERED, ChangeReason.EVENT),
        (Transition.LEFT, ChangeReason.EXPIRED),
        (Transition.ENTERED, ChangeReason.EVENT),
    ]
    after = world.summaries()[-1]
    assert (before.events, after.events) == (1, 1), "nothing is said of an event that changes nothing else"
    world.send(anonymous_id="1", user_id="ann")
    assert world.profile("u:ann").events == 2


def test_the_last_summary_of_a_person_who_came_back_is_the_new_one(world: World) -> None:
    order = {"event": "Order Completed", "properties": {"revenue": 5, "currency": "EUR"}}
    for _ in range(9):
        world.send(anonymous_id="1", **order)
    world.pass_time(UNSEEN + HOUR)
    world.ask("a:1")
    world.pass_time(2000)
    world.send(anonymous_id="1", **order)
    said = [one for one in world.summaries() if one.profile_id == "a:1"]
    holds = max(said, key=lambda one: one.version)
    assert (holds.events, holds.orders, said[-2].events) == (1, 1, 9)
    assert [one.version for one in said] == sorted({one.version for one in said})
    assert holds.version < 2**53, "every reader of JSON can hold it"


def test_the_last_word_of_a_merged_anonymous_person_is_the_greatest(world: World) -> None:
    world.send(anonymous_id="1")
    world.send(anonymous_id="1", user_id="ann")
    said = [one for one in world.summaries() if one.profile_id == "a:1"]
    assert max(said, key=lambda one: one.version).merged_into == "u:ann"


def test_a_transition_that_is_read_after_the_expiry_brings_nobody_back(world: World) -> None:
    """Journeys reads segment.changed and event.resolved as they come."""
    world.send(anonymous_id="1")
    entered = world.transitions()[0]
    world.pass_time(UNSEEN + HOUR)
    late = msgspec.structs.replace(entered, at=world.log.now, decided_at=world.log.now)
    world.ask("a:1")
    inputs = ("resolver", "journeys")
    while pending := [where for where in world.pending() if where.stage in inputs and where.topic in (EVENT_RECEIVED, EVENT_RESOLVED)]:
        world.work(pending[0])
    assert world.holders("a:1") == ["folder", "segmentation"]
    world.log.append(SEGMENT_CHANGED, "a:1", CHANGE_ENCODER.encode(late))
    world.settle()
    assert world.holders("a:1") == [], "it is taken back by the word that the person left"


def test_what_a_person_says_who_is_back_is_kept_though_the_word_that_they_left_is_read_later(world: World) -> None:
    world.send(anonymous_id="1")
    world.pass_time(UNSEEN + HOUR)
    world.ask("a:1")
    refusal = {"consent": {"categoryPreferences": {"email": False}}}
    world.receive(event("track", "back", world.log.now, received_at=world.log.now, anonymous_id="1", context=refusal))
    while pending := [where for where in world.pending() if where.topic != SEGMENT_CHANGED]:
        world.work(pending[0])
    world.settle()
    person = decode_person(peek(world.redis.states("journeys")["a:1"])[2])
    assert not person.consents["email"].granted


def test_a_stage_that_missed_the_answer_is_told_again(world: World) -> None:
    world.send(anonymous_id="1")
    copy = world.redis.snapshot()
    world.pass_time(UNSEEN + HOUR)
    world.ask("a:1")
    world.pass_time(2000)
    where = ("folder", slot("a:1"))
    world.redis.slots[where].states["a:1"] = copy[where].states["a:1"]
    world.restart()
    world.ask("a:1")
    world.pass_time(2000)
    assert world.holders("a:1") == []


def test_a_replayed_expiry_does_not_take_who_is_back(world: World) -> None:
    world.send(anonymous_id="1")
    world.pass_time(UNSEEN + HOUR)
    expiry = Expiry("a:1", UNSEEN, world.log.now)
    world.send(anonymous_id="1")
    headers = [("replay_of", b"0:1"), ("origin", f"{EVENT_RESOLVED}|0|1".encode()), ("origin_kind", KIND_EXPIRED)]
    world.log.append(FOLDER_REPLAYED, "a:1", msgspec.json.encode(expiry), headers)
    world.settle()
    assert world.profile("a:1").events == 2


def forwards(told: Scene) -> dict[str, str]:
    links = {key: decode_links(blob).forward for stage, key, blob, _ in told.stored() if stage == "resolver"}
    return {key: forward for key, forward in links.items() if forward is not None}


@settings(max_examples=60, deadline=None)
@given(histories(), st.integers(0, 2**32))
def test_whatever_people_do_nobody_known_is_forgotten_and_a_refold_ends_in_the_same(events: list[ReceivedEvent], seed: int) -> None:
    """Events, questions, long pauses, work in any order, crashes: and then all again from an empty Redis."""
    random = Random(seed)
    told = World()
    sent: list[ReceivedEvent] = []
    asked: list[str] = []
    for one in random.sample(events, len(events)):
        told.receive(one)
        sent.append(one)
        told.log.now += random.choice((1, HOUR, 40 * DAY))
        if random.random() < 0.5:
            asked.append(key_of(random.choice(sent)))
            told.ask(asked[-1], random.choice((HOUR, 32 * DAY)))
        if random.random() < 0.3:
            told.tick(told.log.now)
        for _ in range(random.randint(0, 4)):
            if pending := told.pending():
                where, records = random.choice(pending), random.randint(1, 4)
                if random.random() < 0.1:
                    told.crash(where, records, random.randint(0, 2))
                else:
                    told.work(where, records)
    told.settle(random)
    told.tick(told.log.now)
    told.settle(random)
    people = {key: decode_profile(blob) for stage, key, blob, _ in told.stored() if stage == "folder" and blob}
    markers, links = told.markers("folder"), forwards(told)
    for one in events:
        if one.user_id is not None:
            assert one.user_id in people[root(user(one.user_id), markers)].user_ids
    assert all(is_anonymous(expiry.id) and expiry.id in asked for expiry in told.expiries())
    forgotten = {expiry.id for expiry in told.expiries()}
    lost = len(events) - sum(profile.events for profile in people.values())
    least = sum(1 for one in events if one.user_id is not None or one.type == "alias" or one.ids)
    assert 0 <= lost <= len(events) - least
    assert lost == 0 or forgotten
    assert told.waiting("folder") == told.waiting("segmentation") == told.waiting("journeys") == []
    for key, forward in links.items():
        assert not (is_anonymous(key) and forward in forgotten), "nobody leads to an anonymous person"
    lines, said = told.lines(), [len(told.log.records(topic)) for topic in (EVENT_RESOLVED, SEGMENT_CHANGED, PROFILE_CHANGED)]
    told.redis.flush()
    told.restart()
    for partition in range(partition_count()):
        told.take_over(partition)
    told.settle()
    assert told.lines() == lines
    assert [len(told.log.records(topic)) for topic in (EVENT_RESOLVED, SEGMENT_CHANGED, PROFILE_CHANGED)] == said
