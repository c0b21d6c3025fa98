"""Calls of the provider that a slot has under way."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from services.messaging.dispatch.class_queue import Item
from services.messaging.dispatch.decide import Go
from services.messaging.dispatch.outlets import Outlets
from services.messaging.dispatch.queue import Class
from services.messaging.domain.outcome import Outcome


@dataclass(frozen=True)
class Ended:
    """What came of one call."""

    item: Item
    go: Go
    outcome: Outcome


class Calls:
    """Each a task of its own, so that a slow one keeps no other waiting. `wake` is called when one has ended."""

    def __init__(self, outlets: Outlets, wake: Callable[[], None]) -> None:
        self._outlets, self._wake = outlets, wake
        self._tasks: dict[asyncio.Task[Outcome], tuple[Item, Go]] = {}

    def __bool__(self) -> bool:
        return bool(self._tasks)

    @property
    def any_ended(self) -> bool:
        return any(task.done() for task in self._tasks)

    def begin(self, item: Item, go: Go, place: Class, last_begin: float) -> None:
        """`place` is the call's from now on."""
        task = self._outlets.of(item.request).begin(go.message, place, last_begin)
        task.add_done_callback(lambda _: self._wake())
        self._tasks[task] = item, go

    async def wait(self, seconds: float | None = None) -> None:
        """Until one has ended, or so long."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        elif seconds is not None:
            await asyncio.sleep(seconds)

    async def ended(self, gather_s: float) -> list[Ended]:
        """Those that have ended, and those that end within `gather_s` of it; they are the caller's from now on."""
        if not self.any_ended:
            return []
        if left := [task for task in self._tasks if not task.done()]:
            await asyncio.wait(left, timeout=gather_s)
        done = [task for task in self._tasks if task.done()]
        return [Ended(*self._tasks.pop(task), task.result()) for task in done]

    async def let_through(self) -> list[Item]:
        """Wait for all; nobody records what came of them."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        left = [item for item, _ in self._tasks.values()]
        for task in self._tasks:
            task.result()
        self._tasks.clear()
        return left
