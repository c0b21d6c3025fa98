"""Ranges of the log by themselves, whoever their partitions belong to."""

import time
from collections.abc import Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from services.warehouse.domain.progress import Place, Range
from services.warehouse.domain.rows import Record
from services.warehouse.ports import LogAway
from shared.adapters.kafka_clients import KafkaConnection

CALL_SECONDS: Final = 5.0
READ_RECORDS: Final = 2_000
QUEUE_KILOBYTES: Final = 8 * 1024
SILENT_SECONDS: Final = 30.0
"""So long without a record means that Kafka is away."""


def read_ranges(kafka: KafkaConnection, ranges: Mapping[Place, Range]) -> dict[Place, list[Record]]:
    """The records of these ranges, as far as they are still in the log, in order. Raises LogAway."""
    consumer = kafka.reader(
        {
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "queued.max.messages.kbytes": QUEUE_KILOBYTES,
            "log_level": 2,
        }
    )
    try:
        return _read(consumer, ranges)
    except KafkaException as away:
        raise LogAway(f"what was meant cannot be read again: {away}") from away
    finally:
        consumer.close()


def _read(consumer: Consumer, ranges: Mapping[Place, Range]) -> dict[Place, list[Record]]:
    found: dict[Place, list[Record]] = {place: [] for place in ranges}
    last = {}
    for place, wanted in ranges.items():
        low, high = consumer.get_watermark_offsets(TopicPartition(*place), timeout=CALL_SECONDS)
        if max(low, wanted.first) <= min(high - 1, wanted.last):
            last[place] = min(high - 1, wanted.last)
            consumer.incremental_assign([TopicPartition(*place, max(low, wanted.first))])
    heard = time.monotonic()
    while last:
        messages = consumer.consume(READ_RECORDS, 1.0)
        if messages:
            heard = time.monotonic()
        elif time.monotonic() - heard > SILENT_SECONDS:
            raise LogAway(f"what was meant is not told for {SILENT_SECONDS:g} s: {sorted(last)}")
        for message in messages:
            if (error := message.error()) is not None:
                raise KafkaException(error)
            place = Place(message.topic() or "", message.partition() or 0)
            end = last.get(place)
            if end is None:
                continue
            one = record(message)
            if one.offset <= end:
                found[place].append(one)
            if one.offset >= end:
                del last[place]
    return found


def record(message: Message) -> Record:
    """A message as the warehouse has it."""
    return Record(message.offset(), message.timestamp()[1], message.key() or b"", message.value() or b"", message.headers() or ())
