"""Work on slots beside their chunks: looking after them, catching up, rebuilding. It may last minutes, and holds no other slot up."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

Work = Callable[[], Coroutine[Any, Any, None]]
AT_ONCE: Final = 16
"""Of a stage, so many slots are worked on side by side; the others wait. Each may hold a connection and a reader's buffers."""


class Chores:
    """One task a slot at most. What it raises goes to `on_fatal`, as with the slot's own task."""

    def __init__(self, on_fatal: Callable[[BaseException], None]) -> None:
        self._on_fatal = on_fatal
        self._places = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def begin(self, partition: int, work: Work) -> bool:
        """Begin `work` on a slot; False, and nothing is begun, while something else is done to it."""
        if partition in self._tasks:
            return False
        self._tasks[partition] = asyncio.create_task(self._do(partition, work), name=f"chore:{partition}")
        return True

    async def ended(self, partition: int) -> None:
        """Returns when what is done to a slot now has ended."""
        task = self._tasks.get(partition)
        if task is not None:
            await asyncio.wait([task])

    async def drop(self, partition: int) -> None:
        """End what is done to a slot that is another's now."""
        task = self._tasks.pop(partition, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _do(self, partition: int, work: Work) -> None:
        try:
            async with self._places:
                await work()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._on_fatal(error)
        finally:
            if self._tasks.get(partition) is asyncio.current_task():
                del self._tasks[partition]
