"""One slot of the dispatcher on fakes: every message is settled once, whatever is away, and whoever takes over."""

import asyncio

import msgspec
import pytest

from services.messaging.dispatch.ports import Known
from services.messaging.domain.admission import Rules
from services.messaging.domain.outcome import Deferred, Failed, Outcome, Unknown
from services.messaging.domain.reasons import Reason
from shared.contracts.changes import MessageStatus
from shared.contracts.journey_blob import Consent, Person
from shared.definitions.template import Templates
from tests.unit.dispatcher_world import HOUR, NOW, World, person, request


@pytest.fixture
def world(templates: Templates) -> World:
    return World(templates)


async def test_each_message_is_sent_once_and_told_once(world: World) -> None:
    world.ask(*(request(number) for number in range(10)), *(request(number) for number in range(5)))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    assert sorted(world.provider.got) == sorted(f"{number:032x}" for number in range(10))
    assert [told.status for told in world.ledger.told] == [MessageStatus.SENT] * 10
    assert {told.to_masked for told in world.ledger.told} == {"a***@example.com"}
    assert {told.journey_version for told in world.ledger.told} == {1}


async def test_many_messages_share_a_transaction(world: World) -> None:
    world.ask(*(request(number) for number in range(40)))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    assert len(world.provider.got) == 40
    assert world.ledger.transactions <= 40


async def test_sending_is_recorded_before_the_provider_is_called(world: World) -> None:
    seen: list[str] = []
    world.provider.before = lambda: seen.append(world.status(1)[0])
    world.ask(request(1))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    assert seen == ["sending"]


async def test_what_was_under_way_when_its_process_died_is_unknown_and_never_sent_again(world: World) -> None:
    begun: list[None] = []
    world.provider.before = lambda: begun.append(None)
    world.ask(request(1), request(2))
    world.provider.hold = asyncio.Event()
    world.start()
    await world.until(lambda: len(begun) == 2)
    world.provider.hold = None
    successor = world.start()
    await world.settle(successor)
    assert [world.status(n) for n in (1, 2)] == [("unknown", "crashed")] * 2
    assert world.provider.got == []
    assert [told.status.value for told in world.ledger.told] == ["unknown", "unknown"]
    world.tasks.pop(0).cancel()
    await world.stop(successor)


async def test_a_process_that_was_overtaken_while_it_slept_sends_nothing_more(world: World) -> None:
    hold = world.provider.hold = asyncio.Event()
    world.ask(request(1))
    zombie = world.start()
    await world.until(lambda: len(world.ledger.entries) == 1)
    world.clock.now += 60
    world.wanted.discard(0)
    world.provider.hold = None
    successor = world.start()
    await world.settle(successor)
    hold.set()
    await asyncio.wait_for(world.tasks[0], 10)
    assert zombie.ready is False
    assert world.provider.got == []
    assert world.status(1) == ("unknown", "crashed")
    await world.stop(successor)


async def test_who_slept_while_the_ledger_was_answering_does_not_send_when_the_answer_comes(world: World) -> None:
    """The record of `sending` was in the log before it slept; that says nothing of who owns the slot when it wakes."""
    naps = [60.0]

    def sleep_once() -> None:
        if naps:
            world.clock.now += naps.pop()

    world.ledger.answered = sleep_once
    world.ask(request(1), request(2))
    slot = world.start()
    await world.settle(slot)
    assert [told.reason for told in world.ledger.told[:2]] == ["held_up"] * 2
    assert [world.status(n) for n in (1, 2)] == [("sent", None)] * 2
    assert sorted(world.provider.got) == [f"{n:032x}" for n in (1, 2)]
    await world.stop(slot)


async def test_nothing_is_sent_by_what_was_looked_up_before_kafka_was_away(world: World) -> None:
    """Between the look at consent and the record of `sending` an hour passes. Consent is taken back in it."""
    world.ledger.away = 3
    withdrawn = Known("u:1", person(consents={"email": Consent(2, "m", "s", False)}))

    def an_hour_later() -> None:
        world.clock.now += 3600
        world.people.people["u:1"] = withdrawn
        world.ledger.refused = lambda: None

    world.ledger.refused = an_hour_later
    world.ask(request(1, expires_at=NOW + 9 * HOUR), request(2))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    assert world.status(1) == ("suppressed", "no_consent")
    assert world.status(2) == ("expired", "too_late")
    assert world.provider.got == []


async def test_attempts_are_those_of_the_ledger_also_after_the_record_of_one_was_refused(world: World) -> None:
    world.ask(request(1))
    world.ledger.before = lambda: setattr(world.ledger, "owner", world.ledger.owner + (world.ledger.transactions == 0))
    slot = world.start()
    await world.until(lambda: not slot.ready and world.gate.asked > 0)
    world.ledger.before = lambda: None
    await world.settle(slot)
    await world.stop(slot)
    assert [entry.attempts for entry in world.ledger.entries] == [1, 1]


async def test_two_owners_at_once_never_send_the_same_message_twice(world: World) -> None:
    world.ask(*(request(number) for number in range(30)))
    first = world.start()
    await world.until(lambda: len(world.provider.got) > 3)
    second = world.start()
    await world.until(lambda: all(f"{n:032x}" in world.ledger.last() for n in range(30)) and len(second.queue) == 0)
    first.stop()
    await world.stop(second)
    assert len(world.provider.got) == len(set(world.provider.got))
    assert {world.status(n)[0] for n in range(30)} <= {"sent", "unknown"}


async def test_a_restart_finds_what_is_settled_in_the_ledger(world: World) -> None:
    world.ask(*(request(number) for number in range(6)))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    again = world.start()
    await world.settle(again)
    await world.stop(again)
    assert len(world.provider.got) == 6


@pytest.mark.parametrize(
    ("known", "changes", "expected"),
    [
        (person(consents={}), {}, ("suppressed", "no_consent")),
        (person(consents={"email": Consent(1, "m", "s", False)}), {}, ("suppressed", "no_consent")),
        (person(consents={}), {"message_class": "transactional"}, ("sent", None)),
        (person(email=None), {}, ("suppressed", "unreachable")),
        (person(email="a@b@c"), {}, ("suppressed", "unreachable")),
        (person(email="a@b.com\r\nBcc: x@y.z"), {}, ("suppressed", "unreachable")),
        (person(), {"expires_at": NOW}, ("expired", "too_late")),
        (person(), {"template": "gone"}, ("suppressed", "no_template")),
        (person(), {"template": "needs"}, ("suppressed", "missing_value")),
        (person(), {"channel": "sms", "message_class": "transactional"}, ("suppressed", "no_provider")),
    ],
)
async def test_what_is_not_sent_is_recorded_with_its_reason(
    world: World, known: Person, changes: dict[str, object], expected: tuple[str, str | None]
) -> None:
    world.people.people["u:1"] = Known("u:1", known)
    world.ask(request(1, **changes))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    assert world.status(1) == expected
    assert [told.status.value for told in world.ledger.told] == [expected[0]]
    assert len(world.provider.got) == (expected[0] == "sent")


async def test_opt_out_sends_to_who_has_said_nothing(world: World) -> None:
    world.rules = Rules({"email": "opt_out"})
    world.people.people["u:1"] = Known("u:1", person(consents={}))
    world.people.people["u:2"] = Known("u:2", person(consents={"email": Consent(1, "m", "s", False)}))
    world.ask(request(1), request(2))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    assert (world.status(1)[0], world.status(2)[0]) == ("sent", "suppressed")


async def test_caps_count_every_message_of_the_class_and_a_refused_one_frees_its_place(world: World) -> None:
    for number in range(4):
        world.people.people[f"u:{number}"] = Known("u:x", person())
    world.provider.script[f"{0:032x}"] = [Failed(Reason.REFUSED, "550 no")]
    cap = {"cap_messages": 2, "cap_per": HOUR}
    world.ask(request(0, **cap))
    slot = world.start()
    await world.settle(slot)
    world.ask(request(1), request(2, **cap), request(3, **cap))
    slot.receive(world.records[1:])
    await world.settle(slot)
    await world.stop(slot)
    assert [world.status(n) for n in range(4)] == [("failed", "refused"), ("sent", None), ("sent", None), ("suppressed", "capped")]


async def test_caps_come_back_from_the_ledger_when_redis_was_emptied(world: World) -> None:
    for number in range(3):
        world.people.people[f"u:{number}"] = Known("u:x", person())
    world.ask(request(0), request(1))
    slot = world.start()
    await world.settle(slot)
    world.caps.places.clear()
    world.caps.left = None
    world.ask(request(2, cap_messages=2, cap_per=HOUR))
    slot.receive(world.records[2:])
    await world.settle(slot)
    await world.stop(slot)
    assert world.status(2) == ("suppressed", "capped")


async def test_a_message_put_off_is_tried_again_later_and_listed_meanwhile(world: World) -> None:
    world.provider.script[f"{1:032x}"] = [Deferred(Reason.TRY_LATER, "450 busy"), Deferred(Reason.TRY_LATER, "450 busy")]
    world.ask(request(1))
    slot = world.start()
    await world.until(lambda: bool(world.ledger.told))
    assert world.status(1) == ("claimed", "try_later")
    assert slot.queue.position == 0
    await world.as_time_goes_by(slot, 1, lambda: slot.queue.position == 1)
    await world.stop(slot)
    assert world.status(1) == ("sent", None)
    assert len(world.provider.got) == 1
    assert [told.status.value for told in world.ledger.told] == ["claimed", "claimed", "sent"]


async def test_a_message_that_cannot_be_sent_in_time_expires(world: World) -> None:
    world.provider.script[f"{1:032x}"] = [Deferred(Reason.PROVIDER_AWAY, "refused", away=True)] * 1000
    world.ask(request(1))
    slot = world.start()
    await world.until(lambda: bool(world.ledger.told))
    world.clock.now += 3601
    slot.wake()
    await world.settle(slot)
    await world.stop(slot)
    assert world.status(1) == ("expired", "too_late")
    assert world.provider.got == []


async def test_consent_withdrawn_while_a_message_waits_is_heeded(world: World) -> None:
    world.provider.script[f"{1:032x}"] = [Deferred(Reason.TRY_LATER, "450 busy")]
    world.ask(request(1))
    slot = world.start()
    await world.until(lambda: bool(world.ledger.told))
    world.people.people["u:1"] = Known("u:1", person(consents={"email": Consent(2, "m", "s", False)}))
    world.clock.now += 11
    slot.wake()
    await world.settle(slot)
    await world.stop(slot)
    assert world.status(1) == ("suppressed", "no_consent")
    assert world.provider.got == []


async def test_a_reply_that_was_lost_is_unknown_and_never_tried_again(world: World) -> None:
    world.provider.script[f"{1:032x}"] = [Unknown(Reason.REPLY_LOST, "eof")]
    world.ask(request(1), request(1))
    slot = world.start()
    await world.settle(slot)
    world.clock.now += 3600
    await world.stop(slot)
    assert world.status(1) == ("unknown", "reply_lost")
    assert len(world.provider.got) == 1


async def test_while_the_provider_is_away_one_message_tries_and_the_rest_wait(world: World) -> None:
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    world.provider.before = count
    away: list[Outcome] = [Deferred(Reason.PROVIDER_AWAY, "refused", away=True)]
    for number in range(20):
        world.provider.script[f"{number:032x}"] = away * 50
    world.ask(*(request(number) for number in range(20)))
    slot = world.start()
    await world.until(lambda: len(world.ledger.last()) == 20 and all(world.status(n)[0] == "claimed" for n in range(20)))
    assert calls <= 8
    began, before = world.clock.now, calls
    await world.as_time_goes_by(slot, 0.25, lambda: calls >= before + 5)
    assert world.clock.now - began >= 2 + 4 + 8 + 8
    world.provider.script.clear()
    await world.as_time_goes_by(slot, 1, lambda: slot.queue.position == 20)
    await world.stop(slot)
    assert sorted(world.provider.got) == sorted(f"{n:032x}" for n in range(20))


async def test_nothing_is_sent_while_a_stage_before_is_catching_up(world: World) -> None:
    world.gate.reason = "not caught up: journeys 3"
    world.ask(request(1))
    slot = world.start()
    await world.until(lambda: world.gate.asked > 5)
    assert world.ledger.entries == []
    held = slot.shut
    world.gate.reason = None
    await world.settle(slot)
    await world.stop(slot)
    assert held == "not caught up: journeys 3"
    assert slot.shut is None
    assert world.status(1)[0] == "sent"


async def test_redis_or_kafka_being_away_delays_and_loses_nothing(world: World) -> None:
    world.people.away = True
    world.ask(request(1))
    slot = world.start()
    await world.until(lambda: world.gate.asked > 1)
    assert world.provider.got == []
    waited_for = slot.waits_for
    world.people.away = False
    world.ledger.away = 2
    await world.settle(slot)
    await world.until(lambda: slot.waits_for is None)
    assert waited_for is not None
    world.ledger.away = 1
    world.ask(request(2))
    slot.receive(world.records[1:])
    await world.settle(slot)
    await world.stop(slot)
    assert len(world.provider.got) == 2


async def test_a_person_in_the_middle_of_a_merge_is_waited_for(world: World) -> None:
    world.people.people["u:1"] = None
    world.ask(request(1))
    slot = world.start()
    await world.until(lambda: bool(world.ledger.told))
    assert world.status(1) == ("claimed", "held_up")
    world.people.people["u:1"] = Known("u:winner", person(email="win@example.com"))
    world.clock.now += 1
    slot.wake()
    await world.settle(slot)
    await world.stop(slot)
    assert world.ledger.last()[f"{1:032x}"].profile_id == "u:winner"
    assert world.provider.to == ["win@example.com"]


async def test_a_request_that_cannot_be_read_is_set_aside_and_the_next_one_is_sent(world: World) -> None:
    deep = b"[" * 5000 + b"]" * 5000
    world.ask(b"{", request(1), request(2, dispatch_id="not hexadecimal"), request(3, person={"plan": msgspec.Raw(deep)}))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    assert world.status(1)[0] == "sent"
    assert [letter.offset for letter in world.ledger.letters] == [0, 2, 3]
    assert world.ledger.letters[0].value == b"{"
