"""Releases side by side, one step back, and two releases apart: nothing lost, nothing doubled, nothing set aside.

Three releases of one stage: the first knows version 1; the second reads version 2 and still writes version 1; the third writes it.
"""

import asyncio
import random
from collections.abc import Sequence

import pytest

from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import RECORD_FAILED
from shared.contracts.versions import opened, stamped
from shared.runtime.slot import Slot
from shared.testing.counting import Counting, Item, Tally
from tests.contract.conftest import Worlds
from tests.contract.slot_worlds import World
from tests.waiting import wait_for

PEOPLE = 12


class First(Counting):
    """Knows version 1 only."""

    def load(self, raw: bytes) -> Tally:
        return super().load(opened(raw, self.reads, "a tally")[1])

    def dump(self, state: Tally) -> bytes:
        return stamped(super().dump(state), self.writes)


class Second(First):
    """Reads what the third writes."""

    reads = 2


class Third(Second):
    """Writes version 2."""

    writes = 2


def start(world: World, releases: Sequence[type[First]]) -> None:
    """All workers die; each slot gets one of a release, by chance."""
    world.crash()
    made = [release(prefix=world.stage.prefix) for release in releases]
    for partition in range(partition_count()):
        world.stage = random.choice(made)
        world.slot(partition)


async def send_and_merge(world: World, round_: int) -> None:
    for n in range(PEOPLE):
        world.put(f"a:{round_}-{n}", add=1)
        world.put(f"u:{n}", add=1)
        if n % 2:
            world.merge(f"a:{round_}-{n}", f"u:{n}")
    await world.run()


async def assert_once(world: World, rounds: int) -> None:
    world.stage = Third(prefix=world.stage.prefix)
    for n in range(PEOPLE):
        assert (await world.tally(f"u:{n}")).total == rounds * (2 if n % 2 else 1), n
    assert await world.records(RECORD_FAILED) == []


@pytest.mark.parametrize("side_by_side", [(First, Second), (Second, Third)], ids=["first and second", "second and third"])
async def test_a_rolling_deploy_mixes_releases_and_counts_all_once(worlds_in_memory: Worlds, side_by_side: Sequence[type[First]]) -> None:
    random.seed(7)
    world = await worlds_in_memory()
    older, newer = side_by_side
    rounds = [(older,), side_by_side, side_by_side, (newer,)]
    for round_, releases in enumerate(rounds):
        start(world, releases)
        await send_and_merge(world, round_)
    await assert_once(world, len(rounds))


async def test_one_step_back_reads_what_the_newer_release_left(worlds_in_memory: Worlds) -> None:
    world = await worlds_in_memory()
    for round_, release in enumerate((Second, Third, Second, Third)):
        start(world, (release,))
        await send_and_merge(world, round_)
    await assert_once(world, 4)
    assert {(await world.fields(slot(f"u:{n}")))["v"] for n in range(PEOPLE)} == {"2"}


async def waits(worker: Slot[Tally, Item], said: str) -> None:
    """Its takeover does not end, and it says why."""
    taking_over = asyncio.create_task(worker.take_over())
    await wait_for("the slot says what it waits for", lambda: worker.waits_for is not None, 30)
    assert worker.waits_for is not None
    assert said in worker.waits_for
    assert worker.token is None
    taking_over.cancel()
    await asyncio.wait([taking_over])


async def test_two_steps_back_wait_say_why_and_touch_nothing(worlds: Worlds) -> None:
    world = await worlds()
    start(world, (Third,))
    await send_and_merge(world, 0)
    before = await world.states()
    start(world, (First,))
    partition = slot("u:1")
    world.put("u:1", add=1)
    await waits(
        world.slot(partition),
        f"slot {partition} of stage folder is of version 2, written by a newer release; this one reads up to version 1",
    )
    assert await world.states() == before
    start(world, (Third,))
    await send_and_merge(world, 1)
    world.stage = Third(prefix=world.stage.prefix)
    assert (await world.tally("u:1")).total == 5
    assert await world.records(RECORD_FAILED) == []


async def test_what_a_newer_release_moves_into_a_slot_of_the_old_one_waits_there_and_is_not_set_aside(worlds: Worlds) -> None:
    """The slot itself has nothing new in it yet, so it is taken over: only the blob that came by a merge is."""
    world = await worlds()
    loser = next(f"a:{n}" for n in range(1_000) if slot(f"a:{n}") != slot("u:1"))
    first, third = First(prefix=world.stage.prefix), Third(prefix=world.stage.prefix)
    world.stage = first
    world.put("u:1", add=1)
    await world.run()
    world.stage = third
    world._slots.pop(slot(loser), None)
    world.put(loser, add=1)
    world.merge(loser, "u:1")
    running = asyncio.create_task(world.run())
    old = world.slot(slot("u:1"))
    assert old.stage is first
    await wait_for("the old release says what it waits for", lambda: old.waits_for is not None or running.done(), 30)
    assert "a tally is of version 2, written by a newer release" in (old.waits_for or "")
    running.cancel()
    await asyncio.wait([running])
    assert await world.records(RECORD_FAILED) == []
    world.crash()
    world.stage = third
    await world.run()
    assert (await world.tally("u:1")).total == 2
    assert await world.records(RECORD_FAILED) == []
