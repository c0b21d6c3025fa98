"""Starts every part in order, starts again what ended, and drains in the reverse order."""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import groupby
from pathlib import Path

from deploy.local.parts import Step
from deploy.local.process import MissingError, NotReadyError, Process
from deploy.local.words import how_it_ended, why_ended
from shared.adapters.waiting import until_set
from shared.runtime.backoff import Backoff

POLL_SECONDS = 0.2
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
CALM_SECONDS = 60.0
"""A part that ran this long starts with the shortest pause again."""
ATTEMPTS_AT_START = 3


class StartError(Exception):
    """A part could not be started; the message says which, why, and what to do."""


class Supervisor:
    """The running system. `say(text)` is told everything that a person should know; it is called from the event loop."""

    def __init__(self, steps: Iterable[Step], say: Callable[[str], None], state: Path, start_seconds: float, drain_seconds: float) -> None:
        """Take the parts in groups by their number; `state` is the file that lists what runs."""
        self._groups = [list(group) for _, group in groupby(sorted(steps, key=lambda s: s.group), key=lambda s: s.group)]
        self._say = say
        self._state = state
        self._start_seconds, self._drain_seconds = start_seconds, drain_seconds
        self._running: dict[str, Process] = {}
        self._order: dict[str, int] = {}
        self._restarts: dict[str, int] = {}
        self._stopping = asyncio.Event()
        self._watchers: list[asyncio.Task[None]] = []
        self._complete = False
        self._after: dict[int, Callable[[], Awaitable[object]]] = {}

    def after_group(self, number: int, do: Callable[[], Awaitable[object]]) -> None:
        """Do something at the start once this group is ready, beside the groups after it; `start` ends when it is done."""
        self._after[number] = do

    async def start(self) -> None:
        """Start everything, group after group, each ready before the next group begins. Raises StartError."""
        beside: list[asyncio.Future[object]] = []
        for group in self._groups:
            outcomes = await asyncio.gather(
                *(self._once(step) if step.once else self._first_start(step) for step in group), return_exceptions=True
            )
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
            if self._stopping.is_set():
                return
            if do := self._after.get(group[0].group):
                beside.append(asyncio.ensure_future(do()))
        await asyncio.gather(*beside)
        self._complete = True
        self._write_state()

    async def _once(self, step: Step) -> None:
        began = time.monotonic()
        process = self._make(step)
        self._running[step.name] = process
        await self._begin(process)
        while process.alive:
            if time.monotonic() - began > self._start_seconds:
                raise StartError(f"{step.name} did not end within {self._start_seconds:g} s\n{process.log_tail()}")
            await asyncio.sleep(POLL_SECONDS / 4)
        del self._running[step.name]
        if process.returncode and not self._stopping.is_set():
            raise StartError(why_ended(process))
        self._say(f"{step.name} done ({time.monotonic() - began:.1f} s)")

    async def _first_start(self, step: Step) -> None:
        process = self._make(step)
        self._running[step.name] = process
        self._order[step.name] = step.group if step.drains is None else step.drains
        began = time.monotonic()
        for attempt in range(1, ATTEMPTS_AT_START + 1):
            await self._begin(process)
            try:
                await asyncio.to_thread(process.wait_ready, self._start_seconds)
            except NotReadyError as error:
                if self._stopping.is_set():
                    return
                if process.alive:
                    raise StartError(str(error)) from None
                told = why_ended(process)
                if attempt == ATTEMPTS_AT_START:
                    raise StartError(told) from None
                self._say(f"{told}\n    trying again")
                await self._pause(FIRST_PAUSE_SECONDS * 2**attempt)
            else:
                break
        self._say(f"{step.name} ready ({time.monotonic() - began:.1f} s) {process.check or ''}".rstrip())
        self._write_state()
        self._watchers.append(asyncio.create_task(self._watch(process)))

    def _make(self, step: Step) -> Process:
        try:
            return step.make()
        except MissingError as error:
            raise StartError(f"{step.name} needs {error}") from None

    async def _begin(self, process: Process) -> None:
        """Start a process, unless everything is being stopped (then, or if that began meanwhile, it does not stay)."""
        if self._stopping.is_set():
            return
        try:
            await asyncio.to_thread(process.start)
        except (NotReadyError, MissingError, OSError) as error:
            raise StartError(f"{process.name} could not be started: {error}") from None
        if self._stopping.is_set():
            await asyncio.to_thread(process.kill)

    async def _watch(self, process: Process) -> None:
        """Start `process` again whenever it ended, ever more slowly while it keeps ending."""
        backoff, since = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, lambda: 1.0), time.monotonic()  # alone: no step to fall out of
        while not self._stopping.is_set():
            if process.alive:
                await self._pause(POLL_SECONDS)
                continue
            if time.monotonic() - since > CALM_SECONDS:
                backoff.reset()
            told, pause = why_ended(process), backoff.next()
            self._say(f"{told}\n    starting it again in {pause:g} s")
            await self._pause(pause)
            since = time.monotonic()
            self._restarts[process.name] = self._restarts.get(process.name, 0) + 1
            await self._start_again(process, since)

    async def _start_again(self, process: Process, since: float) -> None:
        try:
            await self._begin(process)
            self._write_state()
            await asyncio.to_thread(process.wait_ready, self._start_seconds)
        except StartError as error:
            self._say(str(error))
        except NotReadyError as error:
            if process.alive and not self._stopping.is_set():
                self._say(f"{error}\n    it is left running")
        else:
            self._say(f"{process.name} ready again ({time.monotonic() - since:.1f} s)")

    async def _pause(self, seconds: float) -> None:
        await until_set(self._stopping, seconds)

    def _write_state(self) -> None:
        """List what runs, for `rapport status` and the tests."""
        listed = [
            {
                "name": name,
                "pid": process.pid,
                "check": process.check,
                "log": str(process.log_path),
                "restarts": self._restarts.get(name, 0),
                "complete": self._complete,
            }
            for name, process in self._running.items()
            if name in self._order and process.returncode is None and process.alive
        ]
        whole = self._state.with_suffix(".part")
        with contextlib.suppress(OSError):  # a full disk must not stop the supervision; the list is a convenience
            whole.write_text(json.dumps(listed, indent=1))
            whole.rename(self._state)

    async def drain(self) -> None:
        """Stop everything, the last group first; within a group side by side. What does not stop in time is killed."""
        self._stopping.set()
        once = [process for name, process in self._running.items() if name not in self._order]
        await asyncio.gather(*(self._stop(process) for process in once))
        for number in sorted(set(self._order.values()), reverse=True):
            group = [self._running[name] for name, place in self._order.items() if place == number]
            await asyncio.gather(*(self._stop(process) for process in group))
        await asyncio.gather(*self._watchers, return_exceptions=True)
        with contextlib.suppress(OSError):
            self._state.unlink(missing_ok=True)

    async def _stop(self, process: Process) -> None:
        if not process.alive:
            return
        began = time.monotonic()
        await asyncio.to_thread(process.stop, self._drain_seconds)
        seconds = time.monotonic() - began
        late = seconds >= self._drain_seconds
        self._say(f"{process.name} {how_it_ended(process.returncode) if late else 'stopped'} ({seconds:.1f} s)")

    def kill(self) -> None:
        """Kill everything at once: the second Ctrl-C."""
        self._stopping.set()
        for process in self._running.values():
            process.kill()


async def first(*waited: Awaitable[object]) -> None:
    """Return when the first of these is done, and cancel the others; its exception is raised."""
    tasks = [asyncio.ensure_future(one) for one in waited]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for task in done:
        task.result()
