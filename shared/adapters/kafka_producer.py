"""A Kafka producer for one event loop: `send` gives a future that is done when Kafka has acknowledged every record.

acks=all and idempotent: a record is written once however often librdkafka retries. Records go to the slot of their key
(`partitioner=murmur2` is Kafka's own hash, the one of shared/contracts/slots.py).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException

from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.waiting import until_set
from shared.contracts.topics import LARGE_RECORD_BYTES

POLL_SECONDS = 0.001


class Record(NamedTuple):
    """One record to publish."""

    topic: str
    key: bytes
    value: bytes


class NotAcknowledged(Exception):
    """Kafka did not acknowledge: the records may be in the log or not, so the caller must send them again."""


class QueueFull(Exception):
    """More is waiting for Kafka than may wait; what was queued of this request will still be written."""


class _Receipt:
    """Counts the delivery reports of one `send`."""

    __slots__ = ("error", "future", "left", "owner")

    def __init__(self, owner: "AcknowledgedProducer", future: "asyncio.Future[None]", count: int) -> None:
        self.owner, self.future, self.left = owner, future, count
        self.error: KafkaError | None = None

    def __call__(self, error: KafkaError | None, _message: object) -> None:
        """One report. Called by librdkafka's poll, in the loop's own thread."""
        owner = self.owner
        owner.in_flight -= 1
        self.left -= 1
        if error is None:
            owner.progressed = True
        else:
            self.error = error
            owner.failed(error)
        if not self.left and not self.future.done():
            if self.error is None:
                self.future.set_result(None)
            else:
                self.future.set_exception(NotAcknowledged(self.error.str()))


class AcknowledgedProducer:
    """One librdkafka producer, polled by the event loop.

    Polling from a second thread would hand every report over through a lock and the GIL, whose switch interval is 5 ms; from a
    timer of the loop, which runs only while records are in flight, a report costs one call.
    """

    def __init__(
        self,
        kafka: KafkaConnection,
        client_id: str,
        *,
        on_failure: Callable[[KafkaError], None] = lambda error: None,
        delivery_timeout_ms: int = 5_000,
        linger_ms: float = 3,
        max_queued_bytes: int = 64 * 1024 * 1024,
        settings: dict[str, Any] | None = None,
    ) -> None:
        """`on_failure` hears of each failed delivery, and of fatal errors (`error.fatal()`), after which nothing can be sent."""
        self.in_flight = 0
        self.progressed = False
        self._on_failure = on_failure
        self._waiting_since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._drained = asyncio.Event()
        self._producer = kafka.producer(
            {
                "client.id": client_id,
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2",
                "message.timeout.ms": delivery_timeout_ms,
                "linger.ms": linger_ms,
                "batch.size": 1024 * 1024,
                "message.max.bytes": LARGE_RECORD_BYTES,
                "queue.buffering.max.messages": 500_000,
                "queue.buffering.max.kbytes": max_queued_bytes // 1024,
                # Come back soon after a broker does; the default waits up to 10 s.
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 500,
                "socket.connection.setup.timeout.ms": 3_000,
                "api.version.request.timeout.ms": 3_000,
                "log_level": 2,
                "error_cb": self._error,
                **(settings or {}),
            }
        )

    def send(self, records: Sequence[Record]) -> "asyncio.Future[None]":
        """Queue the records, in order. The future ends when all are acknowledged, or raises NotAcknowledged.

        Raises QueueFull.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        receipt = _Receipt(self, future, len(records))
        produce = self._producer.produce
        queued = 0
        try:
            for topic, key, value in records:
                produce(topic, value, key, on_delivery=receipt)
                queued += 1
        except BufferError:
            future.cancel()
            raise QueueFull from None
        except KafkaException as error:  # a fatal state, or a record above message.max.bytes
            future.cancel()
            self.failed(error.args[0])
            raise NotAcknowledged(error.args[0].str()) from None
        finally:
            if queued:
                if not self.in_flight:
                    self._waiting_since = loop.time()
                self.in_flight += queued
                if self._timer is None:
                    self._timer = loop.call_later(POLL_SECONDS, self._poll, loop)
        return future

    def waiting_seconds(self) -> float:
        """How long records have been in flight without any acknowledgement; 0 if none are."""
        return asyncio.get_running_loop().time() - self._waiting_since if self.in_flight else 0.0

    def failed(self, error: KafkaError) -> None:
        self._on_failure(error)

    async def partitions(self, topic: str, seconds: float) -> int | None:
        """The topic's partition count (0: there is no such topic) as the broker says now; None if it does not answer."""
        try:
            found = await asyncio.to_thread(self._producer.list_topics, topic, seconds)
        except KafkaException:
            return None
        return len(found.topics[topic].partitions)

    def serve_events(self) -> None:
        """Hear of errors while nothing is being sent. To be called about once a second."""
        self._producer.poll(0)

    async def close(self, seconds: float) -> int:
        """Wait until everything in flight is reported; returns how many records are not."""
        self._drained.clear()
        if self.in_flight:
            await until_set(self._drained, seconds)
        if self._timer is not None:
            self._timer.cancel()
        return self.in_flight

    def _poll(self, loop: asyncio.AbstractEventLoop) -> None:
        self._producer.poll(0)
        if self.progressed:
            self.progressed = False
            self._waiting_since = loop.time()
        if self.in_flight:
            self._timer = loop.call_later(POLL_SECONDS, self._poll, loop)
        else:
            self._timer = None
            self._drained.set()

    def _error(self, error: KafkaError) -> None:
        if error.fatal():
            self.failed(error)
