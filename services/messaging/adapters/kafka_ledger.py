"""The ledger of one slot in Kafka: a transactional producer that is the slot, and a reader that reads it to its end."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Executor
from typing import Final, TypeVar

import msgspec
import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from services.messaging.adapters.ledger_reader import CALL_S, LedgerReader
from services.messaging.dispatch.ports import Change
from services.messaging.domain.ledger import Ledger
from services.messaging.domain.standing import Standing
from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.changes import CHANGE_ENCODER
from shared.contracts.failed import FAILED_ENCODER, FailedRecord
from shared.contracts.headers import CAUSE, Cause
from shared.contracts.ledger import CHECKPOINT_ENCODER, LEDGER_ENCODER, STANDING, Checkpoint, LedgerEntry
from shared.contracts.slots import slot
from shared.contracts.topics import DISPATCH_CHECKPOINTED, DISPATCH_RECORDED, LARGE_RECORD_BYTES, MESSAGE_CHANGED, RECORD_FAILED
from shared.runtime.failpoints import failpoint
from shared.runtime.ports import Fenced, LogAway

STAGE: Final = "dispatcher"
TRANSACTION_S: Final = 60.0

T = TypeVar("T")
_log = structlog.get_logger("dispatcher")


class KafkaLedger:
    """One owner's view. Every call runs in `executor`: librdkafka's transaction calls block.

    transactional.id is the consumer group and the slot: whoever comes later and takes over makes every commit of this one fail (Fenced).
    """

    def __init__(self, kafka: KafkaConnection, group: str, partition: int, executor: Executor, standing: Standing) -> None:
        self._kafka = kafka
        self._name = f"{group}-{partition}"
        self._partition = partition
        self._executor = executor
        self._standing = standing
        self._producer: Producer | None = None
        self._in_doubt = False
        self._closed = False
        self._next_cause = self._causes_told = 0
        self.end = 0

    async def take_over(self) -> Ledger:
        return await self._call(self._take_over)

    async def record(self, changes: Sequence[Change], failed: Sequence[FailedRecord] = ()) -> None:
        """After LogAway the same must be recorded again: if the last commit was in doubt, it is only brought to its end."""
        await self._call(lambda: self._transaction(lambda producer: self._produce(producer, changes, failed)))

    async def checkpoint(self, checkpoint: Checkpoint, again: Sequence[LedgerEntry]) -> None:
        """As `record`: in one transaction, so that a reader finds all of it or nothing."""
        await self._call(lambda: self._transaction(lambda producer: self._produce_checkpoint(producer, checkpoint, again)))

    async def counted(self, since_ms: int, position: int) -> AsyncGenerator[Sequence[LedgerEntry], None]:
        reader = await self._call(lambda: LedgerReader(self._kafka, self._name, self._partition))
        try:
            pages = reader.pages(since_ms, position)
            while page := await self._call(lambda: next(pages, None)):
                yield page
        finally:
            await self._call(reader.close)

    def close(self) -> None:
        """Forget the producer; an open transaction is left for the next owner to end. Nothing is taken over after it."""
        self._closed, self._producer = True, None

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _take_over(self) -> Ledger:
        if self._closed:  # the slot was given up before this thread came to it: who has it by now must not be fenced
            raise Fenced(f"slot {self._partition} has been given up")
        self._in_doubt = False
        self._producer = _producer(self._kafka, self._name)
        try:
            self._producer.init_transactions(CALL_S)
        except KafkaException as error:
            self._producer = None
            raise LogAway(f"cannot take the ledger of slot {self._partition} over: {error}") from error
        reader = LedgerReader(self._kafka, self._name, self._partition)
        try:
            began = time.monotonic()
            read = reader.read()
        finally:
            reader.close()
        self._next_cause = self._causes_told = self.end = read.end
        self._standing.know(read.standing)
        _log.info(
            "ledger read", slot=self._partition, messages=len(read.ledger), checkpoints=read.checkpoints, entries=read.entries,
            seconds=round(time.monotonic() - began, 3),
        )  # fmt: skip
        return read.ledger

    def _transaction(self, produce: Callable[[Producer], None]) -> None:
        producer = self._producer
        if producer is None:
            raise Fenced("the ledger has not been taken over")
        try:
            if not self._in_doubt:
                producer.begin_transaction()
                produce(producer)
                failpoint("dispatcher.in_transaction")
                self._in_doubt = True
            producer.commit_transaction(CALL_S)
            self._in_doubt, self._causes_told = False, self._next_cause
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
        """Its causes were told to nobody and come again: they must not run ahead of the log's end, from which the next owner counts."""
        self._next_cause = self._causes_told
        try:
            producer.abort_transaction(CALL_S)
        except KafkaException as error:
            self._producer = None
            raise Fenced(f"slot {self._partition}: cannot give a transaction up: {error}") from error

    def _produce_entry(self, producer: Producer, entry: LedgerEntry, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        key, value = entry.dispatch_id.encode(), LEDGER_ENCODER.encode(entry)
        producer.produce(DISPATCH_RECORDED, value, key, self._partition, on_delivery=self._delivered, headers=list(headers))

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        """Called while a commit waits: all that it covers has been delivered before it succeeds."""
        if error is None:
            self.end = max(self.end, message.offset() + 1)

    def _produce_checkpoint(self, producer: Producer, checkpoint: Checkpoint, again: Sequence[LedgerEntry]) -> None:
        value = CHECKPOINT_ENCODER.encode(msgspec.structs.replace(checkpoint, standing=self._standing.save()))
        producer.produce(DISPATCH_CHECKPOINTED, value, str(checkpoint.number).encode(), self._partition)
        standing = [(STANDING, self._standing.save())]
        for entry in again:
            self._produce_entry(producer, entry, standing if entry is again[-1] else ())

    def _produce(self, producer: Producer, changes: Sequence[Change], failed: Sequence[FailedRecord]) -> None:
        """Causes count the ledger's records: they only grow, also from owner to owner, as the log's end is behind all that were written."""
        standing = [(STANDING, self._standing.save())]
        for change in changes:
            self._produce_entry(producer, change.entry, standing if change is changes[-1] else ())
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
