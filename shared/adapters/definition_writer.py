"""Writes the next set of definitions: compared and set, by one writer at a time, in one transaction with its texts.

The transactional id is the installation's, so a writer that begins makes every other one fail, and what another left open is aborted
before it reads. So of two that have read the same head one commits.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from shared.adapters.definition_topic import DefinitionTopic
from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.definitions import DefinitionRecord, DefinitionSet, set_key, set_record, text_key, text_record
from shared.contracts.key_signature import KeySecrets
from shared.contracts.topics import DEFINITION_CHANGED, LARGE_RECORD_BYTES
from shared.definitions.sets import MAX_HISTORY_BYTES, MOST_SETS, to_delete, without_set
from shared.runtime.failpoints import failpoint
from shared.runtime.ports import LogAway

TRANSACTION_SECONDS: Final = 30.0
CALL_SECONDS: Final = 20.0
READ_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 0.005
ROOM_BYTES: Final = 64 * 1024
"""Of a record, for what is not its value."""
_log = structlog.get_logger("definitions")


class BaseMoved(Exception):
    """The newest set is not the one that the next was made from. `head`: its number; 0: there is none."""

    def __init__(self, base: int, head: int) -> None:
        super().__init__(f"made from set {base}, and the newest is set {head} by now")
        self.base, self.head = base, head


class Overtaken(Exception):
    """Another writer has begun meanwhile; nothing of this one is written."""


class HistoryFull(Exception):
    """Nothing further can be kept; the text says which bound is reached."""


class DefinitionWriter:
    """`topic`: the same topic, followed with the same secrets. One write at a time."""

    def __init__(self, kafka: KafkaConnection, prefix: str, topic: DefinitionTopic, secrets: KeySecrets) -> None:
        self._kafka, self._topic, self._secrets = kafka, topic, secrets
        self._name = f"{prefix}-definitions"
        self._lock = threading.Lock()

    def write(self, one: DefinitionSet, texts: Mapping[str, str]) -> None:
        """Return when set `one` is in the log with those of `texts` (path -> text) that were not there. Blocks for seconds.

        Raises BaseMoved, Overtaken, HistoryFull: nothing was written. Raises LogAway: it is not known whether it was.
        """
        with self._lock:
            self._write(one.base, lambda: self._records(one, texts), lambda: self._topic.get(one.number) == one)

    def sign_anew(self) -> int:
        """Sign every set by the newest secret, so that the older ones can be taken away. Returns how many; raises as `write`."""
        with self._lock:
            head = self._topic.head
            sets = self._topic.sets if self._topic.signed_by_older else []
            if head is None or not sets:
                return 0
            self._write(head.number, lambda: [set_record(one, self._secrets) for one in sets], lambda: not self._topic.signed_by_older)
            return len(sets)

    def _write(self, base: int, records: Callable[[], Iterable[DefinitionRecord]], seen: Callable[[], bool]) -> None:
        """`seen`: whether whoever reads the log sees what was to be written."""
        producer = self._producer()
        try:
            producer.init_transactions(CALL_SECONDS)  # from here on nobody else's commit succeeds, and none is open
            self._check(base)
            producer.begin_transaction()
            for record in records():
                if record.key == set_key(base + 1):
                    producer.flush(CALL_SECONDS)
                    failpoint("definitions.before_set")
                producer.produce(DEFINITION_CHANGED, record.value, record.key, partition=0, headers=list(record.headers))
            failpoint("definitions.before_commit")
            self._commit(producer)
        except (KafkaException, BufferError) as error:
            with contextlib.suppress(KafkaException):
                producer.abort_transaction(CALL_SECONDS)  # a writer that was overtaken has none
            self._failed(error, base, seen)
        else:
            self._read_up(seen)

    def _read_up(self, seen: Callable[[], bool]) -> None:
        """Wait for what was written: a commit is acknowledged before readers see it. Raises LogAway."""
        end = time.monotonic() + READ_SECONDS
        while not seen():
            if time.monotonic() > end:
                raise LogAway("the definitions were taken, and cannot be read yet")
            time.sleep(LOOK_SECONDS)

    def _check(self, base: int) -> None:
        """Raises BaseMoved, LogAway."""
        if not self._topic.caught_up(READ_SECONDS):
            raise LogAway("the definitions cannot be read to their end")
        head = self._topic.head
        found = 0 if head is None else head.number
        if found != base:
            raise BaseMoved(base, found)

    def _records(self, one: DefinitionSet, texts: Mapping[str, str]) -> list[DefinitionRecord]:
        """What the set needs, itself last but for deletions. Raises HistoryFull."""
        known, sets = self._topic.known_texts, [*self._topic.sets, one]
        gone = to_delete(sets, one.applied_at)
        numbers = {old.number for old in gone}
        kept = [old for old in sets if old.number not in numbers]
        orphans = without_set(known, kept)
        new = {file.sha256: texts[file.path].encode() for file in one.files if file.sha256 not in known}
        if len(kept) > MOST_SETS:
            raise HistoryFull(f"{MOST_SETS} sets are kept, and none is old enough to be deleted: apply less often")
        size = sum(known.values()) - sum(known[sha256] for sha256 in orphans) + sum(map(len, new.values()))
        if size > MAX_HISTORY_BYTES:
            raise HistoryFull(f"the texts of all kept sets would take more than {MAX_HISTORY_BYTES} bytes")
        record = set_record(one, self._secrets)
        if len(record.value or b"") > LARGE_RECORD_BYTES - ROOM_BYTES:
            raise HistoryFull(f"the list of files and definitions would take more than {LARGE_RECORD_BYTES} bytes: write fewer of them")
        deleted = [*(set_key(old.number) for old in gone), *map(text_key, orphans)]
        return [*map(text_record, new.values()), record, *(DefinitionRecord(key, None) for key in deleted)]

    def _commit(self, producer: Producer) -> None:
        """Raises KafkaException; what can be tried again is tried again."""
        end = time.monotonic() + CALL_SECONDS
        while True:
            try:
                producer.commit_transaction(max(1.0, end - time.monotonic()))
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > end:
                    raise
            else:
                return

    def _failed(self, error: Exception, base: int, seen: Callable[[], bool]) -> None:
        """Find out what became of it. Returns if it is there all the same; else raises as `write`."""
        found: KafkaError | None = error.args[0] if isinstance(error, KafkaException) else None
        detail = str(error) if found is None else found.str()
        overtaken = found is not None and found.code() in _OVERTAKEN
        _log.warning("a set of definitions was not acknowledged", base=base, detail=detail)
        if not overtaken:
            self._settle(detail)
        if not self._topic.caught_up(READ_SECONDS):
            raise LogAway(f"Kafka did not acknowledge the definitions: {detail}") from error
        if seen():
            return
        if overtaken:
            self._check(base)
            raise Overtaken("somebody else applies definitions at this moment: try again") from error
        raise LogAway(f"Kafka did not take the definitions: {detail}") from error

    def _settle(self, detail: str) -> None:
        """Have what is under way committed or aborted: whoever has overtaken us has done that already. Raises LogAway."""
        try:
            self._producer().init_transactions(CALL_SECONDS)
        except KafkaException as error:
            raise LogAway(f"Kafka did not acknowledge the definitions: {detail}; {error.args[0].str()}") from error

    def _producer(self) -> Producer:
        return self._kafka.producer(
            {
                "client.id": self._name,
                "transactional.id": self._name,
                "transaction.timeout.ms": int(TRANSACTION_SECONDS * 1000),
                "message.max.bytes": LARGE_RECORD_BYTES,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )


_OVERTAKEN: Final = frozenset({KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED})
