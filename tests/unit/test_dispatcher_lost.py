"""Requests that left the log before their messages had ended: each message that the ledger knows ends, is told and is never sent."""

import pytest

from services.messaging.dispatch.class_queue import Bounds
from services.messaging.dispatch.ports import Observer
from services.messaging.domain.outcome import Deferred, Outcome
from services.messaging.domain.reasons import Reason
from shared.definitions.template import Templates
from tests.unit.dispatcher_world import MARKETING, NOW, World, request

LATER: list[Outcome] = [Deferred(Reason.TRY_LATER, "450 greylisted")]
NEVER_BACK = 1_000_000
GONE = ("failed", "request_gone")


class Counting(Observer):
    def __init__(self) -> None:
        self.lost = 0

    def lost_to_retention(self, records: int) -> None:
        self.lost += records


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def world(templates: Templates, counting: Counting) -> World:
    world = World(templates)
    world.observer = counting
    return world


def key(number: int) -> str:
    return f"{number:032x}"


def ends(world: World, number: int) -> list[str]:
    return [told.status.value for told in world.ledger.told if told.dispatch_id == key(number) and told.status.value != "claimed"]


async def test_who_was_put_off_and_whose_request_the_log_has_lost_ends_and_is_told(world: World, counting: Counting) -> None:
    world.provider.script[key(0)] = [*LATER]
    world.ask(request(0), request(1))
    slot = world.start()
    await world.until(lambda: len(world.provider.got) == 1 and len(world.ledger.told) == 2)
    world.log.start = 1
    await world.as_time_goes_by(slot, 5, lambda: slot.queue.position == 2 and world.status(0) == GONE)
    await world.stop(slot)
    assert ends(world, 0) == ["failed"]
    assert world.provider.got == [key(1)]
    assert counting.lost == 1


async def test_who_takes_over_ends_what_waited_for_another_try_and_whose_request_is_gone(world: World) -> None:
    """The predecessor put three off; while nobody ran, the log lost two requests, of which one could still have been sent in time."""
    for number in range(3):
        world.provider.script[key(number)] = [*LATER]
    world.ask(request(0, expires_at=NOW + 60_000), request(1), request(2), request(3))
    slot = world.start()
    await world.until(lambda: len(world.ledger.told) == 4)
    await world.stop(slot)
    world.log.start = 2
    world.clock.now += 120
    again = world.start(from_offset=2)
    await world.until(lambda: again.queue.position == 4 and not again.ledger.under_way())
    await world.stop(again)
    assert [world.status(number) for number in range(4)] == [("expired", "too_late"), GONE, ("sent", None), ("sent", None)]
    assert [ends(world, number) for number in range(4)] == [["expired"], ["failed"], ["sent"], ["sent"]]


async def test_a_request_that_is_gone_and_comes_again_is_found_settled(world: World) -> None:
    world.provider.script[key(0)] = [*LATER]
    world.ask(request(0))
    slot = world.start()
    await world.until(lambda: len(world.ledger.told) == 1)
    await world.stop(slot)
    world.log.start = 1
    world.ask(request(1), request(0))
    again = world.start(from_offset=1)
    await world.until(lambda: again.queue.position == 3 and not again.ledger.under_way())
    await world.stop(again)
    assert world.provider.got in ([key(1)], [key(1), key(0)], [key(0), key(1)])
    assert len(ends(world, 0)) == 1


async def test_what_is_in_hand_is_sent_although_its_request_has_left_the_log(world: World) -> None:
    world.gate.reason = "not yet"
    world.provider.script[key(0)] = [*LATER]
    world.ask(request(0), request(1))
    slot = world.start()
    await world.until(lambda: world.gate.asked > 2)
    world.log.start = 2
    world.gate.reason = None
    await world.until(lambda: len(world.provider.got) == 1)
    await world.stop(slot)
    assert world.status(1) == ("sent", None)


async def test_what_the_log_lost_before_it_could_be_read_on_is_counted_and_what_of_it_was_listed_ends(
    world: World, counting: Counting
) -> None:
    """A slot whose hand was full reads on where the log begins by now."""
    world.bounds = Bounds(hand=5)
    world.log.away = NEVER_BACK  # the first process gets no more than its hand took in, in whatever order its calls end
    for number in range(30):
        world.provider.script[key(number)] = [Deferred(Reason.PROVIDER_AWAY, "refused", away=True)] * 10
    world.ask(*(request(number) for number in range(30)))
    first = world.start()
    await world.until(lambda: len(world.ledger.last()) == 5)
    await world.stop(first)
    world.provider.script.clear()
    world.log.away = 0
    world.gate.reason = "not yet"
    again = world.start()
    await world.until(lambda: again.queue.by_line[MARKETING].unread_from == 5)
    world.log.start = 20
    world.gate.reason = None
    await world.until(lambda: again.queue.position == 30)
    await world.stop(again)
    assert sorted(world.provider.got) == [key(number) for number in (*range(5), *range(20, 30))]
    assert counting.lost == 15


async def test_while_kafka_does_not_say_where_the_log_begins_the_rest_goes_on(world: World) -> None:
    world.provider.script[key(0)] = [*LATER]
    world.ask(request(0))
    slot = world.start()
    await world.until(lambda: len(world.ledger.told) == 1)
    await world.stop(slot)
    world.log.start = 1
    world.log.away = 2
    world.ask(request(1))
    again = world.start(from_offset=1)
    await world.until(lambda: len(world.provider.got) == 1)
    await world.as_time_goes_by(again, 10, lambda: world.status(0) == GONE)
    await world.stop(again)
