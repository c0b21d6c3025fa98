"""Requests from Kafka: a group consumer whose partitions are the slots of this process. It commits only what slots say is settled."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from services.messaging.adapters.records import record_of
from services.messaging.dispatch.ports import Observer
from services.messaging.dispatch.slot import DispatchSlot
from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.topics import MESSAGE_REQUESTED
from shared.runtime.failpoints import failpoint
from shared.runtime.stage import ReadRecord

CALL_S: Final = 10.0
POLL_S: Final = 0.5
PAGE: Final = 500
_log = structlog.get_logger("dispatcher")


class Slots:
    """The slots this process has, each with its task. `make` gets the partition and a function that says whether it is still wanted."""

    def __init__(
        self,
        make: Callable[[int, Callable[[], bool]], DispatchSlot],
        on_fatal: Callable[[BaseException], None],
        drain_s: float,
    ) -> None:
        self.running: dict[int, DispatchSlot] = {}
        self.assigned = False
        self._make, self._on_fatal, self._drain_s = make, on_fatal, drain_s
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def take(self, partitions: Sequence[int]) -> None:
        """Start a slot for each; taking over happens in its own time."""
        self.assigned = True
        for partition in partitions:
            self._open(partition)
        _log.info("slots assigned", stage="dispatcher", slots=sorted(self.running))

    def _open(self, partition: int) -> None:
        slot = self._make(partition, lambda: self.running.get(partition) is slot)
        self.running[partition] = slot
        self._tasks[partition] = asyncio.create_task(self._run(slot), name=f"dispatcher:{partition}")

    async def give_up(self, partitions: Sequence[int]) -> dict[int, int]:
        """Finish what is under way and stop; answers how far each was settled."""
        leaving = {partition: self.running.pop(partition) for partition in partitions if partition in self.running}
        tasks = [self._tasks.pop(partition) for partition in leaving]
        for slot in leaving.values():
            slot.stop()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._drain_s)
            for task in late:  # the next owner finds these messages in `sending` and calls them unknown
                task.cancel()
        return {partition: slot.queue.position for partition, slot in leaving.items()}

    def positions(self) -> dict[int, int]:
        return {partition: slot.queue.position for partition, slot in self.running.items()}

    async def _run(self, slot: DispatchSlot) -> None:
        try:
            await slot.run()
        except Exception as error:
            self._on_fatal(error)
        finally:
            slot.close()


class RequestFeed:
    """Feeds the slots until it is stopped."""

    def __init__(
        self, kafka: KafkaConnection, group: str, slots: Slots, executor: Executor, session_timeout_s: float, observer: Observer
    ) -> None:
        self._slots = slots
        self._observer = observer
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._paused: set[int] = set()
        self._committed: dict[int, int] = {}
        self._consumer = kafka.consumer(
            {
                "client.id": group,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": int(session_timeout_s * 1000),
                "heartbeat.interval.ms": max(200, int(session_timeout_s * 1000 / 4)),
                "reconnect.backoff.max.ms": 500,
                "fetch.message.max.bytes": 1024 * 1024,
                "queued.max.messages.kbytes": 16 * 1024,
                "log_level": 2,
            }
        )

    def stop(self) -> None:
        self._stopping = True

    async def run(self) -> None:
        """Raises KafkaException on what waiting does not mend."""
        self._consumer.subscribe([MESSAGE_REQUESTED], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)
        try:
            while not self._stopping:
                self._hand_out(await self._in_thread(self._next))
                failpoint("dispatcher.before_offsets")
                await self._in_thread(self._commit, self._slots.positions(), True)
                self._steady()
        finally:
            self._commit(await self._slots.give_up(list(self._slots.running)), False)
            await self._in_thread(self._consumer.close)

    async def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await self._loop.run_in_executor(self._executor, work, *arguments)

    def _next(self) -> list[Message]:
        """What is there, as soon as something is: consume() alone would wait for a whole page."""
        first = self._consumer.poll(POLL_S)
        return [] if first is None else [first, *self._consumer.consume(PAGE, 0)]

    def _hand_out(self, messages: Sequence[Message]) -> None:
        records: dict[int, list[ReadRecord]] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED):
                    raise KafkaException(error)
                _log.warning("Kafka says", detail=error.str())
                continue
            partition = message.partition()
            records.setdefault(partition, []).append(record_of(message))
        for partition, found in records.items():
            slot = self._slots.running.get(partition)
            if slot is not None:
                slot.receive(found)

    def _commit(self, positions: Mapping[int, int], in_background: bool) -> None:
        ahead = {p: offset for p, offset in positions.items() if offset > self._committed.get(p, -1) and offset >= 0}
        if not ahead:
            return
        offsets = [TopicPartition(MESSAGE_REQUESTED, p, offset) for p, offset in ahead.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=in_background)
        except KafkaException as error:  # what is read again is found settled in the ledger
            _log.warning("offsets not committed", detail=str(error))
        else:
            self._committed.update(ahead)

    def _steady(self) -> None:
        """Fetch no more for a slot that has too much to set aside. Requests never stop it: what a slot has no room for it reads again."""
        for partition, slot in self._slots.running.items():
            where = [TopicPartition(MESSAGE_REQUESTED, partition)]
            if slot.queue.full and partition not in self._paused:
                self._consumer.pause(where)
                self._paused.add(partition)
            elif not slot.queue.full and partition in self._paused:
                self._consumer.resume(where)
                self._paused.discard(partition)

    def _wait(self, work: Any) -> Any:
        """Called in the consumer's thread: run `work` in the event loop, which is waiting for this thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = [where.partition for where in partitions]
        for number in numbers:
            self._paused.discard(number)
            self._committed.pop(number, None)
        self._wait(self._slots.take(numbers))
        self._count_gone(consumer, partitions)
        consumer.incremental_assign(partitions)

    def _count_gone(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Say what left the log before it was settled. What was settled behind a message that waits is counted too: nobody knows here."""
        try:
            for where in consumer.committed(partitions, timeout=CALL_S):
                first, _ = consumer.get_watermark_offsets(where, timeout=CALL_S, cached=False)
                if 0 <= where.offset < first:
                    self._observer.lost_to_retention(first - where.offset)
                    _log.error("requests left the log before they were settled", slot=where.partition, lost=first - where.offset)
        except KafkaException as error:
            _log.warning("cannot see whether requests have left the log", detail=str(error))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._commit(self._wait(self._slots.give_up([where.partition for where in partitions])), False)
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Others have them already; nothing may be committed."""
        self._wait(self._slots.give_up([where.partition for where in partitions]))
        consumer.incremental_unassign(partitions)
