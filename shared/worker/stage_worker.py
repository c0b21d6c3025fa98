"""One stage in one process: a Faust app that feeds chunks to slots, one task a slot.

Faust subscribes, fetches, rebalances and commits. The slot's fence alone decides whether a chunk is applied. A chunk is acked here, by
hand, when all that follows from it is durable.

One feeder hands the chunks of a stage to its slots. A slot is slow while it is braked, is not taken over yet, or has read older records
for more than a second, as a refold does. While a slot is slow and others move, the feeder leaves its chunks out. The slot reads them
with a plain reader after the next chunk that it takes, of whichever input; two chunks wait for it then, or none would have been left out.
Where all slots stand still (a start, Redis away) the feeder waits, so records stay at the broker. The feeder waits for a slot that is
merely busy, until another slot with records in Kafka has had nothing to do for five seconds. Fetched partitions are handed over in turn,
2,000 records each; aiokafka would empty one first.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import faust
import structlog
from faust.types import TP

from shared.contracts.rebuilds import Ordered
from shared.runtime.archived import Archive
from shared.runtime.brake import Brake
from shared.runtime.faust_transport import ChunkMessage, StageApp
from shared.runtime.observer import Observer
from shared.runtime.plans import Plans
from shared.runtime.ports import Halted, Log, StateStore
from shared.runtime.published import SharedTails
from shared.runtime.slot import Slot
from shared.runtime.stage import Stage
from shared.worker.chores import Chores, Work
from shared.worker.faust_credentials import faust_credentials
from shared.worker.settings import RuntimeSettings

FETCHED_BYTES: Final = 1024 * 1024
"""Of one partition at once; a single record may be larger (8 MB)."""
BUFFERED_CHUNKS: Final = 4
"""Within Faust, of all slots together."""
QUEUED_CHUNKS: Final = 2
"""For each slot, beside the one in hand."""
LOOK_S: Final = 1.0
"""So often a feeder that waits for room looks whether the slot still moves."""
_log = structlog.get_logger("runtime")


class StageWorker:
    """Runs `stage` over the partitions that Kafka assigns to this process."""

    def __init__(
        self,
        stage: Stage[Any, Any],
        settings: RuntimeSettings,
        log: Log,
        store: Callable[[str, int], StateStore],
        observer: Observer,
        on_fatal: Callable[[BaseException], None],
        standing: Callable[[], Ordered | None] = Ordered,
        archive: Archive | None = None,
        plans: Plans | None = None,
    ) -> None:
        """`standing`: what has been ordered of this stage; None while that is not known.

        `archive`: where slots find what the log no longer has. `plans`: of the definitions by which the stage goes.
        """
        self.stage = stage
        self.slots: dict[int, Slot[Any, Any]] = {}
        self.assigned = False
        self.starving: frozenset[int] = frozenset()
        """Slots with records in Kafka that wait in vain for a chunk (watchdog.py)."""
        self._settings = settings
        self._log = log
        self._tails = SharedTails(log, stage)
        self._store = store
        self._observer = observer
        self._on_fatal = on_fatal
        self._standing = standing
        self._archive = archive
        self._plans = plans
        self._queues: dict[int, asyncio.Queue[ChunkMessage]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._chores = Chores(on_fatal)
        self.app = self._make_app()

    @property
    def group(self) -> str:
        return f"{self._settings.group_prefix}-{self.stage.name}"

    def _make_app(self) -> faust.App:
        settings = self._settings
        app = StageApp(
            self.group,
            broker=";".join(f"rapport://{server}" for server in settings.kafka_bootstrap.split(",")),
            broker_credentials=faust_credentials(settings.kafka),
            store="memory://",
            datadir=Path(tempfile.gettempdir(), "rapport-faust"),  # Faust makes folders there that nothing of ours uses
            web_enabled=False,
            autodiscover=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            stream_wait_empty=True,
            stream_buffer_maxsize=BUFFERED_CHUNKS,
            consumer_auto_offset_reset="earliest",
            broker_max_poll_records=settings.chunk_records,
            consumer_max_fetch_size=FETCHED_BYTES,
            broker_commit_interval=1.0,
            broker_session_timeout=settings.session_timeout_seconds,
            broker_heartbeat_interval=settings.session_timeout_seconds / 4,
            broker_rebalance_timeout=max(10.0, settings.session_timeout_seconds),
            broker_request_timeout=max(15.0, settings.session_timeout_seconds + 5),
            broker_max_poll_interval=3600.0,
            stream_processing_timeout=24 * 3600.0,
        )
        app.linger_ms = self.stage.linger_ms
        topic = app.topic(*self.stage.inputs, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

        @app.agent(topic, name=self.stage.name)  # type: ignore[untyped-decorator]
        async def feed(stream: Any) -> None:
            async for event in stream.noack().events():
                await self._feed(event.message)

        app.on_partitions_assigned.connect(self._on_assigned)
        app.on_partitions_revoked.connect(self._on_revoked)
        return app

    async def _feed(self, message: ChunkMessage) -> None:
        """Hand a chunk to its slot; wait while it is busy, but not for one that stands still while others move, nor while others starve."""
        partition = message.partition
        while (queue := self._queues.get(partition)) is not None:  # else it was revoked in between, and comes again elsewhere
            slot = self.slots[partition]
            alone = slot.stands_still and not all(one.stands_still for one in self.slots.values())
            if queue.full() and (alone or self.starving - {partition}):
                slot.leave_out(message.topic, message.records)
                self.app.consumer.unacked.discard(message)
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await queue.put(message)
                return

    async def _on_assigned(self, _: Any, assigned: set[TP], **__: Any) -> None:
        by_partition: dict[int, set[str]] = {}
        for tp in assigned:
            by_partition.setdefault(tp.partition, set()).add(tp.topic)
        for partition, topics in by_partition.items():
            if topics != set(self.stage.inputs):
                missing = ", ".join(sorted(set(self.stage.inputs) - topics))
                what = f"{self.stage.name} was given partition {partition} without {missing}"
                self._on_fatal(Halted(f"{what}: its inputs must have equal partition counts"))
                return
        for partition in set(self.slots) - set(by_partition):
            await self._drop(partition)
        for partition in sorted(set(by_partition) - set(self.slots)):
            self._open(partition)
        self.assigned = True
        _log.info("slots assigned", stage=self.stage.name, slots=sorted(self.slots))

    async def _on_revoked(self, _: Any, revoked: set[TP], **__: Any) -> None:
        for partition in {tp.partition for tp in revoked}:
            await self._drop(partition)

    def _open(self, partition: int) -> None:
        settings = self._settings
        slot = Slot(
            self.stage,
            partition,
            self._store(self.stage.name, partition),
            self._log,
            self._observer,
            group=self.group,
            cache_size=settings.cached_states_per_slot,
            cache_bytes=settings.cached_bytes_per_slot,
            batch_bytes=settings.batch_bytes,
            brake=Brake(settings.dead_letter_halt_ratio, settings.dead_letter_pause_seconds),
            wanted=lambda: self.slots.get(partition) is slot,
            tails=self._tails,
            standing=self._standing,
            archive=self._archive,
            plans=self._plans,
        )
        self.slots[partition] = slot
        self._queues[partition] = asyncio.Queue(QUEUED_CHUNKS)
        self._tasks[partition] = asyncio.create_task(self._run(slot, self._queues[partition]), name=f"{self.stage.name}:{partition}")

    async def _drop(self, partition: int) -> None:
        slot = self.slots.pop(partition, None)
        queue = self._queues.pop(partition, None)
        task = self._tasks.pop(partition, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await self._chores.drop(partition)
        while queue is not None and not queue.empty():
            queue.get_nowait()  # lets go of a feeder that waits for room
        if slot is not None:
            slot.release()

    async def _run(self, slot: Slot[Any, Any], queue: "asyncio.Queue[ChunkMessage]") -> None:
        try:
            if not await slot.take_over():
                return
            while True:
                message = await queue.get()
                started = time.perf_counter()
                if await slot.process(message.topic, message.records):
                    message.ack(self.app.consumer)
                    self._observer.chunk(self.stage.name, time.perf_counter() - started, message.records[-1].timestamp)
                else:
                    self.app.consumer.unacked.discard(message)  # another's now: Faust must not wait for it
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._on_fatal(error)

    def tend(self, slot: Slot[Any, Any], work: Work) -> None:
        """Begin `work` on a slot beside its chunks, if it is still here and nothing else is done to it."""
        if self.slots.get(slot.partition) is slot:
            self._chores.begin(slot.partition, work)

    async def finish(self, slot: Slot[Any, Any], work: Work) -> None:
        """Do `work` on a slot beside its chunks, when nothing else is done to it; returns when it is done, or the slot has gone."""
        begun = False
        while not begun and self.slots.get(slot.partition) is slot:
            begun = self._chores.begin(slot.partition, work)
            await self._chores.ended(slot.partition)

    async def start(self) -> None:
        await self.app.start()

    async def stop(self) -> None:
        """Finish what is in hand, commit, leave the group."""
        await self.app.stop()
        for partition in list(self.slots):
            await self._drop(partition)

    def trouble(self) -> BaseException | None:
        """What made Faust crash, if it did."""
        return self.app._crash_reason if self.app.crashed else None
