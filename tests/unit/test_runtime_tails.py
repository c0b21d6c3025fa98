"""Slots of one process that are taken over together read the ends of their output topics together."""

import asyncio
from collections import Counter

import pytest

from shared.contracts.slots import partition_count
from shared.runtime.ports import LogAway
from shared.runtime.published import SharedTails, Tails
from shared.runtime.stage import Record
from shared.testing.counting import OUT
from shared.testing.fakes import FakeLog
from tests.unit.counting_world import World


class Counted(FakeLog):
    """Gives way at each read, as a log over the network does, and counts the records read of each topic."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()
        self.fails = 0
        self.reading = asyncio.Event()

    async def read(self, topic: str, partition: int, start: int, end: int) -> tuple[list[Record], int]:
        self.reading.set()
        await asyncio.sleep(0)
        if self.fails:
            self.fails -= 1
            raise LogAway("not now")
        records, following = await super().read(topic, partition, start, end)
        self.seen[topic] += len(records)
        return records, following


async def worked() -> tuple[World, Counted]:
    world = World()
    world.log = log = Counted()
    for n in range(40):
        world.put(f"u:{n}", add=n)
    await world.run()
    log.seen.clear()
    log.reading.clear()
    return world, log


async def test_eight_slots_are_served_by_one_pass_or_two() -> None:
    world, log = await worked()
    alone = [await Tails(log, world.stage).newest(partition, {}) for partition in range(partition_count())]
    assert log.seen[OUT] == 40 * partition_count()
    log.seen.clear()
    tails = SharedTails(log, world.stage)
    together = await asyncio.gather(*(tails.newest(partition, {}) for partition in range(partition_count())))
    assert log.seen[OUT] == 40
    assert [(newest.lanes(), ends) for newest, ends in together] == [(newest.lanes(), ends) for newest, ends in alone]


async def test_one_that_asks_in_the_middle_of_a_pass_gets_one_from_its_own_position() -> None:
    world, log = await worked()
    tails = SharedTails(log, world.stage)
    first = asyncio.create_task(tails.newest(0, {}))
    await log.reading.wait()
    second, ends = await tails.newest(1, {})
    expected, _ = await Tails(log, world.stage).newest(1, {})
    assert second.lanes() == expected.lanes()
    assert (await first)[1] == ends


async def test_a_slot_that_goes_away_does_not_take_the_others_pass_with_it() -> None:
    world, log = await worked()
    tails = SharedTails(log, world.stage)
    gone, stays = (asyncio.create_task(tails.newest(partition, {})) for partition in (0, 1))
    await log.reading.wait()
    gone.cancel()
    expected, _ = await Tails(log, world.stage).newest(1, {})
    assert (await stays)[0].lanes() == expected.lanes()


async def test_a_log_that_does_not_answer_is_told_to_all_who_ask_and_asked_again() -> None:
    world, log = await worked()
    tails = SharedTails(log, world.stage)
    log.fails = 1
    answers = await asyncio.gather(*(tails.newest(partition, {}) for partition in range(2)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [LogAway, LogAway]
    assert (await tails.newest(0, {}))[1]
    log.away = True
    with pytest.raises(LogAway):
        await tails.newest(0, {})
