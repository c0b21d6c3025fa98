"""The records that make slots switch: one in each partition of definition.activated, appended behind the set, and mended where one lacks.

Whoever applies a set may die before all partitions have their record. So the newest record of each is compared with the newest set,
at the start and whenever a set has come. A record that is there twice changes nothing.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.kafka_offsets import Offsets
from shared.contracts.definitions import ACTIVATED_DECODER, ACTIVATED_KEY, ENCODER, DefinitionActivated, DefinitionSet
from shared.contracts.topics import DEFINITION_ACTIVATED
from shared.runtime.failpoints import failpoint
from shared.runtime.ports import LogAway

CALL_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.1
_QUIET: Final = {"reconnect.backoff.max.ms": 500, "log_level": 0}


class DefinitionActivations:
    """One caller at a time. Calls block for seconds."""

    def __init__(self, kafka: KafkaConnection, client_id: str) -> None:
        self._kafka = kafka
        self._offsets = Offsets(kafka, CALL_SECONDS, _QUIET)
        self._producer = kafka.producer(
            {
                **_QUIET,
                "client.id": client_id,
                "acks": "all",
                "enable.idempotence": True,
                "message.timeout.ms": int(CALL_SECONDS * 1000),
                "linger.ms": 0,
            }
        )

    def complete(self, head: DefinitionSet) -> Sequence[int]:
        """Append the record of `head` to each partition whose newest is of a set before it; returns those. Raises LogAway."""
        newest = self.newest()
        missing = [p for p, found in newest.items() if found is None or found.activated_at < head.activated_at]
        self._append(DefinitionActivated(head.number, head.activated_at), missing)
        return missing

    def newest(self) -> Mapping[int, DefinitionActivated | None]:
        """The newest record of every partition; None: there is none that can be read. Raises LogAway."""
        places = self._offsets.partitions(DEFINITION_ACTIVATED)
        starts, ends = self._offsets.starts(places), self._offsets.ends(places)
        last = {partition: ends[topic, partition] - 1 for topic, partition in places if ends[topic, partition] > starts[topic, partition]}
        read = self._read(last) if last else {}
        return {partition: read.get(partition) for _, partition in places}

    def close(self) -> None:
        self._producer.flush(CALL_SECONDS)
        self._offsets.close()

    def _read(self, offsets: Mapping[int, int]) -> dict[int, DefinitionActivated | None]:
        consumer = self._kafka.reader({**_QUIET, "auto.offset.reset": "error"})
        try:
            consumer.assign([TopicPartition(DEFINITION_ACTIVATED, partition, offset) for partition, offset in offsets.items()])
            return self._one_of_each(consumer, set(offsets))
        except KafkaException as error:
            raise LogAway(f"{DEFINITION_ACTIVATED} cannot be read: {error.args[0].str()}") from error
        finally:
            consumer.close()

    def _one_of_each(self, consumer: Consumer, waiting: set[int]) -> dict[int, DefinitionActivated | None]:
        found: dict[int, DefinitionActivated | None] = {}
        deadline = time.monotonic() + CALL_SECONDS
        while waiting:
            message = consumer.poll(POLL_SECONDS)
            if message is None:
                if time.monotonic() > deadline:
                    raise LogAway(f"{DEFINITION_ACTIVATED} cannot be read: no answer")
                continue
            if error := message.error():
                raise KafkaException(error)
            partition = message.partition() or 0
            waiting.discard(partition)
            found[partition] = _decoded(message)
        return found

    def _append(self, record: DefinitionActivated, partitions: Sequence[int]) -> None:
        reports: list[KafkaError | None] = []
        try:
            for place, partition in enumerate(partitions):
                if place == len(partitions) // 2:
                    self._wait(reports, place)
                    failpoint("definitions.in_activation")
                self._producer.produce(
                    DEFINITION_ACTIVATED,
                    ENCODER.encode(record),
                    ACTIVATED_KEY,
                    partition=partition,
                    on_delivery=lambda error, _message: reports.append(error),
                )
        except (BufferError, KafkaException) as error:
            raise LogAway(f"Kafka does not take records: {error}") from error
        self._wait(reports, len(partitions))

    def _wait(self, reports: Sequence[KafkaError | None], count: int) -> None:
        """Until so many records are acknowledged. Raises LogAway."""
        deadline = time.monotonic() + CALL_SECONDS + 1
        while len(reports) < count and time.monotonic() < deadline:
            self._producer.poll(POLL_SECONDS)
        failed = next((report for report in reports if report is not None), None)
        if failed is not None or len(reports) < count:
            raise LogAway(f"Kafka did not acknowledge: {failed.str() if failed else 'no answer'}")


def _decoded(message: Message) -> DefinitionActivated | None:
    try:
        return ACTIVATED_DECODER.decode(message.value() or b"")
    except msgspec.DecodeError:
        return None
