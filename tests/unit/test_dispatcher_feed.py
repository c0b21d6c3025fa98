"""Slots as the process has them: a fault in one is the process's, never a slot that stands still unseen."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from services.messaging.adapters.requests import Slots
from services.messaging.dispatch.slot import DispatchSlot
from shared.definitions.template import Templates
from tests.unit.dispatcher_world import World, request, write_templates


async def test_an_exception_of_a_slot_goes_to_the_process_which_ends() -> None:
    world = World(Templates([]))
    world.ask(request(1))
    fatal: list[BaseException] = []
    ended = asyncio.Event()

    def on_fatal(error: BaseException) -> None:
        fatal.append(error)
        ended.set()

    def make(partition: int, wanted: Callable[[], bool]) -> DispatchSlot:
        return world.slot(wanted)

    async def fault(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    world.caps.missing = fault  # type: ignore[method-assign]
    slots = Slots(make, on_fatal, 1.0)
    await slots.take([0])
    slots.running[0].receive(world.records)
    await asyncio.wait_for(ended.wait(), 10)
    assert [str(error) for error in fatal] == ["a fault of ours"]
    assert slots.running[0].ready
    await slots.give_up([0])


@pytest.mark.parametrize("turns", range(8))
async def test_a_slot_that_is_given_up_ends_although_news_comes_in_the_same_turn(tmp_path: Path, turns: int) -> None:
    """It must not go on to settle messages that are another's by now."""
    world = World(write_templates(tmp_path))
    world.provider.hold = asyncio.Event()
    world.ask(request(1))
    slot = world.start()
    (task,) = world.tasks
    await world.until(lambda: bool(world.ledger.entries) and world.status(1)[0] == "sending")
    for _ in range(20):
        await asyncio.sleep(0)
    world.wanted.clear()
    slot.stop()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    ended, _ = await asyncio.wait([task], timeout=1)
    world.provider.hold.set()
    assert ended
    assert task.cancelled()
    slot.close()
