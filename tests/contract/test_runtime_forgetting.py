"""The slot, on fakes and on real servers: keys of it deleted, deaths while it forgets the rest, an order to be rebuilt."""

import asyncio
from collections.abc import Callable

import pytest

from shared.contracts.rebuilds import Ordered
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


async def test_a_live_slot_does_not_miss_the_outbox_that_it_has_published(worlds_in_memory: Worlds) -> None:
    world = await worlds_in_memory()
    await four_and_a_timer(world)
    world.log.begins[world.stage.inputs[0], here()] = 2
    await world.lose(here(), "o")
    commits = world.commits
    await world.slot(here()).check()
    assert world.commits == commits, "nothing had to be made good"
    world.put(KEY, add=0, sleep_until=5_000)
    await world.run()
    world.crash()
    await world.slot(here()).take_over()
    assert (await world.tally(KEY)).count == 5
    assert len(await world.out()) == 5


async def test_a_busy_slot_notices_at_its_next_commit_that_its_timers_are_gone(worlds: Worlds) -> None:
    world = await worlds()
    for n in range(3):
        world.put(KEY, add=n, sleep_until=5_000)
    await world.run()
    await world.lose(here(), "t")
    world.put(KEY, add=3, sleep_until=5_000)
    await world.run()
    await is_whole(world)


async def with_many_timers(world: World) -> list[str]:
    """Somebody sleeps, somebody does not, somebody was merged away: sorted keys that are to be woken."""
    for n in range(40):
        world.put(f"u:{n}", add=1, sleep_until=5_000 + n if n % 3 else 0)
    world.merge("u:1", "u:2")
    await world.run()
    return sorted(f"u:{n}" for n in range(40) if n % 3 and n != 1)


async def woken(world: World) -> list[str]:
    return sorted([f"u:{n}" for n in range(40) if n != 1 and (await world.tally(f"u:{n}")).woken == 1])


async def test_lost_timers_are_made_again_from_the_states_and_nothing_is_forgotten(worlds: Worlds) -> None:
    """The log has lost its beginning: whoever forgot would lose history."""
    world = await worlds()
    wanted = await with_many_timers(world)
    slots = sorted({slot(key) for key in wanted})
    before = await world.states()
    for partition in slots:
        world.log.begins[world.stage.inputs[0], partition] = 1
        await world.lose(partition, "t")
        await world.slot(partition).check()
    assert await world.states() == before
    assert await woken(world) == []
    world.tick(6_000)
    await world.run()
    assert await woken(world) == wanted


async def test_a_store_makes_timers_again_for_its_owner_only_and_knows_whether_it_keeps_anything(worlds: Worlds) -> None:
    world = await worlds()
    store = world.new_store(here())
    await store.take_over("one")
    assert not await store.keeps_anything()
    await with_many_timers(world)
    world.crash()
    first = await store.first_due()
    await store.take_over("two")
    assert await store.keeps_anything()
    for call in (store.restore_timers("one"), store.hold("one", 1)):
        with pytest.raises(Fenced):
            await call
    await world.lose(here(), "t")
    await store.restore_timers("two")
    assert (await store.first_due(), await store.damage()) == (first, None)
    await store.hold("two", 7)
    assert (await world.fields(here()))["hg"] == "7"
    await store.hold("two", None)
    assert "hg" not in await world.fields(here())


async def stands_still(world: World, meanwhile: Callable[[], None]) -> str:
    """What a slot says that cannot be taken over until something happens `meanwhile`."""
    slot_ = world.slot(here())
    taking = asyncio.create_task(slot_.take_over())
    async with asyncio.timeout(20):
        while slot_.waits_for is None:  # noqa: ASYNC110 - a slot tells nobody that it waits
            await asyncio.sleep(0.01)
        told = slot_.waits_for
        meanwhile()
        assert await taking
    return told


@pytest.mark.parametrize("part", ["m", "o"])
async def test_where_the_log_has_lost_its_beginning_a_part_that_is_gone_is_told_and_nothing_is_forgotten_unasked(
    worlds_in_memory: Worlds, part: str
) -> None:
    world = await worlds_in_memory()
    await four_and_a_timer(world)
    world.crash()
    world.standing = Ordered(3, 3)  # done long ago
    world.log.begins[world.stage.inputs[0], here()] = 2
    await world.lose(here(), part)

    def order() -> None:
        world.standing = Ordered(7, 7)

    told = await stands_still(world, order)
    assert "rapport rebuild profile" in told
    assert f"{world.stage.inputs[0]}[{here()}] begins at 2" in told
    assert (await world.fields(here()))["g"] == "7"
    assert (await world.tally(KEY)).count == 2, "the order was carried out: what the log has"


async def test_an_order_that_does_not_accept_the_loss_leaves_a_slot_that_lost_a_part_as_it_is(worlds_in_memory: Worlds) -> None:
    world = await worlds_in_memory()
    await four_and_a_timer(world)
    world.crash()
    world.log.begins[world.stage.inputs[0], here()] = 2
    await world.lose(here(), "o")
    before = await world.states()
    taking = asyncio.create_task(world.slot(here()).take_over())

    async def tried_again() -> None:
        """It has looked once more since the last order was given."""
        asked = world.asked
        while world.asked < asked + 2 and not taking.done():  # noqa: ASYNC110 - a slot tells nobody that it waits
            await asyncio.sleep(0.01)

    async with asyncio.timeout(30):
        await tried_again()
        world.standing = Ordered(7)
        await tried_again()
        assert not taking.done()
        assert await world.states() == before
        world.standing = Ordered(9, 8)
        assert await taking
    assert (await world.fields(here()))["g"] == "9"
    assert (await world.tally(KEY)).count == 2


async def test_a_backup_put_back_ends_the_standing_still(worlds_in_memory: Worlds) -> None:
    world = await worlds_in_memory()
    await four_and_a_timer(world)
    copy = await world.snapshot()
    world.crash()
    world.log.begins[world.stage.inputs[0], here()] = 2
    await world.lose(here(), "m")
    slot_ = world.slot(here())
    taking = asyncio.create_task(slot_.take_over())
    async with asyncio.timeout(20):
        while slot_.waits_for is None:  # noqa: ASYNC110 - a slot tells nobody that it waits
            await asyncio.sleep(0.01)
        await world.restore(copy)
        assert await taking
    assert "hg" not in await world.fields(here())
    await is_whole(world)


async def test_an_emptied_slot_is_folded_from_what_the_log_has_though_it_has_lost_its_beginning(worlds_in_memory: Worlds) -> None:
    world = await worlds_in_memory()
    await four_and_a_timer(world)
    world.crash()
    world.log.begins[world.stage.inputs[0], here()] = 2
    await world.flush()
    await world.slot(here()).take_over()
    assert (await world.tally(KEY)).count == 2


async def test_what_is_folded_anew_for_a_loss_is_not_folded_again_for_an_order_of_before(worlds: Worlds) -> None:
    world = await worlds()
    await four_and_a_timer(world)
    await world.slot(here()).rebuild(7)
    world.standing = Ordered(7)
    world.crash()
    await world.flush()
    await world.slot(here()).take_over()
    commits = world.commits
    await world.slot(here()).rebuild(7)
    assert world.commits == commits
    assert world.slot(here()).meta.generation == 7
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
