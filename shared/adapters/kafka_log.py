"""The log on Kafka, by confluent-kafka: an idempotent producer without gaps, plain readers without a group, offsets.

Faust consumes; this reads again what Faust will not deliver (a gap behind a takeover, the tails of output topics) and writes all that a
stage puts out.
"""

import asyncio
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.kafka_offsets import Offsets
from shared.contracts.topics import LARGE_RECORD_BYTES
from shared.runtime.failpoints import failpoint
from shared.runtime.ports import Halted, LogAway
from shared.runtime.ports import TopicPartition as Where
from shared.runtime.stage import Output, ReadRecord, Record

CALL_TIMEOUT_S: Final = 10.0
READ_PAGE: Final = 2000
QUEUED_KILOBYTES: Final = 64 * 1024
"""What waits in one process for Kafka at most; beyond it slots wait."""
READER_IDLE_S: Final = 10.0
"""A reader that nobody asks for so long gives its connections and buffers back: more than the pauses within a takeover."""
_log = structlog.get_logger("kafka")


class Publisher:
    """One idempotent producer for a whole process. Never times a record out, never reorders, never leaves a gap: else it halts."""

    def __init__(self, kafka: KafkaConnection, client_id: str) -> None:
        self._producer = kafka.producer(
            {
                "client.id": client_id,
                "acks": "all",
                "enable.idempotence": True,
                "enable.gapless.guarantee": True,
                "message.timeout.ms": 0,
                "message.max.bytes": LARGE_RECORD_BYTES,
                "linger.ms": 5,  # slots that were given chunks together share requests: each costs the broker as much as ten records
                "batch.num.messages": 10_000,
                "queue.buffering.max.messages": 200_000,
                "queue.buffering.max.kbytes": QUEUED_KILOBYTES,
                "error_cb": self._on_error,
                "log_level": 2,
            }
        )
        self._fatal: str | None = None
        self._waiting: dict[asyncio.Future[Any], float] = {}
        self._stopping = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._poll, name="kafka-delivery", daemon=True)
        self._thread.start()

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(0.2)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = str(error)
            self._loop.call_soon_threadsafe(self._fail_all)
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            _log.warning("Kafka does not answer, waiting", detail=str(error))

    def _fail_all(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(Halted(f"the producer lost its order: {self._fatal}"))

    def waiting_s(self) -> float:
        """Seconds for which the oldest publication has been waiting for Kafka; 0 if none is. librdkafka waits without a word."""
        return time.monotonic() - min(self._waiting.values()) if self._waiting else 0.0

    async def publish(self, outputs: Sequence[Output]) -> dict[Where, int]:
        """As Log.publish. Only the last record of each partition asks for a report: the others cannot fail without it failing."""
        last = {(output.topic, output.partition): index for index, output in enumerate(outputs)}
        done: asyncio.Future[None] = self._loop.create_future()
        ends: dict[Where, int] = {}
        self._waiting[done] = time.monotonic()
        try:
            for index, output in enumerate(outputs):
                where = (output.topic, output.partition)
                report = self._report(where, ends, len(last), done) if last[where] == index else None
                while not self._produce(output, report):  # noqa: ASYNC110 - librdkafka has no event for it
                    await asyncio.sleep(0.02)  # the queue is full: what is in it must go first
                if index == len(outputs) // 2:
                    failpoint("log.mid_publication")
            await done
        finally:
            del self._waiting[done]
        return ends

    def _report(self, where: Where, ends: dict[Where, int], expected: int, done: "asyncio.Future[None]") -> Any:
        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._loop.call_soon_threadsafe(fail, str(error))
                return
            ends[where] = (message.offset() or 0) + 1
            if len(ends) == expected:
                self._loop.call_soon_threadsafe(finish)

        def finish() -> None:
            if not done.done():
                done.set_result(None)

        def fail(detail: str) -> None:
            if not done.done():
                done.set_exception(Halted(f"a record for {where[0]}[{where[1]}] was refused: {detail}"))

        return delivered

    def _produce(self, output: Output, report: Any) -> bool:
        """False if the producer's queue is full."""
        if self._fatal is not None:
            raise Halted(f"the producer lost its order: {self._fatal}")
        try:
            self._producer.produce(output.topic, output.value, output.key, output.partition, report, headers=output.headers)
        except BufferError:
            return False
        except KafkaException as error:
            raise Halted(f"a record for {output.topic}[{output.partition}] cannot be produced: {error}") from error
        return True

    def close(self) -> None:
        self._producer.flush(5.0)
        self._stopping.set()
        self._thread.join(5.0)


class _Reader:
    """A consumer without a group on one partition; keeps its place between calls. Closed, it opens again when it is asked.

    `used`: when it was asked or answered last, in seconds of the monotonic clock. `watched`: somebody looks whether it is idle.
    """

    def __init__(self, kafka: KafkaConnection, where: Where) -> None:
        self.used = time.monotonic()
        self.watched = False
        self._kafka = kafka
        self._where = where
        self._lock = threading.Lock()
        self._next = -1
        self._consumer: Consumer | None = None

    @property
    def open(self) -> bool:
        return self._consumer is not None

    def _new_consumer(self) -> Consumer:
        return self._kafka.reader(
            {
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "queued.max.messages.kbytes": 2 * 1024,
                "fetch.wait.max.ms": 100,
                "log_level": 2,
            }
        )

    def read(self, start: int, end: int) -> tuple[list[Record], int]:
        with self._lock:
            self.used = time.monotonic()
            try:
                if self._consumer is None:
                    self._consumer = self._new_consumer()
                return self._read(self._consumer, start, end)
            except KafkaException as error:
                self._next = -1
                raise LogAway(f"cannot read {self._where[0]}[{self._where[1]}]: {error}") from error
            finally:
                self.used = time.monotonic()

    def _read(self, consumer: Consumer, start: int, end: int) -> tuple[list[Record], int]:
        topic, partition = self._where
        if start != self._next:
            consumer.assign([TopicPartition(topic, partition, start)])
            self._next = start
        out: list[Record] = []
        deadline = time.monotonic() + CALL_TIMEOUT_S
        while not out and self._next < end:
            if time.monotonic() > deadline:
                self._next = -1
                raise LogAway(f"cannot read {topic}[{partition}] from {start} to {end}: no answer in {CALL_TIMEOUT_S} s")
            messages = consumer.consume(1, timeout=1.0)
            messages += consumer.consume(READ_PAGE - 1, timeout=0)  # what is at hand: it would wait for the last one
            for message in messages:
                self._take(message, end, out)
        return out, min(self._next, end)

    def _take(self, message: Message, end: int, out: list[Record]) -> None:
        error = message.error()
        offset = message.offset() or 0
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            self._next = max(self._next, offset)  # one below `end` is old, or tells of a transaction that is still open
            return
        self._next = offset + 1
        if offset < end:
            out.append(ReadRecord(*self._where, offset, message.timestamp()[1], message.key(), message.value(), message.headers() or ()))

    def close(self) -> None:
        """Give connections and buffers back, once a read that is under way has ended."""
        with self._lock:
            consumer, self._consumer, self._next = self._consumer, None, -1
            if consumer is not None:
                consumer.close()


class KafkaLog:
    """The port `Log` on Kafka. Readers that nobody has asked for `reader_idle_s` are closed; they open again when asked."""

    def __init__(self, kafka: KafkaConnection, publisher: Publisher, reader_idle_s: float = READER_IDLE_S) -> None:
        self._kafka = kafka
        self._publisher = publisher
        self._reader_idle_s = reader_idle_s
        self._offsets = Offsets(kafka, CALL_TIMEOUT_S, {"log_level": 2})
        self._readers: dict[Where, _Reader] = {}

    async def publish(self, outputs: Sequence[Output]) -> Mapping[Where, int]:
        return await self._publisher.publish(outputs)

    async def read(self, topic: str, partition: int, start: int, end: int) -> tuple[list[Record], int]:
        reader = self._readers.get((topic, partition))
        if reader is None:
            reader = self._readers[topic, partition] = _Reader(self._kafka, (topic, partition))
        if not reader.watched:
            reader.watched = True
            asyncio.get_running_loop().call_later(self._reader_idle_s, self._close_if_idle, reader)
        return await asyncio.to_thread(reader.read, start, end)

    def _close_if_idle(self, reader: _Reader) -> None:
        """Close a reader that has nothing left to read, or look again when it may have. A slot never has to say that it has read all."""
        loop = asyncio.get_running_loop()
        left = reader.used + self._reader_idle_s - time.monotonic()
        if left > 0:
            loop.call_later(left, self._close_if_idle, reader)
        else:
            reader.watched = False  # whoever asks from now on opens it again, and has it watched
            loop.run_in_executor(None, reader.close)

    @property
    def open_readers(self) -> int:
        """How many readers hold connections and buffers now."""
        return sum(reader.open for reader in self._readers.values())

    async def bounds(self, partitions: Iterable[Where]) -> dict[Where, tuple[int, int]]:
        return await asyncio.to_thread(self._bounds, list(partitions))

    def _bounds(self, partitions: Sequence[Where]) -> dict[Where, tuple[int, int]]:
        first, end = self._offsets.starts(partitions), self._offsets.ends(partitions)
        return {where: (first[where], end[where]) for where in partitions}

    async def ends(self, partitions: Sequence[Where]) -> dict[Where, int]:
        """The next offset of each partition."""
        return await asyncio.to_thread(self._offsets.ends, list(partitions))

    async def at(self, partitions: Iterable[Where], when_ms: int) -> dict[Where, int]:
        return await asyncio.to_thread(self._at, list(partitions), when_ms)

    def _at(self, partitions: Sequence[Where], when_ms: int) -> dict[Where, int]:
        found = self._offsets.since(partitions, when_ms)
        later = [where for where, offset in found.items() if offset < 0]  # nothing has come since
        return found | self._offsets.ends(later)

    async def committed(self, group: str, partitions: Iterable[Where]) -> dict[Where, int]:
        return await asyncio.to_thread(self._committed, group, list(partitions))

    def _committed(self, group: str, partitions: Sequence[Where]) -> dict[Where, int]:
        found = self._offsets.committed(group, partitions)
        return {where: found.get(where, 0) for where in partitions}

    def close_readers(self) -> None:
        """Give back the connections and buffers of all readers now; they come back when asked for."""
        for reader in self._readers.values():
            reader.close()
        self._offsets.close()
