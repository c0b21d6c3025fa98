"""Reads one slot's ledger out of Kafka: the checkpoints, then only what came after them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog
from confluent_kafka import KafkaException, Message, TopicPartition

from services.messaging.domain.ledger import Ledger, resume
from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.kafka_range import records_between
from shared.contracts.headers import header
from shared.contracts.ledger import CHECKPOINT_DECODER, LEDGER_DECODER, STANDING, Checkpoint, LedgerEntry
from shared.contracts.topics import DISPATCH_CHECKPOINTED, DISPATCH_RECORDED
from shared.runtime.ports import LogAway

CALL_S: Final = 10.0
PAGE: Final = 2000
LOOK_BACK: Final = 16
"""Records before the log's end among which the last checkpoint is looked for first."""

T = TypeVar("T")
_log = structlog.get_logger("dispatcher")


@dataclass(frozen=True)
class ReadLedger:
    """`end`: offset behind the last entry. `checkpoints` and `entries`: records read. `believed`: the checkpoints were whole.

    `standing`: how far the stages upstream had come when the last entry was recorded.
    """

    ledger: Ledger
    end: int
    checkpoints: int
    entries: int
    believed: bool
    standing: bytes


class LedgerReader:
    """Nobody else writes meanwhile: what was open has been ended by the takeover. Close it. Raises LogAway."""

    def __init__(self, kafka: KafkaConnection, name: str, partition: int) -> None:
        self._partition = partition
        self._consumer = kafka.reader(_settings(name))

    def close(self) -> None:
        self._consumer.close()

    def read(self) -> ReadLedger:
        """The checkpoints and what came after them, folded while it is read; the whole ledger if the checkpoints are not whole."""
        last = self._last_checkpoint()
        start, behind = self._bounds(DISPATCH_CHECKPOINTED)
        resumed = resume(last, self._checkpoints(start, behind) if last else ())
        if not resumed.whole:
            _log.error("checkpoints of the ledger are not whole: reading all of it", slot=self._partition, number=last and last.number)
        low, end = self._bounds(DISPATCH_RECORDED)
        entries, standing = 0, last.standing if last else b""
        for message in self._records(DISPATCH_RECORDED, max(low, resumed.upto), end):
            resumed.ledger.apply(LEDGER_DECODER.decode(message.value()))
            standing = header(message.headers() or (), STANDING) or standing
            entries += 1
        return ReadLedger(resumed.ledger, end, resumed.read, entries, resumed.whole, standing)

    def pages(self, since_ms: int, position: int) -> Iterator[Sequence[LedgerEntry]]:
        """Entries from offset `position` on, but none that were written before `since_ms`."""
        low, end = self._bounds(DISPATCH_RECORDED)
        asked = [TopicPartition(DISPATCH_RECORDED, self._partition, since_ms)]
        try:
            found = self._consumer.offsets_for_times(asked, timeout=CALL_S)[0]
        except KafkaException as error:
            raise self._away(error) from error
        since = found.offset if found.offset >= 0 else end
        page: list[LedgerEntry] = []
        for message in self._records(DISPATCH_RECORDED, max(low, since, position), end):
            page.append(LEDGER_DECODER.decode(message.value()))
            if len(page) >= PAGE:
                yield page
                page = []
        if page:
            yield page

    def standings(self, partition: int) -> list[bytes]:
        """How far the stages upstream had come when this slot's ledger, and its checkpoints, were last written."""
        self._partition = partition
        entry = self._last(DISPATCH_RECORDED, LOOK_BACK, lambda message: header(message.headers() or (), STANDING))
        saved = self._last(DISPATCH_CHECKPOINTED, 2, _standing_saved)  # these are large, and the last two are the record and its commit
        return [found for found in (entry, saved) if found]

    def _last_checkpoint(self) -> Checkpoint | None:
        return self._last(DISPATCH_CHECKPOINTED, LOOK_BACK, lambda message: CHECKPOINT_DECODER.decode(message.value()))

    def _last(self, topic: str, back: int, read: Callable[[Message], T | None]) -> T | None:
        """What `read` finds in the last record in which it finds something; the last `back` records are looked at first."""
        low, end = self._bounds(topic)
        while True:
            start = max(low, end - back)
            found = None
            for message in self._records(topic, start, end):
                found = read(message) or found
            if found is not None or start == low:
                return found
            back *= LOOK_BACK

    def _checkpoints(self, start: int, end: int) -> Iterator[Checkpoint]:
        for message in self._records(DISPATCH_CHECKPOINTED, start, end):
            yield CHECKPOINT_DECODER.decode(message.value())

    def _bounds(self, topic: str) -> tuple[int, int]:
        try:
            low, end = self._consumer.get_watermark_offsets(TopicPartition(topic, self._partition), timeout=CALL_S, cached=False)
        except KafkaException as error:
            raise self._away(error) from error
        return low, end

    def _records(self, topic: str, start: int, end: int) -> Iterator[Message]:
        """Every committed record from `start` on that lies below `end`."""
        try:
            yield from records_between(self._consumer, topic, self._partition, start, end, CALL_S)
        except KafkaException as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> LogAway:
        return LogAway(f"cannot read the ledger of slot {self._partition}: {error}")


def read_standings(kafka: KafkaConnection, name: str, partitions: int) -> list[bytes]:
    """What the ledgers of all slots say of the stages upstream, whoever writes them now. Raises LogAway."""
    with closing(LedgerReader(kafka, name, 0)) as reader:
        return [standing for partition in range(partitions) for standing in reader.standings(partition)]


def _standing_saved(message: Message) -> bytes | None:
    return CHECKPOINT_DECODER.decode(message.value()).standing or None


def _settings(name: str) -> dict[str, Any]:
    return {
        "client.id": f"{name}-reader",
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "queued.max.messages.kbytes": 8 * 1024,
        "fetch.wait.max.ms": 20,  # each turn to another place waits for the fetch that is under way: 3.5 s of a takeover, by the default
        "fetch.queue.backoff.ms": 10,  # the default of a second is what a takeover would spend its time on
        "log_level": 2,
    }
