"""One feeder hands chunks to all slots of a stage: a slot that stands still keeps no other waiting, and misses nothing."""

import asyncio
from types import SimpleNamespace

import pytest

from shared.contracts.slots import slot
from shared.runtime import applying
from shared.runtime import slot as slots
from shared.runtime.slot import SHORT_REREADING_S
from shared.testing.counting import IN, IN_TWO
from shared.worker.stage_worker import QUEUED_CHUNKS
from tests.unit.counting_world import World
from tests.unit.feeding_world import DEADLINE_S, ONE, OTHER, GatedLog, chunk, dropped, taken_over, until, worker_over


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
    await dropped(worker)


async def test_a_slot_that_goes_its_way_again_in_many_short_turns_keeps_no_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    log = world.log = GatedLog()
    now = [1000.0]
    for module in (applying, slots):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    worker = worker_over(world)
    refolding, moving = worker.slots[slot(ONE)], worker.slots[slot(OTHER)]
    await taken_over(worker)
    turns = 8
    for n in range(turns):
        for topic in (IN, IN_TWO):
            record = log.append(topic, ONE, b'{"add": 1}')
            assert await refolding.process(topic, log.partitions[topic, slot(ONE)][record.offset :]), n
    gate = log.shut[slot(ONE)] = asyncio.Semaphore(0)
    del world.redis.slots["folder", slot(ONE)]
    checking = asyncio.create_task(refolding.check())
    for n in range(turns - 1):
        gate.release()
        await until(lambda n=n: refolding.token is not None and refolding.position[IN] == n + 1)  # type: ignore[misc]
        now[0] += SHORT_REREADING_S / 2
    async with asyncio.timeout(DEADLINE_S):
        for _ in range(QUEUED_CHUNKS + 5):
            world.put(ONE, add=1)
            await worker._feed(chunk(world, ONE))
        world.put(OTHER, add=1)
        await worker._feed(chunk(world, OTHER))
    await until(lambda: moving.position[IN] == 1)
    log.shut.clear()
    gate.release()
    await checking
    await until(lambda: world.tally(ONE).count == 2 * turns + QUEUED_CHUNKS + 5)
    await dropped(worker)


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
    await dropped(worker)


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
    await dropped(worker)
