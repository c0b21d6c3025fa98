"""A slot with more messages than places, than room in hand, or than its provider takes: transactional first, everything once."""

import asyncio
from collections import Counter

import msgspec
import pytest
from structlog.testing import capture_logs

from services.messaging.channels import email
from services.messaging.dispatch.class_queue import Bounds
from services.messaging.dispatch.ports import Known
from services.messaging.domain.outcome import Deferred, Outcome
from services.messaging.domain.patience import Pace
from services.messaging.domain.reasons import Reason
from services.messaging.domain.rendering import Rendered
from shared.contracts.changes import MessageStatus
from shared.definitions.template import Templates
from tests.unit.dispatcher_world import MARKETING, World, person, request

LATER: list[Outcome] = [Deferred(Reason.TRY_LATER, "450 greylisted")]
AWAY: list[Outcome] = [Deferred(Reason.PROVIDER_AWAY, "refused", away=True)]


@pytest.fixture
def world(templates: Templates) -> World:
    return World(templates)


def key(number: int) -> str:
    return f"{number:032x}"


def records_a_message(world: World) -> Counter[str]:
    return Counter(entry.dispatch_id for entry in world.ledger.entries)


async def test_only_as_many_messages_are_recorded_as_being_sent_as_the_provider_has_places(world: World) -> None:
    world.provider.hold = asyncio.Event()
    world.ask(*(request(number) for number in range(50)))
    slot = world.start()
    await world.until(lambda: len(world.ledger.entries) == 4)
    await asyncio.sleep(0.02)
    assert [entry.status for entry in world.ledger.entries] == [MessageStatus.SENDING] * 4
    world.provider.hold.set()
    await world.settle(slot)
    await world.stop(slot)
    assert set(records_a_message(world).values()) == {2}
    assert sorted(world.provider.got) == [key(n) for n in range(50)]


async def test_a_message_that_has_a_place_does_not_wait_for_a_slow_one(world: World) -> None:
    world.provider.slow = {key(0)}
    world.provider.release = asyncio.Event()
    world.ask(*(request(number) for number in range(20)))
    slot = world.start()
    await world.until(lambda: len(world.provider.got) == 19)
    assert world.status(0) == ("sending", None)
    assert slot.queue.position == 0
    world.provider.release.set()
    await world.settle(slot)
    await world.stop(slot)


async def test_a_transactional_message_goes_before_all_marketing_that_waits(world: World) -> None:
    world.bounds = Bounds(hand=5)
    world.provider.hold = asyncio.Event()
    world.ask(*(request(number) for number in range(100)), request(100, message_class="transactional"))
    slot = world.start()
    await world.until(lambda: len(world.ledger.entries) == 4)
    world.provider.hold.set()
    await world.settle(slot)
    await world.stop(slot)
    assert world.provider.got.index(key(100)) <= 8
    assert sorted(world.provider.got) == [key(n) for n in range(101)]


async def test_marketing_whose_calls_hang_leaves_a_place_for_transactional_messages(world: World) -> None:
    world.places, world.kept = 3, 1
    world.provider.slow = {key(n) for n in range(10)}
    world.provider.release = asyncio.Event()
    world.ask(*(request(number) for number in range(10)))
    slot = world.start()
    await world.until(lambda: len(world.ledger.entries) == 2)
    world.ask(*(request(number, message_class="transactional") for number in range(10, 15)))
    slot.receive(world.records[10:])
    await world.until(lambda: len(world.provider.got) == 5)
    assert len(world.ledger.last()) == 7
    world.provider.release.set()
    await world.settle(slot)
    await world.stop(slot)


async def test_slots_take_turns_at_the_places(world: World) -> None:
    """One with a thousand messages does not keep another from sending its own."""
    outlet = world.outlet()
    other = World(world.templates)
    other.provider = world.provider
    world.ask(*(request(number) for number in range(1000)))
    other.ask(*(request(number) for number in range(1000, 1010)))
    first = world.start(outlet=outlet)
    await world.until(lambda: len(world.provider.got) > 20)
    before = len(world.provider.got)
    second = other.start(outlet=outlet)
    await other.settle(second)
    assert len(world.provider.got) - before < 200
    await other.stop(second)
    await world.stop(first)
    assert sum(outlet.places.used.values()) == 0


async def test_what_is_put_off_leaves_the_hand_and_stops_nothing_else(world: World) -> None:
    world.bounds = Bounds(hand=5)
    for number in range(60):
        world.provider.script[key(number)] = LATER * 2
    world.ask(*(request(number) for number in range(80)))
    slot = world.start()
    await world.until(lambda: len(world.provider.got) == 20)
    assert sum(queue.in_hand for queue in slot.queue.by_line.values()) == 0
    assert slot.queue.position == 0
    await world.as_time_goes_by(slot, 1, lambda: slot.queue.position == 80)
    await world.stop(slot)
    assert sorted(world.provider.got) == [key(n) for n in range(80)]
    assert max(records_a_message(world).values()) == 6
    assert {world.ledger.last()[key(n)].attempts for n in range(60)} == {3}


async def test_at_the_bound_of_what_is_put_off_no_new_marketing_begins_and_transactional_passes(world: World) -> None:
    world.bounds = Bounds(hand=5, put_off=10)
    for number in range(100):
        world.provider.script[key(number)] = LATER * 1000
    world.ask(*(request(number) for number in range(100)), *(request(n, message_class="transactional") for n in range(100, 105)))
    slot = world.start()
    await world.until(lambda: len(world.provider.got) == 5)
    await world.as_time_goes_by(slot, 5, lambda: world.clock.now > 500)
    begun = {entry.dispatch_id for entry in world.ledger.entries} - set(world.provider.got)
    under_way, batch = world.places, 4
    assert 10 <= len(begun) <= 10 + under_way + batch
    assert len(slot.queue) <= 10 + under_way + batch + 5
    world.provider.script.clear()
    await world.as_time_goes_by(slot, 5, lambda: slot.queue.position == 105)
    await world.stop(slot)
    assert sorted(world.provider.got) == [key(n) for n in range(105)]


async def test_a_message_that_is_put_off_longer_than_it_may_live_expires_in_time(world: World) -> None:
    world.provider.script[key(1)] = LATER * 10
    world.ask(request(1, expires_at=request(1).requested_at + 5_000))
    slot = world.start()
    await world.until(lambda: bool(world.ledger.told) and slot.queue.next_due(MARKETING) is not None)
    assert slot.queue.next_due(MARKETING) == 5  # not the ten seconds of the pause
    await world.as_time_goes_by(slot, 1, lambda: slot.queue.position == 1)
    await world.stop(slot)
    assert world.status(1) == ("expired", "too_late")


async def test_a_restart_reads_on_from_what_is_not_settled(world: World) -> None:
    world.bounds = Bounds(hand=5)
    world.provider.script[key(3)] = [*LATER]
    world.ask(*(request(number) for number in range(30)))
    slot = world.start()
    await world.until(lambda: len(world.provider.got) == 29)
    await world.stop(slot)
    assert slot.queue.position == 3
    again = world.start(from_offset=3)
    await world.settle(again)
    await world.stop(again)
    assert sorted(world.provider.got) == [key(n) for n in range(30)]


async def test_kafka_away_while_requests_are_read_again_loses_nothing(world: World) -> None:
    world.bounds = Bounds(hand=2)
    world.log.away = 3
    world.ask(*(request(number) for number in range(20)), *(request(number) for number in range(5)))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    assert sorted(world.provider.got) == [key(n) for n in range(20)]


async def test_an_outage_costs_each_waiting_message_one_record_and_the_log_two_lines(world: World) -> None:
    """A minute, hundreds of messages: only those that tried whether the provider is back have more records, two for each try."""
    count = 600
    for number in range(count):
        world.provider.script[key(number)] = AWAY * 1000
    world.ask(*(request(number) for number in range(count)))
    with capture_logs() as lines:
        slot = world.start()
        await world.until(lambda: len(world.ledger.last()) >= 500)  # as many as are in hand
        await world.as_time_goes_by(slot, 0.5, lambda: world.clock.now > 60)
        assert {(entry.status.value, entry.reason) for entry in world.ledger.last().values()} == {("claimed", "provider_away")}
        world.provider.script.clear()
        await world.as_time_goes_by(slot, 0.5, lambda: slot.queue.position == count)
        await world.stop(slot)
    tries = sum(entry.attempts > 1 for entry in world.ledger.entries if entry.status is MessageStatus.SENT)
    counts = sorted(records_a_message(world).values())
    assert counts[-1] <= 2 + 2 * 16
    assert sum(number > 3 for number in counts) <= tries + world.places <= 20
    assert sorted(world.provider.got) == [key(n) for n in range(count)]
    warnings = [line["event"] for line in lines if line["log_level"] in ("warning", "error")]
    assert warnings == ["provider away, one message at a time tries it"]
    assert [line["event"] for line in lines].count("provider takes messages again") == 1


async def test_a_message_whose_calls_break_down_while_others_go_is_tried_ever_more_seldom(world: World) -> None:
    world.provider.script[key(0)] = AWAY * 1000
    world.ask(request(0), *(request(n) for n in range(1, 200)))
    slot = world.start()
    await world.until(lambda: len(world.provider.got) == 199)
    tries = []
    for number in range(200, 260):
        world.ask(request(number))
        slot.receive(world.records[-1:])
        world.clock.now += 1
        await world.until(lambda number=number: key(number) in world.provider.got)  # type: ignore[misc]
        tries.append(world.ledger.last()[key(0)].attempts)
    await world.stop(slot)
    assert tries[-1] <= 8
    assert world.status(0) == ("claimed", "provider_away")


async def test_what_expires_while_the_provider_is_away_ends_without_a_try(world: World) -> None:
    for number in range(50):
        world.provider.script[key(number)] = AWAY * 1000
    soon = request(0).requested_at + 20_000
    world.ask(*(request(number, expires_at=soon) for number in range(50)))
    slot = world.start()
    await world.until(lambda: len(world.ledger.last()) == 50)
    await world.as_time_goes_by(slot, 5, lambda: slot.queue.position == 50)
    await world.stop(slot)
    assert {world.status(n) for n in range(50)} == {("expired", "too_late")}
    assert sum(entry.attempts == 0 for entry in world.ledger.last().values()) >= 40


async def test_attempts_count_calls_that_were_begun(world: World) -> None:
    naps = [60.0]

    def sleep_once() -> None:
        if naps:
            world.clock.now += naps.pop()

    world.ledger.answered = sleep_once
    world.ask(request(1))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    assert [(entry.status.value, entry.reason, entry.attempts) for entry in world.ledger.entries] == [
        ("sending", None, 1),
        ("claimed", "held_up", 0),
        ("sending", None, 1),
        ("sent", None, 1),
    ]


async def test_the_pace_toward_a_provider_is_kept(world: World) -> None:
    world.pace = Pace(10.0)
    world.ask(*(request(number) for number in range(50)))
    slot = world.start()
    await world.as_time_goes_by(slot, 0.05, lambda: slot.queue.position == 50)
    await world.stop(slot)
    assert world.clock.now >= 4.5


async def test_no_place_is_lost_whatever_becomes_of_messages(world: World) -> None:
    world.bounds = Bounds(hand=5, put_off=10)
    outlet = world.outlet()
    for number in range(60):
        match number % 6:
            case 0:
                world.provider.script[key(number)] = LATER * 2
            case 1:
                world.provider.script[key(number)] = [*AWAY]
            case _:
                pass
    templates = ("hello", "needs", "gone")
    world.ask(*(request(number, template=templates[number % 3]) for number in range(60)))
    world.gate.reason = "not yet"
    slot = world.start(outlet=outlet)
    await world.until(lambda: world.gate.asked > 2)
    world.people.away = True
    world.gate.reason = None
    await world.until(lambda: slot.waits_for is not None)
    world.people.away = False
    await world.as_time_goes_by(slot, 1, lambda: slot.queue.position == 60)
    await world.stop(slot)
    assert outlet.places.used == dict.fromkeys(outlet.places.used, 0)
    assert {world.status(n)[0] for n in range(60) if n % 3 == 0} == {"sent"}


@pytest.mark.parametrize("locale", [b"5", b'{"a":1}', b'"\\u0000"', b"[[[]]]", b'"\xff"', b'"\xed\xa0\x80"', b"[" * 250 + b"]" * 250])
async def test_whatever_the_locale_of_a_person_is_the_message_goes(world: World, locale: bytes) -> None:
    """Also bytes that are no text: a request carries the traits of a person as they came."""
    world.ask(request(1, person={"locale": msgspec.Raw(locale)}))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    assert world.status(1) == ("sent", None)


async def test_a_template_that_fails_for_one_person_fails_for_nobody_else(world: World) -> None:
    world.ask(request(0, template="sums", person={"plan": msgspec.Raw(b'"abc"')}), request(1))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    assert [world.status(n) for n in (0, 1)] == [("suppressed", "template_failed"), ("sent", None)]


async def test_what_cannot_be_made_an_email_fails_for_nobody_else(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As text that UTF-8 cannot hold would."""

    def compose(rendered: Rendered, *rest: object) -> bytes:
        return rendered.text.replace("Ann", "\ud800").encode()

    monkeypatch.setattr(email, "compose", compose)
    world.ask(request(0), request(1, person={}))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    assert [world.status(n) for n in (0, 1)] == [("suppressed", "template_failed"), ("sent", None)]


async def test_requests_that_cannot_be_read_and_come_while_others_are_set_aside_are_set_aside_too(world: World) -> None:
    world.ask(b"{", b"[")
    slot = world.start()

    def more() -> None:
        if len(world.records) == 2:
            world.ask(b"}", b"]", request(1))
            slot.receive(world.records[2:])

    world.ledger.answered = more
    await world.settle(slot)
    await world.stop(slot)
    assert [letter.offset for letter in world.ledger.letters] == [0, 1, 2, 3]
    assert world.status(1) == ("sent", None)


async def test_a_fault_of_the_program_ends_the_slot_loudly(world: World) -> None:
    """Whoever runs the slot hears of it, and ends the process (test_dispatcher_feed.py)."""

    def fault() -> None:
        raise RuntimeError("a fault of ours")

    world.provider.before = fault
    world.ask(request(1))
    slot = world.start()
    with pytest.raises(RuntimeError, match="a fault of ours"):
        await asyncio.wait_for(asyncio.gather(*world.tasks), 10)
    slot.close()


async def test_no_more_people_are_read_than_there_are_places_unless_most_messages_end_without(world: World) -> None:
    world.places = 2
    world.ask(*(request(number) for number in range(40)))
    slot = world.start()
    await world.settle(slot)
    assert world.people.asked <= 40 + 2 * 4
    world.people.asked = world.people.reads = 0
    for number in range(40, 120):
        world.people.people[f"u:{number}"] = Known(f"u:{number}", person(consents={}))
    world.ask(*(request(number) for number in range(40, 120)))
    slot.receive(world.records[40:])
    await world.settle(slot)
    await world.stop(slot)
    assert world.people.reads <= 80 / 4 + 4
