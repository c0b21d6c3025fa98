"""The ledger of one slot in Kafka: a transactional producer that is the slot, and a reader that reads it to its end."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Final, TypeVar

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Producer, TopicPartition

from services.messaging.dispatch.ports import Change, Read
from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.changes import CHANGE_ENCODER
from shared.contracts.failed import FAILED_ENCODER, FailedRecord
from shared.contracts.headers import CAUSE, Cause
from shared.contracts.ledger import LEDGER_DECODER, LEDGER_ENCODER, LedgerEntry
from shared.contracts.slots import slot
from shared.contracts.topics import DISPATCH_RECORDED, LARGE_RECORD_BYTES, MESSAGE_CHANGED, RECORD_FAILED
from shared.runtime.failpoints import failpoint
from shared.runtime.ports import Fenced, LogAway

STAGE: Final = "dispatcher"
CALL_S: Final = 10.0
TRANSACTION_S: Final = 60.0
READ_PAGE: Final = 2000

T = TypeVar("T")


class KafkaLedger:
    """One owner's view. Every call runs in `executor`: librdkafka's transaction calls block.

    transactional.id is the consumer group and the slot: whoever comes later and takes over makes every commit of this one fail (Fenced).
    """

    def __init__(self, kafka: KafkaConnection, group: str, partition: int, executor: Executor) -> None:
        self._kafka = kafka
        self._name = f"{group}-{partition}"
        self._partition = partition
        self._executor = executor
        self._producer: Producer | None = None
        self._in_doubt = False
        self._next_cause = 0

    async def take_over(self) -> Read:
        read = await self._call(self._take_over)
        self._next_cause = read.end
        return read

    async def record(self, changes: Sequence[Change], failed: Sequence[FailedRecord] = ()) -> None:
        """After LogAway the same must be recorded again: if the last commit was in doubt, it is only brought to its end."""
        await self._call(lambda: self._record(changes, failed))

    def close(self) -> None:
        """Forget the producer; an open transaction is left for the next owner to end."""
        self._producer = None

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _take_over(self) -> Read:
        self._in_doubt = False
        self._producer = _producer(self._kafka, self._name)
        try:
            self._producer.init_transactions(CALL_S)
        except KafkaException as error:
            self._producer = None
            raise LogAway(f"cannot take the ledger of slot {self._partition} over: {error}") from error
        return _read_ledger(self._kafka, self._name, self._partition)

    def _record(self, changes: Sequence[Change], failed: Sequence[FailedRecord]) -> None:
        producer = self._producer
        if producer is None:
            raise Fenced("the ledger has not been taken over")
        try:
            if not self._in_doubt:
                producer.begin_transaction()
                self._produce(producer, changes, failed)
                failpoint("dispatcher.in_transaction")
                self._in_doubt = True
            producer.commit_transaction(CALL_S)
            self._in_doubt = False
        except BufferError as error:
            self._abort(producer)
            raise LogAway("too much waits to be written") from error
        except KafkaException as error:
            self._failed(producer, error.args[0], error)

    def _failed(self, producer: Producer, error: KafkaError, cause: Exception) -> None:
        if error.retriable() and not error.txn_requires_abort():
            raise LogAway(f"a commit is in doubt: {error.str()}") from cause
        self._in_doubt = False
        if error.txn_requires_abort():
            self._abort(producer)
            raise LogAway(f"the transaction was given up and can be made again: {error.str()}") from cause
        self._producer = None
        raise Fenced(f"slot {self._partition}: {error.str()}") from cause

    def _abort(self, producer: Producer) -> None:
        try:
            producer.abort_transaction(CALL_S)
        except KafkaException as error:
            self._producer = None
            raise Fenced(f"slot {self._partition}: cannot give a transaction up: {error}") from error

    def _produce(self, producer: Producer, changes: Sequence[Change], failed: Sequence[FailedRecord]) -> None:
        """Causes count the ledger's records: they only grow, also from owner to owner, as the log's end is behind all that were written."""
        for change in changes:
            entry = change.entry
            producer.produce(DISPATCH_RECORDED, LEDGER_ENCODER.encode(entry), entry.dispatch_id.encode(), self._partition)
            cause = Cause(STAGE, DISPATCH_RECORDED, self._partition, self._next_cause, 0)
            self._next_cause += 1
            if change.told is not None:
                key = change.told.profile_id
                value = CHANGE_ENCODER.encode(change.told)
                producer.produce(MESSAGE_CHANGED, value, key.encode(), slot(key), headers=[(CAUSE, cause.encode())])
        for letter in failed:
            cause = Cause(STAGE, letter.topic, letter.partition, letter.offset, 0)
            headers = [(CAUSE, cause.encode()), ("reason", letter.reason.value.encode())]
            producer.produce(RECORD_FAILED, FAILED_ENCODER.encode(letter), letter.key, self._partition, headers=headers)


def _producer(kafka: KafkaConnection, name: str) -> Producer:
    return kafka.producer(
        {
            "client.id": name,
            "transactional.id": name,
            "transaction.timeout.ms": int(TRANSACTION_S * 1000),
            "linger.ms": 0,
            "message.max.bytes": LARGE_RECORD_BYTES,
            "queue.buffering.max.kbytes": 32 * 1024,
            "reconnect.backoff.max.ms": 500,
            "log_level": 2,
        }
    )


def _read_ledger(kafka: KafkaConnection, name: str, partition: int) -> Read:
    """Every committed entry, to the end that the log has now. Nobody else writes: what was open has been ended by the takeover."""
    settings: dict[str, Any] = {
        "client.id": f"{name}-reader",
        "group.id": f"{name}-reader",  # demanded, never used: the partition is assigned by hand and nothing is committed
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "log_level": 2,
    }
    consumer = kafka.consumer(settings)
    entries: list[LedgerEntry] = []
    try:
        where = TopicPartition(DISPATCH_RECORDED, partition, OFFSET_BEGINNING)
        _, end = consumer.get_watermark_offsets(where, timeout=CALL_S, cached=False)
        consumer.assign([where])
        position = 0
        while position < end:
            first = consumer.poll(CALL_S)  # consume() alone would wait for a whole page
            if first is None:
                raise LogAway(f"cannot read the ledger of slot {partition}: no answer in {CALL_S:g} s")
            for message in (first, *consumer.consume(READ_PAGE, timeout=0)):
                error = message.error()
                if error is None:
                    if message.value() is not None:
                        entries.append(LEDGER_DECODER.decode(message.value()))
                    position = message.offset() + 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    position = message.offset()
                else:
                    raise KafkaException(error)
    except KafkaException as error:
        raise LogAway(f"cannot read the ledger of slot {partition}: {error}") from error
    finally:
        consumer.close()
    return Read(entries, end)
