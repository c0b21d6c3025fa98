"""Clock records: what a resolver slot may say of its progress, and that an outage cannot make time overtake the backlog."""

import asyncio

from shared.contracts.clock import decode_clock
from shared.contracts.slots import partition_count
from shared.contracts.topics import EVENT_RECEIVED, EVENT_RESOLVED
from shared.runtime.observer import Observer
from shared.runtime.slot import Slot
from shared.runtime.ticker import Ticker
from shared.testing.counting import Counting, Item, Tally
from shared.testing.fakes import FakeLog, FakeRedis


class Reading(Counting):
    """The counting stage over event.received, in the place of the resolver."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = (EVENT_RECEIVED, *self.inputs[1:])


class World:
    def __init__(self) -> None:
        self.log = FakeLog()
        self.wall = 1_700_000_000_000
        stage, redis = Reading(), FakeRedis()
        self.slots: list[Slot[Tally, Item]] = [
            Slot(stage, p, redis.store("folder", p), self.log, Observer(), group="test") for p in range(partition_count())
        ]
        self.ticker = Ticker(lambda: self.slots, self.log, lambda: self.wall)

    async def take_over(self) -> None:
        await asyncio.gather(*(slot.take_over() for slot in self.slots))

    def said(self, slot: int) -> list[int]:
        records = self.log.partitions[EVENT_RESOLVED, 0]
        clocks = [decode_clock(record.value or b"") for record in records if (record.key or b"").startswith(b"clock:")]
        return [clock.now for clock in clocks if clock.slot == slot]


async def test_at_the_end_of_its_log_a_slot_says_the_wall_clock_to_every_partition() -> None:
    world = World()
    await world.take_over()
    await world.ticker.tick()
    assert world.said(3) == [world.wall // 1000 * 1000]
    assert all(len(world.log.partitions[EVENT_RESOLVED, p]) == partition_count() for p in range(partition_count()))


async def test_after_an_outage_a_slot_says_no_later_time_than_it_has_read() -> None:
    world = World()
    await world.take_over()
    early = world.log.now
    for n in range(10):
        world.log.now = early + n * 60_000
        world.log.append(EVENT_RECEIVED, "u:1", b'{"add":1}', partition=3)
    world.wall = early + 3_600_000  # an hour passed; nothing of it has been read
    await world.ticker.tick()
    assert world.said(3) == []
    assert world.said(4) == [world.wall // 1000 * 1000]
    backlog = world.log.partitions[EVENT_RECEIVED, 3]
    assert await world.slots[3].process(EVENT_RECEIVED, backlog[:5])
    await world.ticker.tick()
    assert world.said(3) == [backlog[4].timestamp]
    assert await world.slots[3].process(EVENT_RECEIVED, backlog[5:])
    await world.ticker.tick()
    assert world.said(3) == [backlog[4].timestamp, world.wall // 1000 * 1000]


async def test_a_slot_never_says_an_earlier_time_than_before() -> None:
    world = World()
    await world.take_over()
    await world.ticker.tick()
    world.wall -= 60_000  # somebody set the clock back
    await world.ticker.tick()
    assert len(world.said(3)) == 1


async def test_a_slot_that_is_not_owned_says_nothing() -> None:
    world = World()
    await world.ticker.tick()
    assert world.log.records(EVENT_RESOLVED) == []
