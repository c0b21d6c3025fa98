"""A store's own threads, so that a slow store stalls nobody who does not need it; and one look at a store that never waits long.

Threads that wait for a store that does not answer come back when its client gives up. Until then a pool has fewer of them, and who finds
neither a thread nor a place to wait for one is told to come back. One query key has half of a pool at most, so another finds room.
"""

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Generic, ParamSpec, TypeVar

from shared.reading.away import Busy, HistoryAway, HistoryTooMuch, LiveAway, LogAway

P = ParamSpec("P")
T = TypeVar("T")

GLANCE_SECONDS: Final = 0.8
"""So long a readiness check or the status waits for a store; with what else they do it stays below a second."""
WAITING: Final = 32
"""So many calls of each kind wait for a thread, unless chosen otherwise."""
asker: ContextVar[str | None] = ContextVar("asker", default=None)
"""The id of the query key that a call is made for; None for what is done for all."""


@dataclass(eq=False, slots=True)
class _Call:
    asker: str | None
    future: "Future[Any]"
    work: Callable[[], Any]


class Pool:
    """`threads` calls of one kind at a time, and `waiting` more that wait for a thread. `name` is for metrics, `store` for people.

    One key has half of the threads at most, and half of the places to wait, rounded up.
    """

    def __init__(self, name: str, store: str, threads: int, waiting: int) -> None:
        self.name, self.store = name, store
        self._threads, self._waiting = threads, waiting
        self._running: Counter[str | None] = Counter()
        self._queue: deque[_Call] = deque()
        self._closed = False
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=f"query-{name}")

    async def run(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """What `work` answers. Raises Busy: there is no thread, and no place to wait for one, or none for this key."""
        call = _Call(asker.get(), Future(), lambda: work(*args, **named))
        with self._lock:
            if self._closed or not (self._may_run(call.asker) or self._may_wait(call.asker)):
                raise Busy(self.name, self.store)
            self._queue.append(call)
            self._fill()
        call.future.add_done_callback(lambda _: self._forget(call))  # a caller that goes away frees its place to wait, but no thread
        answer: T = await asyncio.wrap_future(call.future)
        return answer

    def _may_run(self, key: str | None) -> bool:
        return self._running.total() < self._threads and (key is None or self._running[key] < _half(self._threads))

    def _may_wait(self, key: str | None) -> bool:
        ours = sum(call.asker == key for call in self._queue)
        return len(self._queue) < self._waiting and (key is None or ours < _half(self._waiting))

    def _fill(self) -> None:
        """Give threads to those who wait and may run, the first first."""
        for call in list(self._queue):
            if self._may_run(call.asker):
                self._queue.remove(call)
                self._running[call.asker] += 1
                self._executor.submit(self._do, call)

    def _do(self, call: _Call) -> None:
        answer, failed = None, None
        try:
            if call.future.set_running_or_notify_cancel():
                answer = call.work()
        except BaseException as error:  # it is raised where the answer is awaited
            failed = error
        self._left(call.asker)  # before anybody learns of the answer, and asks the next
        if failed is not None:
            call.future.set_exception(failed)
        elif not call.future.cancelled():
            call.future.set_result(answer)

    def _left(self, key: str | None) -> None:
        with self._lock:
            self._running[key] -= 1
            if not self._running[key]:
                del self._running[key]
            if not self._closed:
                self._fill()

    def _forget(self, call: _Call) -> None:
        with self._lock:
            if call in self._queue:
                self._queue.remove(call)

    def close(self) -> None:
        """Take no more calls. Those that have not begun are given up."""
        with self._lock:
            self._closed = True
            waiting = list(self._queue)
        for call in waiting:
            call.future.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)


def _half(number: int) -> int:
    return (number + 1) // 2


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
        asker.set(None)  # of its own task: the look is for all
        try:
            return await self._look()
        except self._away:
            return None
