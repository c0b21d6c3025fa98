"""A Faust transport that hands over a whole partition chunk as one event, so that Faust's cost per record vanishes.

Faust's own path costs 50-150 us of asyncio a record and keeps one list entry a record for its commits. Here the consumer yields one
message per fetched partition chunk (`ChunkMessage.records`), whose offset is the chunk's last, and keeps its own commit bookkeeping.
Pinned to faust-streaming 0.15.3 and aiokafka 0.14.0: it overrides `getmany`, `ack`'s list walking (`_new_offset`) and `_add_gap`, and
what aiokafka makes of a fetched record, takes fetched partitions in turn, and sets how long the broker gathers.

Partitions are assigned by range. Faust's default for an app without tables is round robin, which scatters partition p of two topics over
two workers; a worker that is given half a slot halts.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, cast

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import fetcher
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalStateError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Consumer as AioKafkaConsumer
from faust.transport.drivers.aiokafka import Transport as AioKafkaTransport
from faust.types import TP, ConsumerMessage, Message

from shared.runtime.linger import Linger
from shared.runtime.stage import ReadRecord, Record

LOG_APPEND_TIME: Final = 1


class ChunkMessage(ConsumerMessage):  # type: ignore[misc]
    """One event of Faust: consecutive records of one partition."""

    __slots__ = ("records",)

    records: Sequence[Record]


class _PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """Makes our own record: aiokafka's takes five times as long to make."""

    def _consumer_record(self, tp: TP, record: Any) -> ReadRecord:
        return ReadRecord(tp.topic, tp.partition, record.offset, record.timestamp, record.key, record.value, record.headers)


fetcher.PartitionRecords = _PartitionRecords


class StageApp(faust.App):  # type: ignore[misc]
    """The Faust app of one stage. `linger_ms`: as Stage has it."""

    linger_ms = 0


class ConsumerThread(AIOKafkaConsumerThread):  # type: ignore[misc]
    """Assigns partition p of every input to the same worker: that is what makes a slot."""

    def _create_worker_consumer(self, transport: AioKafkaTransport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._partition_assignment_strategy = (RangePartitionAssignor,)
        return consumer

    async def _fetch_records(self, consumer: AIOKafkaConsumer, *args: Any, **options: Any) -> dict[TP, Sequence[Any]]:
        """Hand the fetched partitions over in turn: aiokafka empties one before it comes to the next, and slots of the others starve."""
        records: dict[TP, Sequence[Any]] = await super()._fetch_records(consumer, *args, **options)
        waiting = consumer._fetcher._records
        for tp in records:
            if tp in waiting:
                waiting.move_to_end(tp)
        return records


class Consumer(AioKafkaConsumer):  # type: ignore[misc]
    """Yields chunks instead of records."""

    _linger: Linger | None = None

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109 - Faust's signature
        """Fetch, and yield one message per partition."""
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            # a rebalance began while we fetched: what came is fetched again from the committed offsets
            with contextlib.suppress(IllegalStateError, AssertionError):
                # It asks for one partition after the other. Where the new assignment comes meanwhile aiokafka raises one of these, and
                # begins at the committed offsets by itself.
                await self.perform_seek()
            return
        if records:
            self._gather(sum(map(len, records.values())))
        for tp, chunk in records.items():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return
            if chunk and (active is None or tp in active or tp in self._buffered_partitions):
                yield tp, self._chunk(tp, chunk, generation)

    def _gather(self, fetched: int) -> None:
        if self._linger is None:
            self._linger = Linger(cast(StageApp, self.app).linger_ms, time.monotonic())
        fetcher = self._thread._consumer._fetcher
        fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms = self._linger.next(fetched, time.monotonic())

    def _chunk(self, tp: TP, chunk: Sequence[Any], generation: int) -> ChunkMessage:
        last = chunk[-1]
        message = ChunkMessage(
            last.topic,
            last.partition,
            last.offset,
            last.timestamp / 1000.0,
            LOG_APPEND_TIME,
            (),
            None,
            b"",
            None,
            0,
            0,
            tp,
            generation_id=generation,  # Faust drops, without a word, what is not of the current generation
        )
        message.records = chunk
        return message

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Gaps mean nothing here: offsets inside a chunk are never acked one by one."""

    def _new_offset(self, tp: TP) -> int | None:
        """The end of the last acked chunk: chunks of a partition are acked in order."""
        acked = self._acked[tp]
        if not acked:
            return None
        last = max(acked)
        acked.clear()
        self._acked_index[tp].clear()
        return cast(int, last) + 1


class Transport(AioKafkaTransport):  # type: ignore[misc]
    """Found by Faust under the scheme `rapport://` (entry point group faust.transports)."""

    Consumer = Consumer
    driver_version = "rapport/1"
