"""Figures on lag, and the exit of a worker that stands still though it could move.

Faust's and aiokafka's consumers have been seen to stop without an error (no fetch, no rebalance). If records wait, the fence does not
move for `stall_s`, and both Kafka and Redis answer, then the fault is this process's: it exits and its supervisor starts it anew.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from shared.runtime.observer import Observer
from shared.runtime.ports import Halted, LogAway, StoreAway
from shared.runtime.stage_worker import StageWorker
from shared.runtime.ticker import LogWithEnds

PERIOD_S: Final = 2.0
QUIET_S: Final = 5.0
"""After so long without a chunk, a slot that is rebuilding reads what is missing itself."""
_log = structlog.get_logger("watchdog")


class Watchdog:
    """Looks at every owned slot each `PERIOD_S`."""

    def __init__(
        self, workers: Sequence[StageWorker], log: LogWithEnds, ping: Callable[[], Awaitable[None]], observer: Observer, stall_s: float
    ) -> None:
        self._workers = workers
        self._log = log
        self._ping = ping
        self._observer = observer
        self._stall_s = stall_s
        self._moved: dict[tuple[str, int, str], tuple[int, float]] = {}
        self.lag: dict[str, int] = {}

    async def run(self) -> None:
        """Raises Halted on a stall."""
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                for worker in self._workers:
                    await self._look(worker)
            except (LogAway, StoreAway) as away:
                self._moved.clear()  # a server is away: that is no stall of ours
                _log.warning("cannot measure lag", detail=str(away))

    async def _look(self, worker: StageWorker) -> None:
        stage = worker.stage
        slots = list(worker.slots.values())
        wanted = [(topic, slot.partition) for slot in slots for topic in stage.inputs]
        ends = await self._log.ends(wanted) if wanted else {}
        now = time.monotonic()
        lag = dict.fromkeys(stage.inputs, 0)
        oldest_ms = 0
        stalled: list[str] = []
        for slot in slots:
            waiting = False
            for topic in stage.inputs:
                place = (stage.name, slot.partition, topic)
                position = slot.position.get(topic, 0)
                behind = max(0, ends[topic, slot.partition] - position)
                lag[topic] += behind
                if behind and slot.append_ms.get(topic):
                    oldest_ms = min(oldest_ms or slot.append_ms[topic], slot.append_ms[topic])
                last, since = self._moved.get(place, (-1, now))
                if behind == 0 or position != last:
                    self._moved[place] = (position, now)
                    continue
                waiting |= now - since > QUIET_S
                if now - since > self._stall_s:
                    stalled.append(f"{topic}[{slot.partition}]")
            if waiting and slot.meta.rebuilding and not slot.lock.locked():
                await slot.catch_up()  # the consumer will not bring what stands below its own position
        self.lag[stage.name] = sum(lag.values())
        seconds = max(0.0, time.time() - oldest_ms / 1000) if oldest_ms else 0.0
        self._observer.slots(stage.name, len(slots), sum(slot.meta.rebuilding for slot in slots), lag, seconds)
        if stalled:
            await self._ping()
            raise Halted(f"stage {stage.name} has not moved for {self._stall_s} s on {', '.join(stalled)}, though Kafka and Redis answer")
