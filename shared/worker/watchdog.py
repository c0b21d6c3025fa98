"""Figures on lag, and the exit of a worker that stands still though it could move.

It also has each slot looked after. That may last minutes, so it runs in a task of its own for each slot (chores.py).

Faust's and aiokafka's consumers have been seen to stop without an error (no fetch, no rebalance). If records wait, the fence does not
move for `stall_s`, and both Kafka and Redis answer, then the fault is this process's: it exits and its supervisor starts it anew.

An exit throws away what other slots have in hand, and does not help a slot that only waits behind them. So while another slot of the stage
moves, or any slot of the process refolds, the process is only not ready. It exits after `PATIENCE` times as long.
"""

import asyncio
import faulthandler
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import structlog

from shared.runtime.observer import Observer
from shared.runtime.ports import Halted, Log, LogAway, StoreAway, TopicPartition
from shared.runtime.slot import Slot
from shared.worker.stage_worker import StageWorker

PERIOD_S: Final = 2.0
QUIET_S: Final = 5.0
"""An input that stands for so long before what its slot should have read by now is read by the slot itself, whatever the others do."""
PATIENCE: Final = 10
"""So many times `stall_s` one slot may stand still while others move."""
_log = structlog.get_logger("watchdog")


class Watchdog:
    """Looks at every owned slot each `PERIOD_S`."""

    def __init__(
        self, workers: Sequence[StageWorker], log: Log, ping: Callable[[], Awaitable[None]], observer: Observer, stall_s: float
    ) -> None:
        self._workers = workers
        self._log = log
        self._ping = ping
        self._observer = observer
        self._stall_s = stall_s
        self._moved: dict[tuple[str, int], tuple[object, float]] = {}
        self._quiet: dict[tuple[str, int, str], tuple[int, float]] = {}
        self._going: dict[str, float] = {}
        self._refolding = float("-inf")
        self._standing: dict[str, str] = {}
        self.lag: dict[str, int] = {}
        self._asking: float | None = None

    def silent_s(self) -> float:
        """Seconds since which Kafka has been asked for the ends of the log without an answer; 0 if it answers."""
        return 0.0 if self._asking is None else time.monotonic() - self._asking

    def standing(self, stage: str) -> str | None:
        """Which slots of a stage have stood still for long though others move, in words; None if none has."""
        return self._standing.get(stage)

    async def run(self) -> None:
        """Raises Halted on a stall."""
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                for worker in self._workers:
                    await self._look(worker)
            except (LogAway, StoreAway) as away:
                self._moved.clear()  # a server is away: that is no stall of ours
                self._quiet.clear()
                _log.warning("cannot measure lag", detail=str(away))

    async def _look(self, worker: StageWorker) -> None:
        stage = worker.stage
        slots = list(worker.slots.values())
        wanted = [(topic, slot.partition) for slot in slots for topic in stage.inputs]
        ends = await self._ends(wanted)
        now = time.monotonic()
        lag = dict.fromkeys(stage.inputs, 0)
        oldest_ms = 0
        still: dict[int, float] = {}
        starving = set()
        for slot in slots:
            behind = {topic: max(0, ends[topic, slot.partition] - slot.position.get(topic, 0)) for topic in stage.inputs}
            for topic, records in behind.items():
                lag[topic] += records
                if records and slot.append_ms.get(topic):
                    oldest_ms = min(oldest_ms or slot.append_ms[topic], slot.append_ms[topic])
            still[slot.partition] = still_s = self._still_s(stage.name, slot, any(behind.values()), now)
            if still_s > QUIET_S and not slot.lock.locked():
                starving.add(slot.partition)
            quiet = self._quiet_inputs(stage.name, slot, now)
            if quiet or not slot.lock.locked():
                worker.tend(slot, partial(_look_after, slot, quiet))
        worker.starving = frozenset(starving)
        self.lag[stage.name] = sum(lag.values())
        seconds = max(0.0, time.time() - oldest_ms / 1000) if oldest_ms else 0.0
        self._observer.slots(stage.name, len(slots), sum(slot.meta.rebuilding for slot in slots), lag, seconds)
        await self._judge(stage.name, still, now)

    async def _judge(self, stage: str, still: Mapping[int, float], now: float) -> None:
        """Say which slots stand still, and end the process if nothing of it would be lost, or if that has lasted too long."""
        others_move = now - max(self._going.get(stage, self._refolding), self._refolding) <= self._stall_s
        patience_s = self._stall_s * (PATIENCE if others_move else 1)
        if stalled := [str(partition) for partition, seconds in still.items() if seconds > patience_s]:
            await self._ping()
            faulthandler.dump_traceback(all_threads=True)  # where it stands, before it is gone
            raise Halted(f"stage {stage}, slots {', '.join(stalled)}: no progress for {patience_s} s, though Kafka and Redis answer")
        waiting = sorted(partition for partition, seconds in still.items() if seconds > self._stall_s)
        if not waiting:
            self._standing.pop(stage, None)
            return
        words = f"slots {waiting} have work and have not moved for {max(still.values()):.0f} s, though others move"
        if stage not in self._standing:
            _log.warning("slots stand still", stage=stage, detail=words)
        self._standing[stage] = words

    async def _ends(self, wanted: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        if not wanted:
            self._asking = None  # nobody asks, so nobody is kept waiting
            return {}
        if self._asking is None:
            self._asking = time.monotonic()
        ends = await self._log.ends(wanted)
        self._asking = None
        return ends

    def _still_s(self, stage: str, slot: Slot[Any, Any], behind: bool, now: float) -> float:
        """For how many seconds nothing has moved in a slot that has something to read. What is taken over, or braked, is moving.

        While timers fire positions stand still, and commits tell that it moves: only then, as one taken over again and again commits too.
        """
        place = (stage, slot.partition)
        moves = dict(slot.position), slot.meta.seq if slot.meta.fired[0] >= 0 else 0
        last, since = self._moved.get(place, (None, now))
        if moves != last or (slot.token is None and slot.waits_for is None) or slot.archived.asking:
            self._going[stage] = now
            if slot.token is None or slot.meta.rebuilding:
                self._refolding = now
        if not behind or slot.token is None or slot.braked or slot.archived.asking or moves != last:
            self._moved[place] = (moves, now)
            return 0.0
        return now - since

    def _quiet_inputs(self, stage: str, slot: Slot[Any, Any], now: float) -> list[str]:
        """Inputs that nobody seems to bring: the consumer does not bring what stands below its own position."""
        missing = slot.missing()
        for topic in slot.stage.inputs:
            place, position = (stage, slot.partition, topic), slot.position.get(topic, 0)
            if topic not in missing or self._quiet.get(place, (position, now))[0] != position:
                self._quiet.pop(place, None)
            else:
                self._quiet.setdefault(place, (position, now))
        return [topic for topic in missing if now - self._quiet.get((stage, slot.partition, topic), (0, now))[1] > QUIET_S]


async def _look_after(slot: Slot[Any, Any], quiet: Sequence[str]) -> None:
    await slot.check()
    await slot.forget_outbox()
    if quiet:
        await slot.catch_up(quiet)
