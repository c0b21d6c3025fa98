"""The way into Kafka: the producer behind a circuit, so that callers hear of an outage at once."""

import asyncio
import functools
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog
from confluent_kafka import KafkaError

from services.ingest.domain.circuit import Circuit
from services.ingest.domain.reasons import Refusal, Refused
from services.ingest.metrics import Metrics
from shared.adapters.kafka_producer import NotAcknowledged, QueueFull, Record
from shared.adapters.waiting import until_set
from shared.contracts.topics import EVENT_RECEIVED

RETRY_SECONDS: Final = 2
QUIET_PROBE_SECONDS: Final = 3.0
OPEN_PROBE_SECONDS: Final = 0.5
WATCH_SECONDS: Final = 0.25
NEW_PARTITIONS: Final = "partitions were added to a topic in use, people would move to other slots: nothing is stored; make the topics anew"
_log = structlog.get_logger()


class Producer(Protocol):
    """shared.adapters.kafka_producer.AcknowledgedProducer, or a fake of it."""

    in_flight: int

    def send(self, records: Sequence[Record]) -> "asyncio.Future[None]": ...
    def waiting_seconds(self) -> float: ...
    def serve_events(self) -> None: ...
    async def partitions(self, topic: str, seconds: float) -> int | None: ...
    async def close(self, seconds: float) -> int: ...


class LogWriter:
    """Writes records and keeps the circuit. `available` while the topic is there with as many partitions as at the start."""

    def __init__(self, producer: Producer, circuit: Circuit, metrics: Metrics) -> None:
        self._producer = producer
        self._circuit = circuit
        self._metrics = metrics
        self._tasks: list[asyncio.Task[None]] = []
        self.topic_seen = False
        self._partitions = 0
        """Of the topic, as seen first; 0 before."""
        self._answered = asyncio.Event()

    @property
    def available(self) -> bool:
        return self.topic_seen and not self._circuit.is_open

    async def wait(self, seconds: float) -> None:
        """Wait until Kafka has answered once, but no longer than that."""
        await until_set(self._answered, seconds)

    def start(self) -> None:
        """Begin to watch Kafka."""
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._probe())]

    async def write(self, records: Sequence[Record]) -> None:
        """Return when Kafka has acknowledged all. Raises Refused: 503 if it does not, 429 if too much is waiting."""
        if self._circuit.is_open:
            raise Refused(503, Refusal.KAFKA_UNAVAILABLE, "events cannot be stored now", retry_after=RETRY_SECONDS)
        try:
            await self._producer.send(records)
        except QueueFull:
            raise Refused(429, Refusal.OVERLOADED, "too many events are waiting to be stored", retry_after=1) from None
        except NotAcknowledged as error:
            self._open(str(error))
            raise Refused(503, Refusal.KAFKA_UNAVAILABLE, "events could not be stored", retry_after=RETRY_SECONDS) from None
        if self._circuit.delivered():
            self._tell()

    async def close(self, seconds: float) -> int:
        """Stop watching, wait for what is in flight; returns how many records were not acknowledged."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for task in self._tasks:
            if not task.cancelled():
                task.result()  # what ended it is a fault of ours
        return await self._producer.close(seconds)

    def _open(self, why: str) -> None:
        was_open = self._circuit.is_open
        self._circuit.failed(why)
        if not was_open:
            self._tell()

    def _tell(self) -> None:
        self._metrics.kafka_available.set(not self._circuit.is_open)
        if self._circuit.is_open:
            _log.error("kafka_unavailable", why=self._circuit.why, answer="503")
        else:
            _log.info("kafka_available")

    async def _watch(self) -> None:
        """Open the circuit when nothing comes back; serve librdkafka's events while idle."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self._producer.serve_events()
            self._metrics.in_flight.set(self._producer.in_flight)
            self._change(functools.partial(self._circuit.waiting, self._producer.waiting_seconds()))

    async def _probe(self) -> None:
        """Ask for metadata: seldom while all is well (readiness must turn red without traffic), often while it is not."""
        while True:
            found = await self._producer.partitions(EVENT_RECEIVED, 2.0)
            if found and self._partitions not in (0, found):
                _log.error("partitions_changed", topic=EVENT_RECEIVED, found=found, at_the_start=self._partitions, todo=NEW_PARTITIONS)
            if found is not None:
                self._partitions = self._partitions or found
                self.topic_seen = 0 < found == self._partitions
                self._answered.set()
            self._change(functools.partial(self._circuit.probed, bool(found) and self.topic_seen, self._producer.waiting_seconds()))
            await asyncio.sleep(QUIET_PROBE_SECONDS if self.available else OPEN_PROBE_SECONDS)

    def _change(self, step: Callable[[], None]) -> None:
        was_open = self._circuit.is_open
        step()
        if self._circuit.is_open != was_open:
            self._tell()


def counting_failures(metrics: Metrics, on_fatal: Callable[[], None]) -> Callable[[KafkaError], None]:
    """The producer's `on_failure`: counts, and ends the process on a fatal error, for then nothing can be sent any more."""

    def failed(error: KafkaError) -> None:
        metrics.produce_errors.inc()
        if error.fatal():
            _log.critical("producer_fatal", error=error.str())
            on_fatal()

    return failed
