"""One feeder hands chunks to all slots of a stage: a slot that stands still keeps no other waiting, and misses nothing."""

import asyncio
from types import SimpleNamespace
from typing import Any

from shared.contracts.slots import slot
from shared.runtime.observer import Observer
from shared.runtime.settings import RuntimeSettings
from shared.runtime.stage_worker import QUEUED_CHUNKS, StageWorker
from shared.testing.counting import IN, Counting
from tests.unit.counting_world import World

DEADLINE_S = 20.0
ONE = "u:1"
OTHER = next(f"u:{number}" for number in range(100) if slot(f"u:{number}") != slot(ONE))


class Chunk:
    """What the transport hands over: records of one partition, to be acknowledged by hand."""

    def __init__(self, topic: str, partition: int, records: list[Any]) -> None:
        self.topic, self.partition, self.records = topic, partition, records

    def ack(self, consumer: Any) -> None:
        consumer.acked.append((self.partition, self.records[-1].offset))


def worker_over(world: World) -> StageWorker:
    settings = RuntimeSettings(kafka_bootstrap="none:1", redis_url="redis://none")
    worker = StageWorker(Counting(), settings, world.log, world.redis.store, Observer(), world_ended)
    worker.app = SimpleNamespace(consumer=SimpleNamespace(unacked=set(), acked=[]))
    for key in (ONE, OTHER):
        worker._open(slot(key))
    return worker


def world_ended(reason: BaseException) -> None:
    raise AssertionError(reason)


def chunk(world: World, key: str) -> Any:
    """The newest record of `key`, as a chunk."""
    record = world.log.partitions[IN, slot(key)][-1]
    return Chunk(topic=IN, partition=slot(key), records=[record])


async def until(holds: Any) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110 - a slot tells nobody when it has moved
            await asyncio.sleep(0.01)


async def test_a_slot_that_stands_still_keeps_no_other_waiting_and_reads_later_what_was_left_out() -> None:
    world = World()
    worker = worker_over(world)
    still, moving = worker.slots[slot(ONE)], worker.slots[slot(OTHER)]
    await until(lambda: still.token is not None and moving.token is not None)
    many = QUEUED_CHUNKS + 5
    async with still.lock:
        still.braked = "for the test"
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(many):
                world.put(ONE, add=1)
                await worker._feed(chunk(world, ONE))
            world.put(OTHER, add=1)
            await worker._feed(chunk(world, OTHER))
        await until(lambda: moving.position[IN] == len(world.log.partitions[IN, slot(OTHER)]))
        still.braked = None
    await until(lambda: still.position[IN] == many)
    assert world.tally(ONE).count == many
    for partition in list(worker.slots):
        await worker._drop(partition)


async def test_where_all_stand_still_nothing_is_left_out() -> None:
    """As at a start, or while Redis is away: nobody starves, so what the broker has stays there until somebody can take it."""
    world = World()
    worker = worker_over(world)
    one, other = worker.slots[slot(ONE)], worker.slots[slot(OTHER)]
    await until(lambda: one.token is not None and other.token is not None)
    async with one.lock, other.lock:
        one.braked = other.braked = "for the test"
        for _ in range(QUEUED_CHUNKS + 1):  # one is in hand
            world.put(ONE, add=1)
            await worker._feed(chunk(world, ONE))
            await asyncio.sleep(0)
        world.put(ONE, add=1)
        waiting = asyncio.create_task(worker._feed(chunk(world, ONE)))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        one.braked = other.braked = None
    async with asyncio.timeout(DEADLINE_S):
        await waiting
    for partition in list(worker.slots):
        await worker._drop(partition)


async def test_a_busy_slot_is_waited_for() -> None:
    world = World()
    worker = worker_over(world)
    busy = worker.slots[slot(ONE)]
    await until(lambda: busy.token is not None)
    async with busy.lock:
        for _ in range(QUEUED_CHUNKS + 1):  # one is in hand
            world.put(ONE, add=1)
            await worker._feed(chunk(world, ONE))
            await asyncio.sleep(0)
        world.put(ONE, add=1)
        waiting = asyncio.create_task(worker._feed(chunk(world, ONE)))
        await asyncio.sleep(0.05)
        assert not waiting.done()
    async with asyncio.timeout(DEADLINE_S):
        await waiting
    await until(lambda: busy.position[IN] == QUEUED_CHUNKS + 2)
    for partition in list(worker.slots):
        await worker._drop(partition)
