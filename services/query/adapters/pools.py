"""A store's own threads, so that a slow store stalls nobody who does not need it; and one look at a store that never waits long.

Threads that wait for a store that does not answer come back when its client gives up. Until then a pool has fewer of them, and who finds
neither a thread nor a place to wait for one is told to come back.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Generic, ParamSpec, TypeVar

from services.query.domain.reasons import Busy, HistoryAway, HistoryTooMuch, LiveAway, LogAway

P = ParamSpec("P")
T = TypeVar("T")

GLANCE_SECONDS: Final = 0.8
"""So long a readiness check or the status waits for a store; with what else they do it stays below a second."""
WAITING: Final = 16
"""So many calls of each kind wait for a thread, unless chosen otherwise."""


class Pool:
    """`threads` calls of one kind at a time, and `waiting` more that wait for a thread. `name` is for metrics, `store` for people."""

    def __init__(self, name: str, store: str, threads: int, waiting: int) -> None:
        self.name, self.store = name, store
        self._most = threads + waiting
        self._inside = 0
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=f"query-{name}")

    async def run(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """What `work` answers. Raises Busy: there is no thread, and no place to wait for one."""
        with self._lock:
            if self._inside >= self._most:
                raise Busy(self.name, self.store)
            self._inside += 1
        try:
            future = self._executor.submit(work, *args, **named)
        except BaseException:
            self._left()
            raise
        future.add_done_callback(self._left)  # not when the caller goes away: the thread still waits for the store then
        return await asyncio.wrap_future(future)

    def _left(self, _: "Future[T] | None" = None) -> None:
        with self._lock:
            self._inside -= 1

    def close(self) -> None:
        """Take no more calls. Those that have not begun are given up."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class Glance(Generic[T]):
    """One look at a store at a time, shared by all who ask; nobody waits longer than GLANCE_SECONDS for it."""

    def __init__(self, look: Callable[[], Awaitable[T]], *more: type[Exception]) -> None:
        """`more`: exceptions that mean that the store does not answer, beside the usual ones."""
        self._look = look
        self._away: tuple[type[Exception], ...] = (LiveAway, LogAway, HistoryAway, HistoryTooMuch, Busy, *more)
        self._under_way: asyncio.Task[T | None] | None = None

    async def __call__(self) -> T | None:
        """What was seen; None if the store did not answer in time."""
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._seen())
        done, _ = await asyncio.wait({self._under_way}, timeout=GLANCE_SECONDS)
        return done.pop().result() if done else None

    async def _seen(self) -> T | None:
        try:
            return await self._look()
        except self._away:
            return None
