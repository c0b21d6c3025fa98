"""The slot, on fakes and on real servers: keys of it deleted, deaths while it forgets the rest, an order to be rebuilt."""

import pytest

from shared.contracts.slots import slot
from shared.runtime.ports import Fenced
from shared.testing.fakes import Crash
from tests.contract.conftest import Worlds
from tests.contract.slot_worlds import World

KEY = "u:1"


def here() -> int:
    return slot(KEY)


async def four_and_a_timer(world: World) -> None:
    for n in range(4):
        world.put(KEY, add=n, sleep_until=5_000)
        await world.run()  # the last commit is not the one that ends the takeover: it leaves an outbox


async def is_whole(world: World) -> None:
    assert ((await world.tally(KEY)).count, (await world.tally(KEY)).total) == (4, 6)
    assert len(await world.out()) == 4
    world.tick(5_000)
    await world.run()
    assert (await world.tally(KEY)).woken == 1
    assert len(await world.out()) == 5


@pytest.mark.parametrize("part", ["m", "o", "t"])
async def test_a_takeover_that_finds_a_key_of_the_slot_gone_refolds_it_whole(worlds: Worlds, part: str) -> None:
    world = await worlds()
    await four_and_a_timer(world)
    world.crash()
    await world.lose(here(), part)
    await world.slot(here()).take_over()
    await is_whole(world)


@pytest.mark.parametrize("part", ["m", "t"])
async def test_an_idle_slot_notices_that_a_key_of_it_is_gone(worlds: Worlds, part: str) -> None:
    world = await worlds()
    await four_and_a_timer(world)
    await world.lose(here(), part)
    await world.slot(here()).check()
    await is_whole(world)


async def test_a_busy_slot_notices_at_its_next_commit_that_its_timers_are_gone(worlds: Worlds) -> None:
    world = await worlds()
    for n in range(3):
        world.put(KEY, add=n, sleep_until=5_000)
    await world.run()
    await world.lose(here(), "t")
    world.put(KEY, add=3, sleep_until=5_000)
    await world.run()
    await is_whole(world)


async def test_side_blobs_and_states_of_keys_that_the_log_no_longer_has_are_forgotten_too(worlds: Worlds) -> None:
    world = await worlds()
    await four_and_a_timer(world)
    world.crash()
    await world.lose(here(), "m")
    store = world.new_store(here())
    await store.take_over("one")
    await store.forget("one", 7)
    assert (await world.states(), await world.sides(KEY), await store.first_due()) == ({}, 0, None)
    fields = dict(await world.fields(here()))
    assert (fields["rb"], fields["g"], "seq" in fields) == ("1", "7", False)


async def test_who_was_overtaken_forgets_nothing(worlds: Worlds) -> None:
    world = await worlds()
    await four_and_a_timer(world)
    store = world.new_store(here())
    before = await world.states()
    with pytest.raises(Fenced):
        await store.forget("somebody else", 1)
    assert await world.states() == before


async def test_dying_behind_the_forgetting_and_before_the_first_commit_begins_again(worlds: Worlds) -> None:
    world = await worlds()
    await four_and_a_timer(world)
    world.crash()
    store = world.new_store(here())
    await store.take_over("one")
    await store.forget("one", 0)
    for survive in (0, 1):
        world.log.read_limit, world.log.page = survive, 2
        with pytest.raises(Crash):
            await world.slot(here()).take_over()
        world.crash()
    world.log.read_limit = None
    await world.slot(here()).take_over()
    await is_whole(world)


async def test_an_order_to_rebuild_gives_the_same_states_and_publishes_nothing_again(worlds: Worlds) -> None:
    world = await worlds()
    await four_and_a_timer(world)
    before = await world.states()
    live = world.slot(here())
    for _ in range(2):  # the second time it has been done
        await live.rebuild(7)
    assert await world.states() == before
    assert len(await world.out()) == 4
    assert ((await world.fields(here()))["g"], (await world.fields(here()))["rb"]) == ("7", "0")
    await is_whole(world)


async def test_whoever_dies_on_the_way_of_a_rebuild_is_followed_by_one_who_ends_it(worlds: Worlds) -> None:
    world = await worlds()
    await four_and_a_timer(world)
    world.log.read_limit, world.log.page = 2, 1
    with pytest.raises(Crash):
        await world.slot(here()).rebuild(7)
    world.crash()
    world.log.read_limit = None
    await world.slot(here()).take_over()
    assert world.slot(here()).meta.generation == 7
    await is_whole(world)
