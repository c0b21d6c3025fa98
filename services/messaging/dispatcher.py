"""The dispatcher as a part of the process: wires slots to Kafka, Redis and the channels."""

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import structlog

from services.messaging.adapters.caps import RedisCaps
from services.messaging.adapters.gate import RedisGate
from services.messaging.adapters.kafka_ledger import KafkaLedger
from services.messaging.adapters.ledger_reader import read_standings
from services.messaging.adapters.people import RedisPeople
from services.messaging.adapters.request_log import KafkaRequestLog
from services.messaging.adapters.requests import RequestFeed, Slots
from services.messaging.channels.endpoints import Loaded, without_endpoint
from services.messaging.channels.opened import OpenChannels
from services.messaging.channels.socket import Channel
from services.messaging.dispatch.book import Keeping
from services.messaging.dispatch.decide import Desk, Rulebook
from services.messaging.dispatch.habits import Habits
from services.messaging.dispatch.slot import DispatchSlot
from services.messaging.domain.patience import Patience
from services.messaging.domain.standing import Standing
from services.messaging.metrics import Metrics
from services.messaging.settings import Settings
from shared.adapters.prometheus import Registry
from shared.adapters.redis_store import connect
from shared.contracts.slots import partition_count
from shared.contracts.topics import DISPATCH_RECORDED, MESSAGE_CHANGED, MESSAGE_REQUESTED
from shared.definitions.journey import LONGEST_CAP
from shared.runtime.ports import LogAway, StoreAway

OTHER_CALLS = 4
WATCH_S = 0.5
STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps: a lease must be over when a machine that was suspended wakes up."""
_log = structlog.get_logger("dispatcher")


class SystemClock:
    """The moment of sending is the one decision that the wall clock may make."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def steady_s(self) -> float:
        return time.clock_gettime(STEADY)


class Dispatcher:
    """Sends what journeys ask for (shared/worker/process.py, Companion)."""

    topics = (MESSAGE_REQUESTED, MESSAGE_CHANGED, DISPATCH_RECORDED)

    def __init__(
        self,
        settings: Settings,
        channels: Mapping[str, Channel],
        endpoints: Loaded,
        rulebook: Callable[[], Rulebook],
    ) -> None:
        """`rulebook` answers the definitions of now."""
        self._settings, self._rulebook = settings, rulebook
        self._with = channels, endpoints
        self._group = f"{settings.group_prefix}-dispatcher"
        self._running: asyncio.Task[None] | None = None
        self._looked_at: Rulebook | None = None

    async def start(self, registry: Registry, on_fatal: Callable[[BaseException], None]) -> None:
        settings = self._settings
        self._executor = ThreadPoolExecutor(partition_count() + OTHER_CALLS, thread_name_prefix="dispatcher")
        self._redis = connect(settings.redis)
        self._observer = Metrics(registry)
        patience = Patience(
            settings.retry_first_seconds,
            settings.retry_longest_seconds,
            settings.provider_retry_first_seconds,
            settings.provider_retry_longest_seconds,
        )
        self._habits = Habits(
            settings.dispatch_batch,
            settings.dispatch_lease_seconds,
            fenced_pause_s=settings.session_timeout_seconds,
            patience=patience,
            keeping=Keeping(settings.dispatch_checkpoint_seconds),
        )
        channels, endpoints = self._with
        self._channels = OpenChannels(channels, settings, endpoints)
        self._outlets = self._channels.outlets(patience, SystemClock(), self._observer)
        self._requests = KafkaRequestLog(settings.kafka, self._group)
        self._people = RedisPeople(self._redis)
        self._standing = Standing()
        self._gate = RedisGate(self._redis, self._standing)
        self._slots = Slots(self._make, on_fatal, settings.drain_seconds / 2)
        self._feed = RequestFeed(settings.kafka, self._group, self._slots, self._executor, settings.session_timeout_seconds, self._observer)
        self._running = asyncio.create_task(self._run(on_fatal))

    async def _run(self, on_fatal: Callable[[BaseException], None]) -> None:
        watching = asyncio.create_task(self._watch(on_fatal))
        try:
            await self._feed.run()
        except Exception as error:
            on_fatal(error)
        finally:
            watching.cancel()

    async def _watch(self, on_fatal: Callable[[BaseException], None]) -> None:
        """Look at the stages upstream also while there is nothing to send: how far they have come is what tells that Redis went back."""
        try:
            await self._learn_standing()
            while True:
                with contextlib.suppress(StoreAway):
                    self._look_at_templates()
                with contextlib.suppress(StoreAway):
                    await self._gate.closed()
                await asyncio.sleep(WATCH_S)
        except Exception as error:
            on_fatal(error)

    def _look_at_templates(self) -> None:
        """Say which of a new set name an endpoint that there is not. Raises StoreAway while none can be read."""
        rulebook = self._rulebook()
        if rulebook is self._looked_at:
            return
        self._looked_at = rulebook
        for problem in without_endpoint(rulebook.templates, *self._with):
            _log.warning("messages by this template cannot be sent", template=problem.file, detail=problem.message)

    async def _learn_standing(self) -> None:
        """Nothing is sent before it is known how far the stages upstream had come when any slot last sent."""
        read = functools.partial(read_standings, self._settings.kafka, f"{self._group}-standing", partition_count())
        while not self._standing.is_whole:
            try:
                for saved in await asyncio.get_running_loop().run_in_executor(self._executor, read):
                    self._standing.know(saved)
                self._standing.is_whole = True
            except LogAway as away:
                _log.warning("the ledgers cannot be read yet, nothing is sent", detail=str(away))
                await asyncio.sleep(WATCH_S)

    def _make(self, partition: int, wanted: Callable[[], bool]) -> DispatchSlot:
        log = KafkaLedger(self._settings.kafka, self._group, partition, self._executor, self._standing)
        caps = RedisCaps(self._redis, partition, LONGEST_CAP.ms)
        return DispatchSlot(
            partition,
            log,
            self._requests,
            Desk(self._people, caps, self._rulebook, self._channels),
            self._gate,
            self._outlets,
            SystemClock(),
            self._observer,
            self._habits,
            wanted,
        )

    def readiness(self) -> dict[str, str | None]:
        """Ready: Kafka has given it slots (perhaps none), and the ledger of each has been read."""
        if self._running is None or not self._slots.assigned:
            return {"dispatcher": "waiting for Kafka to assign slots"}
        running = self._slots.running
        reading = [partition for partition, slot in running.items() if not slot.ready]
        if not reading:
            return {"dispatcher": None}
        why = next((slot.waits_for for slot in running.values() if slot.waits_for is not None), None)
        return {"dispatcher": f"reading the ledger of slots {reading}" if why is None else f"slots {reading} wait: {why}"}

    def notes(self) -> dict[str, str]:
        """Why messages that wait are not sent now. They are held while a stage before catches up, and that is as it should be."""
        if self._running is None:
            return {}
        reasons = (slot.waits_for or slot.shut for slot in self._slots.running.values())
        why = next((reason for reason in reasons if reason is not None), self._outlets.trouble)
        return {} if why is None else {"sending": why}

    async def stop(self) -> None:
        if self._running is None:
            return
        self._feed.stop()
        await self._running
        await self._requests.close()
        await self._channels.close()
        await self._redis.aclose()
        self._executor.shutdown(wait=False)
