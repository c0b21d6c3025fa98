"""The dispatcher's slot keeps its books: what is forgotten is not told twice, and who takes over reads little."""

import dataclasses

import msgspec
import pytest

from services.messaging.dispatch.class_queue import Bounds
from services.messaging.dispatch.ports import Observer
from services.messaging.domain.outcome import Deferred
from services.messaging.domain.reasons import Reason
from services.messaging.domain.watermark import MOST_BLOCKS, Watermark
from shared.contracts.changes import CHANGE_ENCODER, MessageRequested
from shared.contracts.headers import CAUSE, Cause
from shared.contracts.topics import MESSAGE_REQUESTED
from shared.definitions.durations import DAY_MS
from shared.definitions.template import Templates
from shared.testing.fakes import FakeRecord
from tests.unit.dispatcher_world import MARKETING, NOW, World, request

DAY_S = DAY_MS / 1000


class Counting(Observer):
    def __init__(self) -> None:
        self.dropped = 0

    def forgotten(self) -> None:
        self.dropped += 1


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def world(templates: Templates, counting: Counting) -> World:
    world = World(templates)
    world.observer = counting
    return world


def ask(world: World, *requests: MessageRequested) -> None:
    """As journeys write them: each with its cause."""
    for one in requests:
        offset = len(world.records)
        headers = [(CAUSE, Cause("journeys", "rapport.event.resolved.v1", 0, int(one.dispatch_id, 16), 0).encode())]
        world.records.append(FakeRecord(MESSAGE_REQUESTED, 0, offset, NOW, b"u:1", CHANGE_ENCODER.encode(one), headers))


async def checkpoints(world: World, count: int) -> None:
    """Let ten minutes pass, after which there are so many."""
    world.clock.now += 600
    await world.until(lambda: len(world.ledger.checkpoints) == count)


async def test_requests_replayed_after_they_were_forgotten_call_no_provider_and_end_no_second_time(
    world: World, counting: Counting
) -> None:
    ask(world, *(request(number) for number in range(6)))
    slot = world.start()
    await world.settle(slot)
    await checkpoints(world, 1)
    world.clock.now += 4 * DAY_S
    await world.until(lambda: len(slot.ledger) == 0)
    ask(world, request(6, expires_at=NOW + 5 * DAY_MS))
    slot.receive(world.records[6:])
    await world.settle(slot)
    await checkpoints(world, 2)
    told = list(world.ledger.told)
    await world.stop(slot)
    for round_of in (1, 2):
        again = world.start()
        await world.settle(again)
        await world.stop(again)
        assert len(world.provider.got) == 7
        assert world.ledger.told == told
        assert counting.dropped == 6 * round_of


@pytest.mark.parametrize("forgotten", [False, True])
async def test_requests_replayed_while_the_provider_is_away_are_passed_over_and_do_not_fill_the_hand(
    world: World, counting: Counting, forgotten: bool
) -> None:
    """A new message behind a thousand settled ones is listed as waiting, as it would be without them."""
    world.bounds = Bounds(hand=10)
    ask(world, *(request(number) for number in range(40)))
    slot = world.start()
    await world.settle(slot)
    if forgotten:
        await checkpoints(world, 1)
        world.clock.now += 4 * DAY_S
        await world.until(lambda: len(slot.ledger) == 0)
    await world.stop(slot)
    late = NOW + 9 * DAY_MS
    world.provider.script = {f"{number:032x}": [Deferred(Reason.PROVIDER_AWAY, "away", away=True)] * 99 for number in range(40, 60)}
    ask(world, *(request(number, expires_at=late) for number in range(40, 44)))
    outlet = world.outlet()
    before = world.start(from_offset=40, outlet=outlet)
    queue = before.queue.by_line[MARKETING]
    await world.until(lambda: outlet.breaker.open and queue.in_hand + queue.put_off_count == 4)
    world.records += [dataclasses.replace(record, offset=record.offset + 44) for record in world.records[:40]]
    ask(world, request(44, expires_at=late))
    before.receive(world.records[44:])
    await world.until(lambda: f"{44:032x}" in world.ledger.last())
    assert world.status(44) == ("claimed", "provider_away")
    await world.stop(before)
    assert len(world.provider.got) == 40
    assert [told.status.value for told in world.ledger.told].count("sent") == 40
    assert counting.dropped == (40 if forgotten else 0)


async def test_a_request_that_expired_before_anybody_saw_it_ends_expired_and_is_told(world: World, counting: Counting) -> None:
    ask(world, request(1), request(2))
    slot = world.start()
    await world.settle(slot)
    await checkpoints(world, 1)
    await world.stop(slot)
    world.clock.now += 9 * DAY_S
    ask(world, request(3))
    late = world.start(from_offset=2)
    await world.settle(late)
    await world.stop(late)
    assert world.status(3) == ("expired", "too_late")
    assert [told.status.value for told in world.ledger.told] == ["sent", "sent", "expired"]
    assert counting.dropped == 0


async def test_who_takes_over_reads_what_came_after_the_last_checkpoint(world: World) -> None:
    ask(world, *(request(number) for number in range(50)))
    slot = world.start()
    await world.settle(slot)
    await checkpoints(world, 1)
    before = len(world.ledger.entries)
    ask(world, request(50))
    slot.receive(world.records[50:])
    await world.settle(slot)
    await world.stop(slot)
    again = world.start()
    await world.settle(again)
    await world.stop(again)
    assert before == 100
    assert world.ledger.read == 2
    assert len(world.provider.got) == 51


async def test_what_waits_is_read_again_by_who_takes_over_after_a_checkpoint(world: World) -> None:
    world.people.people["u:1"] = None
    ask(world, request(1), request(2))
    slot = world.start()
    await world.until(lambda: len(world.ledger.last()) == 2 and world.status(2)[0] == "sent")
    await checkpoints(world, 1)
    await world.stop(slot)
    again = world.start()
    await world.until(lambda: again.ready)
    await world.stop(again)
    assert again.ledger.of(f"{1:032x}") is not None
    assert again.ledger.is_settled(f"{2:032x}")
    assert world.ledger.told[0].reason == "held_up"
    assert len(world.ledger.told) == 2


def test_one_message_that_waits_for_weeks_before_a_million_others_costs_a_bounded_mark() -> None:
    mark = Watermark()
    for number in range(1, 100_000):
        mark.settled(number, f"journeys|t|{number % 4}|{number}|0")
    mark.passed(0)
    assert len(mark.save().ahead) <= MOST_BLOCKS
    assert not mark.is_past("journeys|t|0|4|0")
    restored = Watermark(msgspec.msgpack.decode(msgspec.msgpack.encode(mark.save()), type=type(mark.save())))
    for one in (mark, restored):
        one.passed(100_000)
        assert one.is_past("journeys|t|3|99999|0")
        assert not one.is_past("journeys|t|0|100000|0")
        assert one.settled_to == 100_000


def test_lanes_and_places_are_those_of_the_header() -> None:
    mark = Watermark()
    cause = Cause("journeys", "rapport.event.resolved.v1", 3, 17, 2)
    mark.settled(0, cause.encode().decode())
    mark.passed(1)
    assert mark.save().seen == {cause.lane: (cause.offset, cause.nth)}
