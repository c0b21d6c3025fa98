"""Looking after slots: figures go on whatever is done to one, what stands still is found, what nobody brings is read."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import partial
from types import SimpleNamespace

import pytest

from shared.contracts.rebuilds import RebuildChanged, View
from shared.contracts.slots import slot
from shared.runtime.observer import Observer
from shared.runtime.ports import Halted
from shared.testing.counting import IN, IN_TWO
from shared.worker import watchdog as watchdogs
from shared.worker.chores import AT_ONCE, Chores
from shared.worker.rebuilder import rebuild_next
from shared.worker.stage_worker import QUEUED_CHUNKS, StageWorker
from shared.worker.watchdog import PATIENCE, QUIET_S, Watchdog
from tests.unit.counting_world import World
from tests.unit.feeding_world import DEADLINE_S, ONE, OTHER, GatedLog, chunk, dropped, taken_over, until, worker_over

STALL_S = 60.0


class Figures(Observer):
    """How often the figures of the slots were told."""

    def __init__(self) -> None:
        self.told = 0

    def slots(self, stage: str, owned: int, rebuilding: int, lag: Mapping[str, int], lag_seconds: float) -> None:
        self.told += 1


class Watched:
    """A worker over a log that can be shut, its watchdog, and the watchdog's clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = World()
        self.log = self.world.log = GatedLog()
        self.figures = Figures()
        self.fatal: list[BaseException] = []
        self.worker = worker_over(self.world, self.figures, self.fatal.append)
        self.dog = Watchdog([self.worker], self.log, self._ping, self.figures, STALL_S)
        self.now = 1000.0
        monkeypatch.setattr(watchdogs, "time", SimpleNamespace(monotonic=lambda: self.now, time=lambda: 0.0))

    async def _ping(self) -> None:
        return

    async def look(self, after_s: float = 0.0) -> None:
        """Raises Halted. What the look has begun may go on."""
        self.now += after_s
        async with asyncio.timeout(DEADLINE_S):  # it must wait for no slot
            await self.dog._look(self.worker)
        await asyncio.sleep(0)

    async def refolding(self, key: str, records: int) -> asyncio.Semaphore:
        """A slot has lost all, and folds `records` again, one each time the answer is released."""
        for _ in range(records):
            self.world.put(key, add=1)
        await taken_over(self.worker)
        partition = slot(key)
        assert await self.worker.slots[partition].process(IN, self.log.partitions[IN, partition])
        gate = self.log.shut[partition] = asyncio.Semaphore(0)
        del self.world.redis.slots["folder", partition]
        await self.look()
        await until(lambda: partition in self.log.asked)
        return gate


@pytest.fixture
async def watched(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    made = Watched(monkeypatch)
    yield made
    await dropped(made.worker)


async def test_a_slot_that_refolds_holds_up_neither_the_figures_nor_the_look_at_the_others(watched: Watched) -> None:
    gate = await watched.refolding(ONE, 3)
    told = watched.figures.told
    other = watched.worker.slots[slot(OTHER)]
    before = other.token
    del watched.world.redis.slots["folder", slot(OTHER)]
    await watched.look(2.0)
    assert watched.figures.told == told + 1
    await until(lambda: other.token not in (None, before))
    for _ in range(100):
        gate.release()
    await until(lambda: watched.world.tally(ONE).count == 3)
    assert not watched.fatal


async def test_a_slot_that_refolds_for_long_is_no_stall_and_one_that_stands_still_at_it_is(watched: Watched) -> None:
    gate = await watched.refolding(ONE, 6)
    partition = slot(ONE)
    live = watched.worker.slots[partition]
    for offset in range(5):
        await watched.look(0.7 * STALL_S)
        gate.release()
        await until(lambda offset=offset: live.position[IN] > offset)  # type: ignore[misc]
    await watched.look(0.7 * STALL_S)
    await watched.look(0.7 * STALL_S)
    with pytest.raises(Halted, match=f"slots {partition}: no progress"):
        await watched.look(0.7 * STALL_S)


async def test_a_slot_that_waits_for_its_turn_while_another_refolds_does_not_end_the_process_within_a_minute(watched: Watched) -> None:
    gate = await watched.refolding(ONE, 6)
    live = watched.worker.slots[slot(ONE)]
    watched.world.put(OTHER, add=1)  # and nobody brings it
    for offset in range(5):
        await watched.look(0.7 * STALL_S)
        gate.release()
        await until(lambda offset=offset: live.position[IN] > offset)  # type: ignore[misc]
    told = watched.dog.standing("folder")
    assert told is not None, "not ready"
    assert f"slots [{slot(OTHER)}]" in told
    watched.log.shut.clear()
    gate.release()
    await until(lambda: live.position[IN] == 6)
    assert await watched.worker.slots[slot(OTHER)].process(IN, watched.log.partitions[IN, slot(OTHER)])
    await watched.look(1.0)
    assert watched.dog.standing("folder") is None


async def test_a_slot_that_never_moves_is_found_though_others_do(watched: Watched) -> None:
    await taken_over(watched.worker)
    live = watched.worker.slots[slot(ONE)]
    watched.world.put(OTHER, add=1)
    await watched.look()
    for _ in range(PATIENCE):
        watched.world.put(ONE, add=1)
        assert await live.process(IN, watched.log.partitions[IN, slot(ONE)][live.position[IN] :])
        await watched.look(STALL_S)
    with pytest.raises(Halted, match=rf"slots {slot(OTHER)}: no progress"):
        await watched.look(1.0)


async def test_where_no_slot_of_a_stage_moves_the_process_ends_after_a_minute(watched: Watched) -> None:
    await taken_over(watched.worker)
    watched.world.put(ONE, add=1)
    watched.world.put(OTHER, add=1)
    await watched.look()
    await watched.look(0.7 * STALL_S)
    with pytest.raises(Halted, match="no progress"):
        await watched.look(0.7 * STALL_S)


async def test_who_is_starved_is_told_to_the_feeder_and_a_busy_slot_is_not_waited_for_meanwhile(watched: Watched) -> None:
    await taken_over(watched.worker)
    worker, world = watched.worker, watched.world
    busy, starved = worker.slots[slot(ONE)], worker.slots[slot(OTHER)]
    world.put(OTHER, add=1)
    waiting = chunk(world, OTHER)
    await watched.look()
    async with busy.lock:
        for _ in range(QUEUED_CHUNKS + 1):  # one is in hand
            world.put(ONE, add=1)
            await worker._feed(chunk(world, ONE))
            await asyncio.sleep(0)
        await watched.look(QUIET_S + 1)
        async with asyncio.timeout(DEADLINE_S):
            world.put(ONE, add=1)
            await worker._feed(chunk(world, ONE))
            await worker._feed(waiting)
        await until(lambda: starved.position[IN] == 1)
        await watched.look(1.0)
        assert not worker.starving
    await until(lambda: busy.position[IN] == QUEUED_CHUNKS + 2)
    assert world.tally(ONE).count == QUEUED_CHUNKS + 2


async def test_an_input_that_nobody_brings_is_read_though_clocks_come_on_the_other(watched: Watched) -> None:
    await taken_over(watched.worker)
    live = watched.worker.slots[slot(ONE)]
    watched.log.append(IN_TWO, ONE, b'{"add": 1}')
    live.release()
    assert await live.take_over()
    for n in range(int(QUIET_S) + 2):
        assert live.position[IN_TWO] == 0, "the consumer may bring it yet"
        watched.world.tick(n + 1)
        records = watched.log.partitions[IN, slot(ONE)]
        assert await live.process(IN, records[live.position[IN] :])
        await watched.look(1.0)
    await until(lambda: live.position[IN_TWO] == 1)
    await until(lambda: not live.meta.rebuilding)
    assert watched.world.tally(ONE).count == 1


async def test_what_was_left_out_is_read_if_nobody_else_brings_it(watched: Watched) -> None:
    await taken_over(watched.worker)
    live = watched.worker.slots[slot(ONE)]
    watched.world.put(ONE, add=1)
    live.leave_out(IN, watched.log.partitions[IN, slot(ONE)])
    await watched.look()
    await watched.look(QUIET_S + 1)
    await until(lambda: live.position[IN] == 1)


async def test_timers_that_fire_for_long_at_one_clock_are_no_stall(watched: Watched) -> None:
    await taken_over(watched.worker)
    live = watched.worker.slots[slot(ONE)]
    watched.world.put(ONE, add=1)
    async with live.lock:  # it is at it
        live.meta.fired = (0, 0)
        for _ in range(5):
            live.meta.seq += 1
            await watched.look(0.7 * STALL_S)
        await watched.look(0.7 * STALL_S)
        with pytest.raises(Halted, match="no progress"):
            await watched.look(0.7 * STALL_S)


async def test_what_goes_wrong_while_a_slot_is_looked_after_ends_the_process(watched: Watched) -> None:
    world = watched.world
    world.put(ONE, add=1)
    await taken_over(watched.worker)
    live = watched.worker.slots[slot(ONE)]
    assert await live.process(IN, world.log.partitions[IN, slot(ONE)])
    world.log.partitions[IN, slot(ONE)].clear()  # Kafka lost its tail
    world.redis.slots["folder", slot(ONE)].fields["seq"] = "0"
    await watched.look()
    await until(lambda: bool(watched.fatal))
    assert isinstance(watched.fatal[0], Halted)


async def test_what_is_done_to_a_slot_that_goes_is_ended(watched: Watched) -> None:
    await watched.refolding(ONE, 3)
    live = watched.worker.slots[slot(ONE)]
    async with asyncio.timeout(DEADLINE_S):
        await watched.worker._drop(slot(ONE))
    assert live.token is None
    assert not live.lock.locked()
    assert not watched.fatal


class Ordered:
    """One order to rebuild profile."""

    def ordered(self, view: View) -> RebuildChanged | None:
        return RebuildChanged(id="1", view=View.PROFILE, generation=7, asked_at=0, asked_by="ops") if view is View.PROFILE else None


async def test_an_order_is_carried_out_slot_by_slot_and_let_go_of_with_a_slot_that_goes(watched: Watched) -> None:
    worker: StageWorker = watched.worker
    gate = await watched.refolding(ONE, 3)
    ordered = asyncio.create_task(rebuild_next(worker, Ordered()))
    other = worker.slots[slot(OTHER)]
    if slot(ONE) < slot(OTHER):
        await asyncio.sleep(0)
        assert other.meta.generation == 0, "one slot at a time"
    await worker._drop(slot(ONE))
    async with asyncio.timeout(DEADLINE_S):
        await ordered
    assert other.meta.generation == 7
    assert gate.locked()


async def test_one_thing_at_a_time_is_done_to_a_slot(watched: Watched) -> None:
    await taken_over(watched.worker)
    live, done = watched.worker.slots[slot(ONE)], []
    waits = asyncio.Event()

    async def work(name: str) -> None:
        await waits.wait()
        done.append(name)

    watched.worker.tend(live, partial(work, "first"))
    watched.worker.tend(live, partial(work, "left out"))
    last = asyncio.create_task(watched.worker.finish(live, partial(work, "last")))
    await asyncio.sleep(0)
    waits.set()
    async with asyncio.timeout(DEADLINE_S):
        await last
    assert done == ["first", "last"]


async def test_of_many_slots_some_are_worked_on_and_each_gets_its_turn() -> None:
    fatal: list[BaseException] = []
    chores, begun, going = Chores(fatal.append), [], asyncio.Event()

    async def work(partition: int) -> None:
        begun.append(partition)
        await going.wait()

    for partition in range(AT_ONCE + 5):
        assert chores.begin(partition, partial(work, partition))
    await asyncio.sleep(0)
    assert len(begun) == AT_ONCE
    async with asyncio.timeout(DEADLINE_S):
        await chores.drop(AT_ONCE + 1)
        going.set()
        for partition in range(AT_ONCE + 5):
            await chores.ended(partition)
    assert sorted(begun) == [partition for partition in range(AT_ONCE + 5) if partition != AT_ONCE + 1]
    assert not fatal
