"""Stage `journeys` in the runtime's slot, on an in-memory log: events and transitions in, requests for messages out."""

import json
from collections.abc import Mapping
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.messaging.domain.facts import EventView, contact_of
from services.messaging.domain.passages import Asked, Plan, dispatch_id, enter, entry_id
from services.messaging.stage import Item, Journeys, request
from shared.contracts.changes import CHANGE_ENCODER, MESSAGE_REQUESTED_DECODER, ChangeReason, MessageRequested, SegmentChanged, Transition
from shared.contracts.clock import ClockRecord, encode_clock
from shared.contracts.events import EventType
from shared.contracts.identity import MergeRecord
from shared.contracts.journey_blob import Person, SendStep, WaitStep, canonical_person, decode_person, encode_person
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import EVENT_RESOLVED, JOURNEY_MOVED, JOURNEYS_REPLAYED, MESSAGE_REQUESTED, SEGMENT_CHANGED
from shared.runtime.envelope import peek
from shared.runtime.observer import Observer
from shared.runtime.slot import Slot
from shared.runtime.stage import Step
from shared.testing.fakes import FakeLog, FakeRedis

DAY = 24 * 3600 * 1000
T = 1_700_000_000_000
PLAN = Plan(
    "keep",
    7,
    "important",
    90 * DAY,
    (
        SendStep("steps[0]", "email", "hello", "marketing", DAY, 2, 7 * DAY),
        WaitStep("steps[1]", 3 * DAY),
        SendStep("steps[2]", "email", "again", "marketing", DAY),
    ),
)


class Counting(Observer):
    """Adds up what the stage refused."""

    refused = 0

    def folded(self, stage: str, topic: str, counts: Mapping[str, int]) -> None:
        self.refused += counts["refused"]


class World:
    """Journeys over fake servers."""

    def __init__(self, *plans: Plan) -> None:
        self.log = FakeLog()
        self.redis = FakeRedis()
        self.observer = Counting()
        self.stage = Journeys(frozenset({"email"}), {"important": list(plans or (PLAN,))}, frozenset({"firstName"}))
        self.slots: dict[int, Slot[Person, Item]] = {}
        self.messages = 0

    def event(self, who: str, at: int, headers: list[tuple[str, bytes]] | None = None, **fields: Any) -> None:
        self.messages += 1
        record = {"type": "track", "message_id": f"m{self.messages}", "source_id": "s", "timestamp": at, "received_at": at, **fields}
        self.log.append(EVENT_RESOLVED, who, json.dumps(record).encode(), headers or [])

    def identify(self, who: str, at: int, email: str | None = None, consent: bool | None = None, **traits: Any) -> None:
        ids = {} if email is None else {"email": email}
        context = {} if consent is None else {"consent": {"categoryPreferences": {"email": consent}}}
        self.event(who, at, type="identify", ids=ids, traits=traits, context=context)

    def enter(self, who: str, at: int, decided_at: int | None = None, transition: Transition = Transition.ENTERED) -> None:
        change = SegmentChanged(profile_id=who, segment="important", transition=transition, at=at, decided_at=decided_at or at, version=1)
        self.log.append(SEGMENT_CHANGED, who, CHANGE_ENCODER.encode(change))

    def merge(self, loser: str, winner: str) -> None:
        self.log.append(EVENT_RESOLVED, loser, msgspec.json.encode(MergeRecord(loser, winner, 0)), [("kind", b"merge")])
        self.event(winner, T, [("merged_from", loser.encode())])

    def tick(self, now: int) -> None:
        for partition in range(partition_count()):
            for source in range(partition_count()):
                value = encode_clock(ClockRecord(source, now, 0))
                self.log.append(EVENT_RESOLVED, f"clock:{source}", value, [("kind", b"clock")], partition)

    async def run(self, topics: tuple[str, ...] = Journeys.inputs) -> None:
        for _ in range(3):
            for topic in topics:
                for partition in range(partition_count()):
                    records = self.log.partitions[topic, partition]
                    start = self.log.commits.get(("test", topic, partition), 0)
                    if start < len(records):
                        if partition not in self.slots:
                            store = self.redis.store(self.stage.name, partition)
                            self.slots[partition] = Slot(self.stage, partition, store, self.log, self.observer, group="test")
                        assert await self.slots[partition].process(topic, records[start:])
                        self.log.commits["test", topic, partition] = len(records)

    def requests(self) -> list[MessageRequested]:
        return [MESSAGE_REQUESTED_DECODER.decode(record.value or b"") for record in self.log.records(MESSAGE_REQUESTED)]

    def person(self, who: str) -> Person:
        raw = self.redis.states("journeys").get(who)
        return Person() if raw is None else decode_person(peek(raw)[2])


async def test_who_enters_the_segment_is_asked_a_message_for() -> None:
    world = World()
    world.tick(T)
    world.identify("u:1", T, email="a@example.com", firstName="Ann", hobby="chess")
    world.enter("u:1", T + 5, decided_at=T)
    await world.run()
    assert world.requests() == []
    world.tick(T + 1000)
    await world.run()
    [asked] = world.requests()
    entered = entry_id("keep", "u:1", T + 5)
    assert (asked.entry_id, asked.dispatch_id) == (entered.hex(), dispatch_id(entered, "steps[0]"))
    assert asked.person == {"firstName": msgspec.Raw(b'"Ann"')}
    assert b"a@example.com" not in (world.log.records(MESSAGE_REQUESTED)[0].value or b""), "whoever sends looks the address up"
    assert asked.expires_at == T + 5 + DAY
    assert (asked.cap_messages, asked.cap_per) == (2, 7 * DAY)
    assert world.log.records(MESSAGE_REQUESTED)[0].partition == slot("u:1")


async def test_what_came_before_the_decision_is_known_though_the_transition_is_read_first() -> None:
    world = World()
    world.tick(T)
    world.identify("u:1", T, firstName="Ann")
    world.enter("u:1", T, decided_at=T)
    world.tick(T + 1000)
    await world.run((SEGMENT_CHANGED,))
    await world.run()
    assert [asked.person for asked in world.requests()] == [{"firstName": msgspec.Raw(b'"Ann"')}]


@pytest.mark.parametrize(("existing", "reason", "asked"), [
    (False, ChangeReason.DEFINITION, 0), (True, ChangeReason.DEFINITION, 1), (False, ChangeReason.MERGE, 1), (False, None, 1),
])  # fmt: skip
async def test_whom_a_definition_finds_in_a_segment_enters_only_where_the_journey_takes_existing_people(
    existing: bool, reason: ChangeReason | None, asked: int
) -> None:
    world = World(PLAN._replace(existing=existing))
    change = SegmentChanged(
        profile_id="u:1", segment="important", transition=Transition.ENTERED, at=T, decided_at=T, version=1, reason=reason
    )
    world.log.append(SEGMENT_CHANGED, "u:1", CHANGE_ENCODER.encode(change))
    await world.run()
    world.tick(T + 1000)
    await world.run()
    assert len(world.requests()) == asked


async def test_steps_wait_for_their_time_and_leaving_a_segment_does_nothing() -> None:
    world = World()
    world.enter("u:1", T)
    world.enter("u:1", T + 10, transition=Transition.LEFT)
    world.tick(T + 1000)
    await world.run()
    world.tick(T + 3 * DAY - 1)
    await world.run()
    assert [asked.template for asked in world.requests()] == ["hello"]
    world.tick(T + 3 * DAY)
    await world.run()
    assert [(asked.template, asked.expires_at) for asked in world.requests()] == [("hello", T + DAY), ("again", T + 4 * DAY)]
    assert contact_of(world.person("u:1"), "email") is None


async def test_entering_again_within_the_guard_asks_for_nothing() -> None:
    world = World()
    for day in (0, 10, 89, 90):
        world.enter("u:1", T + day * DAY)
        await world.run()
        world.tick(T + day * DAY + 1000)
        await world.run()
    world.tick(T + 100 * DAY)
    await world.run()
    first = [asked for asked in world.requests() if asked.template == "hello"]
    assert [asked.entry_id for asked in first] == [entry_id("keep", "u:1", T + day * DAY).hex() for day in (0, 90)]


async def test_a_passage_moves_with_a_merge_and_keeps_its_id_and_its_slot() -> None:
    world = World()
    world.enter("a:1", T)
    await world.run()
    world.tick(T + 1000)
    await world.run()
    world.merge("a:1", "u:1")
    await world.run()
    world.tick(T + 3 * DAY)
    await world.run()
    asked = world.requests()
    assert [(one.template, one.profile_id) for one in sorted(asked, key=lambda one: one.requested_at)] == [
        ("hello", "a:1"),
        ("again", "u:1"),
    ]
    assert {one.entry_id for one in asked} == {entry_id("keep", "a:1", T).hex()}
    assert {record.partition for record in world.log.records(MESSAGE_REQUESTED)} == {slot("a:1")}


async def test_both_sides_of_a_merge_in_the_same_journey_go_on_as_one() -> None:
    world = World()
    world.enter("a:1", T)
    world.enter("u:1", T + DAY)
    await world.run()
    world.tick(T + DAY + 1000)
    await world.run()
    world.merge("a:1", "u:1")
    await world.run()
    world.tick(T + 30 * DAY)
    await world.run()
    assert sorted((one.template, one.entry_id) for one in world.requests()) == sorted(
        [
            ("hello", entry_id("keep", "a:1", T).hex()),
            ("hello", entry_id("keep", "u:1", T + DAY).hex()),
            ("again", entry_id("keep", "a:1", T).hex()),
        ]
    )


async def test_a_transition_that_comes_after_its_person_was_merged_makes_the_same_dispatch_id() -> None:
    world = World()
    world.merge("a:1", "u:1")
    await world.run()
    world.enter("a:1", T)
    await world.run()
    world.tick(T + 1000)
    await world.run()
    assert [one.dispatch_id for one in world.requests()] == [dispatch_id(entry_id("keep", "a:1", T), "steps[0]")]


async def test_while_a_blob_is_on_its_way_nothing_is_asked_for() -> None:
    world = World()
    world.event("u:1", T, [("merged_from", b"a:1")])
    world.enter("u:1", T)
    world.tick(T + 1000)
    await world.run()
    assert world.requests() == []
    world.enter("a:1", T - DAY)
    world.log.append(EVENT_RESOLVED, "a:1", msgspec.json.encode(MergeRecord("a:1", "u:1", 0)), [("kind", b"merge")])
    await world.run()
    world.tick(T + 2000)
    await world.run()
    assert [one.entry_id for one in world.requests()] == [entry_id("keep", "a:1", T - DAY).hex()]


async def test_after_redis_was_emptied_a_refold_asks_for_nothing_twice() -> None:
    world = World()
    world.identify("u:1", T, email="a@example.com")
    world.enter("u:1", T)
    world.tick(T + 1000)
    await world.run()
    world.redis.flush()
    world.slots.clear()
    world.log.commits.clear()
    await world.run()
    world.tick(T + 3 * DAY)
    await world.run()
    assert [one.template for one in world.requests()] == ["hello", "again"]


@pytest.mark.parametrize(
    ("fields", "granted"),
    [
        ({"context": {"consent": {"categoryPreferences": {"email": True}}}}, True),
        ({"context": {"consent": {"categoryPreferences": {"marketing": True, "email": False}}}}, False),
        ({"context": {"consent": {"categoryPreferences": {"marketing": True}}}}, True),
        ({"event": "Unsubscribed"}, False),
        ({"context": {"consent": {"categoryPreferences": {"Advertising": True, "email": "yes"}}}}, None),
        ({"context": {"consent": {"categoryPreferences": 3}}}, None),
        ({"context": {"consent": "categoryPreferences"}}, None),
    ],
)
async def test_consent_is_read_where_sdks_put_it(fields: dict[str, Any], granted: bool | None) -> None:
    world = World()
    world.event("u:1", T, **fields)
    await world.run()
    said = world.person("u:1").consents.get("email")
    assert (None if said is None else said.granted) is granted


@pytest.mark.parametrize("order", [(True, False), (False, True)])
async def test_of_a_consent_and_a_refusal_at_one_instant_the_refusal_holds(order: tuple[bool, bool]) -> None:
    world = World()
    for granted in order:
        world.identify("u:1", T, email="a@example.com", consent=granted)
    await world.run()
    assert not world.person("u:1").consents["email"].granted


async def test_the_last_word_by_event_time_holds_whatever_came_in_later() -> None:
    world = World()
    world.identify("u:1", T + 5, email="new@example.com", consent=False)
    world.identify("u:1", T, email="old@example.com", consent=True)
    await world.run()
    person = world.person("u:1")
    assert "email" in person.contacts
    assert person.contacts["email"].value == b'"new@example.com"'
    assert not person.consents["email"].granted


async def test_a_consent_dated_in_the_future_does_not_outlive_a_later_refusal() -> None:
    """Nobody can have said something after it was received: like every stage, journeys takes the time of receipt for such a time."""
    world = World()
    world.event("u:1", T + DAY, received_at=T, context={"consent": {"categoryPreferences": {"email": True}}})
    world.identify("u:1", T + 1, consent=False)
    await world.run()
    assert not world.person("u:1").consents["email"].granted


async def test_an_address_can_be_taken_back() -> None:
    world = World()
    world.identify("u:1", T, email="a@example.com")
    world.event("u:1", T + 1, type="identify", traits={"email": None})
    world.enter("u:1", T + 2)
    await world.run()
    world.tick(T + 1000)
    await world.run()
    assert len(world.requests()) == 1
    assert contact_of(world.person("u:1"), "email") is None


def test_requests_of_earlier_releases_that_carry_an_address_are_still_read() -> None:
    plain = request(Person(), Asked(enter(PLAN, "u:1", T, T), cast(SendStep, PLAN.steps[0]), T), "u:1", T)
    with_address = CHANGE_ENCODER.encode(plain)[:-1] + b',"to":"a@example.com"}'
    assert MESSAGE_REQUESTED_DECODER.decode(with_address) == plain


facts = st.tuples(st.sampled_from(["u:1", "a:1", "a:2"]), st.integers(0, 5), st.sampled_from(["email", "consent", "name", "enter"]))


@settings(max_examples=60, deadline=None)
@given(st.lists(facts, max_size=10), st.randoms(use_true_random=False))
def test_any_order_of_the_same_facts_and_merges_ends_in_the_same_person(said: list[tuple[str, int, str]], random: Any) -> None:
    """Fold each person's share in any order, merge in any order: the digest is the same."""
    stage = Journeys(frozenset({"email"}), {"important": [PLAN]}, frozenset({"firstName"}))

    def item(number: int, who: str, at: int, kind: str) -> Item:
        if kind == "enter":
            return SegmentChanged(
                profile_id=who, segment="important", transition=Transition.ENTERED, at=at * 40 * DAY, decided_at=0, version=1
            )
        contacts = {"email": f"{number}@example.com"} if kind == "email" else {}
        traits = {"firstName": str(number)} if kind == "name" else {}
        said = {"categoryPreferences": {"email": bool(number % 2)}} if kind == "consent" else {}
        context = msgspec.Raw(json.dumps({"consent": said}).encode())
        return EventView(
            EventType.IDENTIFY, f"m{number}", "s", at, at, ids=contacts, traits=msgspec.Raw(json.dumps(traits).encode()), context=context
        )

    step = Step(stage.name, SEGMENT_CHANGED, 0)
    step.plan = stage.compile(None)

    def digest(order: list[tuple[int, tuple[str, int, str]]], merges: list[str]) -> bytes:
        people = {who: Person() for who in ("u:1", "a:1", "a:2")}
        for number, (who, at, kind) in order:
            people[who] = stage.fold(people[who], item(number, who, at, kind), step)
        while len(merges) > 1:
            one, other = merges[0], merges[1]
            people[one] = stage.merge(people[one], decode_person(encode_person(people[other])), step)
            merges = [one, *merges[2:]]
        return canonical_person(encode_person(people[merges[0]]))

    numbered = list(enumerate(said))
    people = ["u:1", "a:1", "a:2"]
    expected = digest(numbered, people)
    shuffled, order = numbered[:], people[:]
    random.shuffle(shuffled)
    random.shuffle(order)
    assert digest(shuffled, order) == expected


def test_what_no_input_of_the_stage_is_becomes_a_dead_letter() -> None:
    assert JOURNEY_MOVED in Journeys.inputs
    assert JOURNEYS_REPLAYED in Journeys.inputs
    log = FakeLog()
    with pytest.raises(ValueError, match="is no input of journeys"):
        Journeys(frozenset()).decode(log.append(MESSAGE_REQUESTED, "u:1", b"{}"))


async def test_transitions_beyond_the_bound_are_counted() -> None:
    world = World()
    for hour in range(50):
        world.enter("u:1", T + hour * 3_600_000)
    await world.run()
    kept = len(world.person("u:1").entries)
    assert kept < 50
    assert world.observer.refused == 50 - kept
