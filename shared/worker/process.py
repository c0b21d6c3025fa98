"""The frame of a worker process: start, watch, drain, exit."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, NamedTuple, NoReturn, Protocol

import redis.asyncio as redis
import structlog
import uvloop

from shared.adapters.applied_sets import AppliedSets
from shared.adapters.health import HealthServer
from shared.adapters.kafka_log import KafkaLog, Publisher
from shared.adapters.kafka_pulse import SILENT_S, silence
from shared.adapters.partitions import PartitionsOfLog
from shared.adapters.prometheus import Registry, RuntimeMetrics
from shared.adapters.rebuild_topic import RebuildTopic
from shared.adapters.redis_store import RedisStore, answering, connect
from shared.adapters.row_archive import RowArchive
from shared.contracts.metrics import Metric
from shared.contracts.rebuilds import Ordered, View, view_of
from shared.contracts.topics import DEFINITION_ACTIVATED
from shared.runtime.collector import calm_collector
from shared.runtime.logs import configure_logs
from shared.runtime.plans import Plans
from shared.runtime.ports import Halted, Log, StateStore
from shared.runtime.slot import Slot
from shared.runtime.stage import Stage
from shared.worker.rebuilder import Rebuilder
from shared.worker.settings import RuntimeSettings
from shared.worker.stage_worker import StageWorker
from shared.worker.watchdog import Watchdog

LONG_S = 5.0
_log = structlog.get_logger("worker")


class Companion(Protocol):
    """Work of a process beside its stages, started and drained with them."""

    @property
    def topics(self) -> Sequence[str]:
        """Those it uses partition by partition."""

    async def start(self, registry: Registry, on_fatal: Callable[[BaseException], None]) -> None:
        """Begin, and return; the number of partitions is settled.

        What cannot be mended by waiting goes to `on_fatal`: the process then ends with code 1.
        """

    def readiness(self) -> dict[str, str | None]:
        """As shared.adapters.health has it."""

    def notes(self) -> dict[str, str]:
        """As shared.adapters.health has it."""

    async def stop(self) -> None:
        """Finish what is in hand."""


class Inside(NamedTuple):
    """What a task within a process may use of it. `slots`: those of a stage that the process owns now."""

    slots: Callable[[str], Sequence[Slot[Any, Any]]]
    redis: redis.Redis
    log: Log


Task = Callable[[Inside], Coroutine[Any, Any, None]]
"""Work that begins with the stages and ends with the process; an exception ends the process with code 1."""


def run(
    service: str,
    stages: Sequence[Stage[Any, Any]],
    settings: RuntimeSettings,
    definitions: AppliedSets | None,
    metrics: Sequence[Metric] = (),
    companions: Sequence[Companion] = (),
    store: Callable[[redis.Redis, str, int], StateStore] = RedisStore,
    tasks: Sequence[Task] = (),
) -> int:
    """Run `stages` until SIGTERM or SIGINT; answers the exit code. 1: something went wrong, and the log says what.

    `definitions` are followed, and have been read to their end before anything else begins; None: nothing here goes by them.
    """
    configure_logs(settings.log_level, service)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line for each page of the archive
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    return asyncio.run(_Process(service, stages, settings, definitions, metrics, companions, store, tasks).run())


class _Process:
    def __init__(
        self,
        service: str,
        stages: Sequence[Stage[Any, Any]],
        settings: RuntimeSettings,
        definitions: AppliedSets | None,
        metrics: Sequence[Metric],
        companions: Sequence[Companion],
        store: Callable[[redis.Redis, str, int], StateStore],
        tasks: Sequence[Task],
    ) -> None:
        self._service = service
        self._companions = companions
        self._settings = settings
        self._registry = Registry(service, metrics)
        self._observer = RuntimeMetrics(self._registry)
        self._stages = stages
        self._workers: list[StageWorker] = []
        self._new_store = store
        self._inner = tasks
        self._watchdog: Watchdog | None = None
        used = {topic for stage in stages for topic in (*stage.inputs, *stage.output_topics())}
        used |= {topic for companion in companions for topic in companion.topics}
        self._partitions = PartitionsOfLog(settings.kafka, used)
        self._tasks: list[asyncio.Task[None]] = []
        self._orders: RebuildTopic | None = None
        self._definitions = definitions
        self._known = definitions is None
        self._archive = None if settings.archive is None else RowArchive(settings.archive)
        self._ended: asyncio.Future[BaseException | None]

    async def run(self) -> int:
        settings = self._settings
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, None)
        self._redis = connect(settings.redis)
        name = self._stages[0].name if self._stages else self._service
        self._publisher = publisher = Publisher(settings.kafka, f"rapport-{name}")
        log = KafkaLog(settings.kafka, publisher)
        health = HealthServer(settings.host, settings.health_port, self._readiness, self._registry.collectors, self._notes)
        await health.start()
        self._begin(self._work(log))
        reason = await self._ended
        if reason is not None:
            self._give_up(reason, publisher)
        for task in self._tasks:
            task.cancel()
        await self._drain()
        for follower in (self._orders, self._definitions):
            if follower is not None:
                await asyncio.to_thread(follower.stop)
        await health.stop()
        publisher.close()
        if self._archive is not None:
            self._archive.close()
        await self._redis.aclose()
        return 0

    async def _work(self, log: KafkaLog) -> None:
        """Everything that needs to know how many slots a stage has."""
        self._observer.partitions(await self._partitions.settle())
        settings = self._settings
        if self._stages:
            self._orders = RebuildTopic(settings.kafka, f"rapport-{self._service}-rebuilds")
            self._orders.start()
        if self._definitions is not None:
            self._definitions.start(self._observer.definition_refused)
            while not await asyncio.to_thread(self._definitions.wait, LONG_S):
                _log.warning("waiting until the definitions have been read")
            self._known = True
        self._workers = [self._worker(stage, log) for stage in self._stages]
        self._watchdog = Watchdog(self._workers, log, self._ping, self._observer, settings.watchdog_seconds)
        self._begin(self._watchdog.run())
        self._begin(self._faust())
        if self._orders is not None:
            self._begin(Rebuilder(self._workers, self._orders).run())
        for task in self._inner:
            self._begin(task(Inside(self._slots_of, self._redis, log)))
        for companion in self._companions:
            self._begin(companion.start(self._registry, self._end))

    def _worker(self, stage: Stage[Any, Any], log: Log) -> StageWorker:
        standing = partial(self._standing, view_of(stage.name))
        plans = Plans(stage.compile, self._definitions if DEFINITION_ACTIVATED in stage.inputs else None)
        return StageWorker(stage, self._settings, log, self._store, self._observer, self._end, standing, self._archive, plans)

    def _slots_of(self, stage: str) -> Sequence[Slot[Any, Any]]:
        return [slot for worker in self._workers if worker.stage.name == stage for slot in worker.slots.values()]

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(self._watch(work)))

    def _give_up(self, reason: BaseException, publisher: Publisher) -> NoReturn:
        """Leave at once: what is in hand will be taken up at the fence, and Faust would wait for it for ever."""
        if isinstance(reason, Halted):
            _log.error("halted", reason=str(reason))
        else:
            _log.error("stopped by an error of our own", exc_info=reason)
        publisher.close()
        os._exit(1)

    def _store(self, stage: str, partition: int) -> StateStore:
        return self._new_store(self._redis, stage, partition)

    def _standing(self, view: View | None) -> Ordered | None:
        return None if self._orders is None else self._orders.standing(view)

    def _end(self, reason: BaseException | None) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)

    async def _watch(self, work: Any) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._end(error)

    async def _faust(self) -> None:
        """Start the Faust apps and see whether they crash."""
        await asyncio.gather(*(worker.start() for worker in self._workers))  # each waits until Kafka has given up those that were killed
        calm_collector()
        while True:
            for worker in self._workers:
                trouble = worker.trouble()
                if trouble is not None:
                    raise Halted(f"Faust gave up on stage {worker.stage.name}: {trouble!r}") from trouble
            self._observer.publishing(self._publisher.waiting_s())
            await asyncio.sleep(0.5)

    async def _ping(self) -> None:
        async with answering():
            await self._redis.ping()

    def _readiness(self) -> dict[str, str | None]:
        """Ready: every stage has been given its slots (perhaps none) and has taken over those it has."""
        if self._partitions.trouble is not None:
            return {"partitions": self._partitions.trouble}
        if not self._known:
            return {"definitions": "not read yet"}
        out: dict[str, str | None] = {}
        for worker in self._workers:
            waiting = [slot.partition for slot in worker.slots.values() if slot.token is None]
            braked = next((slot.braked for slot in worker.slots.values() if slot.braked), None)
            if not worker.assigned:
                out[worker.stage.name] = "waiting for Kafka to assign slots"
            elif waiting:
                why = next((slot.waits_for for slot in worker.slots.values() if slot.waits_for is not None), None)
                out[worker.stage.name] = f"taking over slots {waiting}" if why is None else f"slots {waiting} wait: {why}"
            else:
                out[worker.stage.name] = braked or (None if self._watchdog is None else self._watchdog.standing(worker.stage.name))
        out["kafka"] = self._silence()
        for companion in self._companions:
            out |= companion.readiness()
        return out

    def _silence(self) -> str | None:
        """What Kafka has been asked and does not answer."""
        waiting_s = self._publisher.waiting_s()
        if waiting_s > SILENT_S:
            return f"records wait for its acknowledgement since {waiting_s:.0f} s"
        return None if self._watchdog is None else silence(self._watchdog.silent_s())

    def _notes(self) -> dict[str, str]:
        return {name: told for companion in self._companions for name, told in companion.notes().items()}

    async def _drain(self) -> None:
        stops = [asyncio.create_task(worker.stop()) for worker in self._workers]
        stops += [asyncio.create_task(companion.stop()) for companion in self._companions]
        _, late = await asyncio.wait(stops, timeout=self._settings.drain_seconds)
        if late:
            _log.warning("did not drain in time: what is in hand will be taken up at the fence", seconds=self._settings.drain_seconds)
            os._exit(1)
        for stop in stops:
            error = stop.exception()
            if error is not None:
                _log.warning("error while stopping", detail=repr(error))
