"""Kafka, read without a group: records by place, offsets, what groups have committed."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.kafka_offsets import Offsets
from shared.reading.away import LogAway
from shared.reading.inputs import Where
from shared.reading.pools import WAITING, Pool
from shared.runtime import ports

P = ParamSpec("P")
T = TypeVar("T")

CALL_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.1
OFFSET_THREADS: Final = 4
PAGE_BYTES: Final = 64 * 1024 * 1024
"""More than this is not held for one page."""


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
        self._kafka = kafka
        self._offsets = Offsets(kafka, CALL_SECONDS, quiet)
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
        return await self._looks.run(_told, self._offsets.ends, list(partitions))

    async def starts(self, partitions: Iterable[Where]) -> dict[Where, int]:
        """The first offset that each partition still has. Raises LogAway."""
        return await self._looks.run(_told, self._offsets.starts, list(partitions))

    async def began(self, partitions: Iterable[Where]) -> int | None:
        """When the log took the oldest record that these partitions still have, epoch ms, to the second; None: none. Raises LogAway."""
        return await self._looks.run(_told, self._offsets.began, list(partitions))

    async def bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        """(first, next) offset of every partition of `topic`. Raises LogAway."""
        return await self._looks.run(_told, self._bounds, topic)

    async def committed(self, group: str, partitions: Iterable[Where]) -> dict[Where, int]:
        """What a consumer group has committed; partitions without a commit are left out. Raises LogAway."""
        return await self._looks.run(_told, self._offsets.committed, group, list(partitions))

    async def read(self, topic: str, ranges: Mapping[int, tuple[int, int]]) -> list[LogRecord]:
        """All records in the ranges [start, end) of partitions. Raises LogAway, TooMuch."""
        return await self._pages.run(self._read, topic, dict(ranges))

    def _bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        places = self._offsets.partitions(topic)
        first, end = self._offsets.starts(places), self._offsets.ends(places)
        return {partition: (first[topic, partition], end[topic, partition]) for _, partition in places}

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
        self._offsets.close()
        with self._lock:
            if self._consumer is not None:
                self._consumer.close()


def _told(ask: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """What Kafka answers, or why it does not, as the others say it. Raises LogAway."""
    try:
        return ask(*args, **named)
    except ports.LogAway as away:
        raise LogAway(str(away)) from away
