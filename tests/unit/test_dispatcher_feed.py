"""Slots as the process has them: a fault in one is the process's, never a slot that stands still unseen."""

import asyncio
from collections.abc import Callable

from services.messaging.adapters.requests import Slots
from services.messaging.dispatch.slot import DispatchSlot
from shared.definitions.template import Templates
from tests.unit.dispatcher_world import World, request


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
