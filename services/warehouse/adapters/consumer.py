"""The log by a plain confluent-kafka consumer: whole batches out, offsets with metadata in."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, Message, TopicPartition

from services.warehouse.adapters.ranges import read_ranges, record
from services.warehouse.domain.progress import Place, Progress, Range, UnreadableProgressError, decode
from services.warehouse.domain.rows import Record
from services.warehouse.ports import Assigned, LogAway, Rebalance
from shared.adapters.kafka_clients import KafkaConnection

QUEUE_KILOBYTES: Final = 32 * 1024
FETCH_BYTES, FETCH_MS = 512 * 1024, 100
"""Rows wait for company here anyway: the broker may gather them and answer a tenth as often."""
CALL_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 60.0

_log = structlog.get_logger("warehouse.log")


class LogConsumer:
    """A member of one consumer group over `topics`. One thread."""

    def __init__(self, kafka: KafkaConnection, group: str, topics: Sequence[str], session_timeout_s: float, rebalance: Rebalance) -> None:
        self._kafka, self._rebalance = kafka, rebalance
        self._changed = False
        self._paused = False
        self._next: dict[Place, int] = {}
        self._reached: dict[Place, int] = {}
        self._consumer = kafka.consumer(
            {
                "group.id": group,
                "client.id": group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "range",
                "session.timeout.ms": int(session_timeout_s * 1000),
                "heartbeat.interval.ms": int(session_timeout_s * 1000 / 4),
                "allow.auto.create.topics": False,
                "queued.max.messages.kbytes": QUEUE_KILOBYTES,
                "fetch.min.bytes": FETCH_BYTES,
                "fetch.wait.max.ms": FETCH_MS,
                "error_cb": _on_error,
                "log_level": 2,
            }
        )
        self._consumer.subscribe(list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)

    def _on_assign(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        assigned = [self._begin(consumer, committed) for committed in self._committed(consumer, partitions)]
        consumer.assign([TopicPartition(one.place.topic, one.place.partition, one.progress.next) for one in assigned])
        consumer.resume(partitions)  # what was paused before a rebalance stays paused after it
        self._next = {one.place: one.progress.next for one in assigned}
        self._reached = {}
        self._changed, self._paused = True, False
        self._rebalance.assigned(assigned)

    def _committed(self, consumer: Any, partitions: list[TopicPartition]) -> list[TopicPartition]:
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return _told(consumer, partitions)
            except LogAway:
                if time.monotonic() > end:
                    raise

    def _begin(self, consumer: Any, committed: TopicPartition) -> Assigned:
        place = Place(committed.topic, committed.partition)
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                low, _ = consumer.get_watermark_offsets(committed, timeout=CALL_SECONDS)
                break
            except KafkaException as away:
                if time.monotonic() > end:
                    raise LogAway(f"the start of {place} is not told: {away}") from away
        if committed.offset == OFFSET_INVALID:
            return Assigned(place, Progress(low), 0)
        progress = _progress(committed)
        return Assigned(place, progress, max(0, low - progress.next))

    def _on_revoke(self, consumer: Any, _: list[TopicPartition]) -> None:
        self._next, self._reached = {}, {}
        self._changed = True
        self._rebalance.revoked()

    def read(self, most: int, seconds: float) -> list[tuple[Place, Record]]:
        """As Log.read."""
        return self._taken(self._consumer.consume(most, seconds))

    def keep_alive(self, seconds: float) -> list[tuple[Place, Record]]:
        """As Log.keep_alive."""
        if not self._paused:
            self._consumer.pause(self._consumer.assignment())
            self._paused = True
        message = self._consumer.poll(seconds)
        return self._taken([message] if message is not None else [])

    def resume(self) -> None:
        """As Log.resume."""
        if self._paused:
            self._consumer.resume(self._consumer.assignment())
            self._paused = False

    def _taken(self, messages: list[Message]) -> list[tuple[Place, Record]]:
        changed, self._changed = self._changed, False
        if changed and messages:  # some may be of the assignment before: all are read again
            self._consumer.assign([TopicPartition(place.topic, place.partition, offset) for place, offset in self._next.items()])
            return []
        read = []
        for message in messages:
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                self._reached[Place(message.topic(), message.partition())] = message.offset()
                continue
            if error is not None:
                _on_error(error)
                continue
            read.append((Place(message.topic(), message.partition()), record(message)))
        return read

    def commit(self, progress: Mapping[Place, Progress]) -> None:
        """As Log.commit."""
        offsets = [TopicPartition(place.topic, place.partition, one.next, metadata=one.encode()) for place, one in progress.items()]
        try:
            told = self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as refused:
            raise LogAway(str(refused)) from refused
        failed = next((one.error for one in told or () if one.error), None)
        if failed is not None:
            raise LogAway(str(failed))

    def committed(self, places: Sequence[Place]) -> Mapping[Place, Progress]:
        """As Log.committed."""
        told = _told(self._consumer, [TopicPartition(*place) for place in places])
        return {Place(one.topic, one.partition): Progress(0) if one.offset == OFFSET_INVALID else _progress(one) for one in told}

    def again(self, ranges: Mapping[Place, Range]) -> Mapping[Place, list[Record]]:
        """As Log.again."""
        return read_ranges(self._kafka, ranges)

    def reached(self) -> Mapping[Place, int]:
        """As Log.reached."""
        return self._reached

    def spans(self, stood: Mapping[Place, int], from_ms: int) -> Mapping[Place, tuple[int, int]]:
        """As Log.spans."""
        places = list(stood)
        try:
            bounds = {place: self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=CALL_SECONDS) for place in places}
            asked = [TopicPartition(*place, from_ms) for place in places]
            told = self._consumer.offsets_for_times(asked, timeout=CALL_SECONDS) if from_ms else []
        except KafkaException as away:
            raise LogAway(f"offsets are not told: {away}") from away
        found = {Place(one.topic, one.partition): one.offset for one in told}
        spans = {}
        for place, (low, high) in bounds.items():
            at = found.get(place, low)
            wanted = high if at < 0 else at  # below zero: nothing is so young
            spans[place] = (max(low, min(wanted, stood[place])), high)
        return spans

    def go_back(self, to: Mapping[Place, int]) -> None:
        """As Log.go_back."""
        self._next, self._reached = dict(to), {}
        self._changed = True
        self._consumer.assign([TopicPartition(place.topic, place.partition, offset) for place, offset in to.items()])
        self._paused = True
        self.resume()

    def waiting(self, progress: Mapping[Place, int]) -> Mapping[str, int]:
        """As Log.waiting."""
        behind: dict[str, int] = {}
        for place, offset in progress.items():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(place.topic, place.partition), cached=True)
            behind[place.topic] = behind.get(place.topic, 0) + max(0, high - offset)
        return behind

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()


def _told(consumer: Any, partitions: list[TopicPartition]) -> list[TopicPartition]:
    """What the group committed for these. Raises LogAway."""
    try:
        told: list[TopicPartition] = consumer.committed(partitions, timeout=CALL_SECONDS)
        failed = next((one.error for one in told if one.error), None)
        if failed is not None:
            raise KafkaException(failed)
    except KafkaException as away:
        raise LogAway(f"committed offsets are not told: {away}") from away
    return told


def _progress(committed: TopicPartition) -> Progress:
    """What a commit says; of one that is not ours, its offset."""
    try:
        return decode(committed.partition, committed.offset, committed.metadata or "")
    except UnreadableProgressError as foreign:
        _log.error(
            "a commit that is not ours: going on at its offset",
            topic=committed.topic,
            partition=committed.partition,
            detail=str(foreign),
        )
        return Progress(committed.offset)


def _on_error(error: KafkaError) -> None:
    if error.fatal():
        raise LogAway(str(error))
    if error.code() not in (KafkaError._TRANSPORT, KafkaError._RESOLVE):  # twenty a second while a broker is away; "all are down" follows
        _log.warning("Kafka says", detail=str(error))
