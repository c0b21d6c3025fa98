"""Kafka, as the query service needs it: records by place, offsets, and a few appends that wait for their acknowledgement."""

import contextlib
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from services.query.adapters.pools import WAITING, Pool
from services.query.domain.reasons import LogAway
from services.query.domain.replaying import Append
from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.topics import LARGE_RECORD_BYTES

CALL_SECONDS: Final = 5.0
ACKNOWLEDGED_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.1
OFFSET_THREADS: Final = 4
APPEND_THREADS: Final = 2
PAGE_BYTES: Final = 64 * 1024 * 1024
"""More than this is not held for one page."""

Where = tuple[str, int]


@dataclass(frozen=True, slots=True)
class LogRecord:
    """`timestamp`: log-append time, epoch ms."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class TooMuch(Exception):
    """The ranges hold more bytes than one page may."""


class KafkaReads:
    """Reads without a group. Calls run in threads: pages in one of their own, since one is read at a time, offsets in others."""

    def __init__(self, kafka: KafkaConnection, waiting: int = WAITING) -> None:
        self._pages = Pool("kafka_pages", "Kafka", 1, waiting)
        self._looks = Pool("kafka_offsets", "Kafka", OFFSET_THREADS, waiting)
        quiet: dict[str, Any] = {"reconnect.backoff.max.ms": 500, "log_level": 0}
        self._kafka, self._quiet = kafka, quiet
        self._admin = kafka.admin(quiet)
        self._settings = quiet | {
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "queued.max.messages.kbytes": 8 * 1024,
        }
        self._lock = threading.Lock()
        self._consumer: Consumer | None = None

    async def ends(self, partitions: Iterable[Where]) -> dict[Where, int]:
        """The next offset of each partition. Raises LogAway."""
        return await self._looks.run(self._offsets, list(partitions), OffsetSpec.latest())

    async def starts(self, partitions: Iterable[Where]) -> dict[Where, int]:
        """The first offset that each partition still has. Raises LogAway."""
        return await self._looks.run(self._offsets, list(partitions), OffsetSpec.earliest())

    async def bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        """(first, next) offset of every partition of `topic`. Raises LogAway."""
        return await self._looks.run(self._bounds, topic)

    async def committed(self, group: str, partitions: Iterable[Where]) -> dict[Where, int]:
        """What a consumer group has committed; partitions without a commit are left out. Raises LogAway."""
        return await self._looks.run(self._committed, group, list(partitions))

    async def read(self, topic: str, ranges: Mapping[int, tuple[int, int]]) -> list[LogRecord]:
        """All records in the ranges [start, end) of partitions. Raises LogAway, TooMuch."""
        return await self._pages.run(self._read, topic, dict(ranges))

    def _bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        try:
            found = self._admin.list_topics(topic, timeout=CALL_SECONDS).topics[topic]
        except KafkaException as error:
            raise LogAway(f"Kafka does not answer: {error.args[0].str()}") from error
        if found.error is not None:
            raise LogAway(f"{topic}: {found.error.str()}")
        places = [(topic, partition) for partition in sorted(found.partitions)]
        first = self._offsets(places, OffsetSpec.earliest())
        end = self._offsets(places, OffsetSpec.latest())
        return {partition: (first[topic, partition], end[topic, partition]) for _, partition in places}

    def _offsets(self, partitions: Sequence[Where], spec: OffsetSpec) -> dict[Where, int]:
        if not partitions:
            return {}
        admin = self._admin  # held while it is asked: calls run in several threads
        try:
            asked = admin.list_offsets({TopicPartition(*where): spec for where in partitions}, request_timeout=CALL_SECONDS)
            return {(tp.topic, tp.partition): future.result(CALL_SECONDS + 1).offset for tp, future in asked.items()}
        except KafkaException as error:
            # After a broker's restart librdkafka asks with the old leader epoch for ever (FENCED_LEADER_EPOCH): a new client has none.
            self._admin = self._kafka.admin(self._quiet)
            raise LogAway(f"Kafka does not tell offsets: {error.args[0].str()}") from error
        except TimeoutError as error:
            raise LogAway("Kafka does not tell offsets: no answer") from error

    def _committed(self, group: str, partitions: Sequence[Where]) -> dict[Where, int]:
        asked = ConsumerGroupTopicPartitions(group, [TopicPartition(*where) for where in partitions])
        try:
            (future,) = self._admin.list_consumer_group_offsets([asked], request_timeout=CALL_SECONDS).values()
            found = future.result(CALL_SECONDS + 1).topic_partitions
        except KafkaException as error:
            raise LogAway(f"Kafka does not tell committed offsets: {error.args[0].str()}") from error
        except TimeoutError as error:
            raise LogAway("Kafka does not tell committed offsets: no answer") from error
        return {(tp.topic, tp.partition): tp.offset for tp in found if tp.offset >= 0}

    def _read(self, topic: str, ranges: Mapping[int, tuple[int, int]]) -> list[LogRecord]:
        with self._lock:
            if self._consumer is None:
                self._consumer = self._kafka.reader(self._settings)
            try:
                self._consumer.assign([TopicPartition(topic, partition, start) for partition, (start, _) in ranges.items()])
                return self._collect(self._consumer, ranges)
            except KafkaException as error:
                raise LogAway(f"{topic} cannot be read: {error.args[0].str()}") from error
            finally:
                self._consumer.unassign()

    def _collect(self, consumer: Consumer, ranges: Mapping[int, tuple[int, int]]) -> list[LogRecord]:
        open_ranges = {partition: end for partition, (start, end) in ranges.items() if end > start}
        found: list[LogRecord] = []
        size = 0
        deadline = time.monotonic() + CALL_SECONDS
        while open_ranges:
            message = consumer.poll(POLL_SECONDS)
            if message is None:
                if time.monotonic() > deadline:
                    raise LogAway("Kafka does not give records: no answer")
                continue
            error, partition, offset = message.error(), message.partition() or 0, message.offset() or 0
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                open_ranges.pop(partition, None)
                continue
            end = open_ranges.get(partition)
            if end is None:
                continue
            if offset < end:
                value = message.value()
                size += len(value or b"")
                if size > PAGE_BYTES:
                    raise TooMuch
                headers = tuple(message.headers() or ())
                found.append(LogRecord(message.topic() or "", partition, offset, message.timestamp()[1], message.key(), value, headers))
            if offset >= end - 1:
                del open_ranges[partition]
        return found

    def close(self) -> None:
        for pool in (self._pages, self._looks):
            pool.close()
        if self._consumer is not None:
            self._consumer.close()


class KafkaAppends:
    """An idempotent producer for records that are few and must be in the log when the call returns."""

    def __init__(self, kafka: KafkaConnection, waiting: int = WAITING) -> None:
        self._pool = Pool("kafka_appends", "Kafka", APPEND_THREADS, waiting)
        self._producer = kafka.producer(
            {
                "client.id": "rapport-query",
                "acks": "all",
                "enable.idempotence": True,
                "message.timeout.ms": int(ACKNOWLEDGED_SECONDS * 1000),
                "message.max.bytes": LARGE_RECORD_BYTES,
                "linger.ms": 1,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )

    async def append(self, records: Sequence[Append]) -> None:
        """Return when every record is in the log. Raises LogAway: some of them may be there, and it is safe to append all again."""
        await self._pool.run(self._append, records)

    def _append(self, records: Sequence[Append]) -> None:
        reports: list[KafkaError | None] = []
        try:
            for one in records:
                self._producer.produce(
                    one.topic,
                    one.value,
                    one.key,
                    partition=one.partition,
                    headers=list(one.headers),
                    on_delivery=lambda error, _message: reports.append(error),
                )
        except (BufferError, KafkaException) as error:
            raise LogAway(f"Kafka does not take records: {error}") from error
        deadline = time.monotonic() + ACKNOWLEDGED_SECONDS + 1
        while len(reports) < len(records) and time.monotonic() < deadline:
            self._producer.poll(POLL_SECONDS)
        failed = next((report for report in reports if report is not None), None)
        if failed is not None or len(reports) < len(records):
            raise LogAway(f"Kafka did not acknowledge: {failed.str() if failed else 'no answer'}")

    def close(self) -> None:
        self._pool.close()
        with contextlib.suppress(KafkaException):
            self._producer.flush(ACKNOWLEDGED_SECONDS)
