"""Requests read again from the log by their offset: what a slot passed over because its hands were full, or put off.

Each class has a reader, so a transactional request that is read again waits for no page of a campaign, in its slot or in the process.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from services.messaging.adapters.records import record_of
from services.messaging.dispatch.ports import Page
from services.messaging.dispatch.queue import Class
from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.topics import MESSAGE_REQUESTED
from shared.runtime.ports import LogAway
from shared.runtime.stage import ReadRecord

CALL_S: Final = 10.0
POLL_S: Final = 0.5
PAGE: Final = 500
PAGE_BYTES: Final = 1024 * 1024


class KafkaRequestLog:
    """A reader for each class, for all slots of the process: what is urgent never waits for pages of a campaign."""

    def __init__(self, kafka: KafkaConnection, group: str) -> None:
        self._readers = {one: _Reader(kafka, f"{group}-again-{one.label}") for one in Class}

    async def read(self, partition: int, start: int, one: Class) -> Page:
        return await self._readers[one].read(partition, start)

    async def begins(self, partition: int) -> int:
        return await self._readers[Class.MARKETING].begins(partition)

    async def close(self) -> None:
        """What is being read is given up."""
        await asyncio.gather(*(reader.close() for reader in self._readers.values()))


class _Reader:
    """A consumer in a thread of its own. It belongs to no group and commits nothing."""

    def __init__(self, kafka: KafkaConnection, name: str) -> None:
        self._closing = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="request-log")
        self._consumer = kafka.reader(
            {
                "client.id": name,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "fetch.message.max.bytes": PAGE_BYTES,
                "queued.max.messages.kbytes": 2 * PAGE_BYTES // 1024,
                "fetch.wait.max.ms": 20,  # each turn to another place waits for the fetch that is under way: half a second by the default
                "fetch.queue.backoff.ms": 10,  # a page fills the queue: by the default the next place waits a second
                "reconnect.backoff.max.ms": 500,
                "log_level": 2,
            }
        )

    async def read(self, partition: int, start: int) -> Page:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, partition, start)

    async def begins(self, partition: int) -> int:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._begins, partition)

    def _begins(self, partition: int) -> int:
        try:
            where = TopicPartition(MESSAGE_REQUESTED, partition)
            first, _ = self._consumer.get_watermark_offsets(where, timeout=CALL_S, cached=False)
        except KafkaException as error:
            raise LogAway(f"cannot see where the requests of slot {partition} begin: {error}") from error
        return int(first)

    def _read(self, partition: int, start: int) -> Page:
        found: list[ReadRecord] = []
        end, size = start, 0
        deadline = time.monotonic() + CALL_S
        try:
            self._consumer.assign([TopicPartition(MESSAGE_REQUESTED, partition, start)])
            while size < PAGE_BYTES and len(found) < PAGE:
                message = self._consumer.poll(0 if found else POLL_S)
                if message is None:
                    if found or self._closing or time.monotonic() > deadline:
                        break
                    continue
                error = message.error()
                if error is None:
                    found.append(record_of(message))
                    end = message.offset() + 1
                    size += len(message.value() or b"")
                elif error.code() == KafkaError._PARTITION_EOF:
                    end = max(end, message.offset())
                    break
                elif time.monotonic() > deadline:
                    raise KafkaException(error)
        except KafkaException as error:
            raise LogAway(f"cannot read requests of slot {partition} again: {error}") from error
        finally:
            self._consumer.unassign()
        if end <= start:
            raise LogAway(f"cannot read requests of slot {partition} again: nothing came from offset {start} in {CALL_S:g} s")
        return Page(found, end)

    async def close(self) -> None:
        self._closing = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._consumer.close)
        self._thread.shutdown(wait=False)
