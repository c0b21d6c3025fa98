"""Kafka, written: a few records that wait for their acknowledgement."""

import contextlib
import time
from collections.abc import Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from services.control.domain.replaying import Append
from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.topics import LARGE_RECORD_BYTES
from shared.reading.away import LogAway
from shared.reading.pools import WAITING, Pool

ACKNOWLEDGED_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.1
THREADS: Final = 2


class KafkaAppends:
    """An idempotent producer for records that are few and must be in the log when the call returns."""

    def __init__(self, kafka: KafkaConnection, waiting: int = WAITING) -> None:
        self._pool = Pool("kafka_appends", "Kafka", THREADS, waiting)
        self._producer = kafka.producer(
            {
                "client.id": "rapport-control",
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
