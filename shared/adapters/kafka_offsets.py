"""Offsets, asked of Kafka by consumers that read nothing.

librdkafka's administrator is not asked for them. Where a coordinator is not there yet, or a broker goes while it is asked, its
`list_consumer_group_offsets` and `list_offsets` end the whole process (`rd_kafka_enq_once_del_source_return`, or a segmentation fault).
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

from shared.adapters.kafka_clients import KafkaConnection
from shared.runtime.ports import LogAway
from shared.runtime.ports import TopicPartition as Where

T = TypeVar("T")

LEAST_S: Final = 0.1
"""So long Kafka has at least, for a question that has waited for the one before it."""


class Offsets:
    """One question at a time for ends, beginnings and times, and one for each group; each waits `seconds` for its turn and its answer.

    `ends` are those of all records, also of transactions that are still open.
    """

    def __init__(self, kafka: KafkaConnection, seconds: float, settings: Mapping[str, Any]) -> None:
        self._kafka, self._seconds = kafka, seconds
        self._settings = {**settings, "isolation.level": "read_uncommitted"}
        self._log = _Client(lambda: kafka.reader(self._settings), seconds)
        self._groups: dict[str, _Client] = {}
        self._lock = threading.Lock()

    def ends(self, partitions: Iterable[Where]) -> dict[Where, int]:
        """The next offset of each partition. Raises LogAway."""
        return self._at(partitions, OFFSET_END)

    def starts(self, partitions: Iterable[Where]) -> dict[Where, int]:
        """The first offset that each partition still has. Raises LogAway."""
        return self._at(partitions, OFFSET_BEGINNING)

    def since(self, partitions: Iterable[Where], when_ms: int) -> dict[Where, int]:
        """The first offset of each partition at or after a time; negative where nothing has come since. Raises LogAway."""
        return self._at(partitions, when_ms)

    def began(self, partitions: Iterable[Where]) -> int | None:
        """When the log took the oldest record that these partitions still have, epoch ms, to the second; None if they have none.

        Found by asking where times lie, so who may not read the records may ask too. Raises LogAway.
        """
        asked = list(partitions)
        firsts = {where: offset for where, offset in self.since(asked, 1).items() if offset >= 0}
        if not firsts:
            return None
        late, deadline = int(time.time()) + 1, time.monotonic() + self._seconds
        early = 0
        while late - early > 1:
            middle = (early + late) // 2
            if time.monotonic() > deadline:
                raise LogAway("Kafka does not tell in time when the log begins")
            if self.since(firsts, middle * 1000) == firsts:
                early = middle
            else:
                late = middle
        return early * 1000

    def partitions(self, topic: str) -> list[Where]:
        """All partitions of a topic. Raises LogAway."""
        found = self._log.ask(lambda consumer, seconds: consumer.list_topics(topic, timeout=seconds)).topics[topic]
        if found.error is not None:
            raise LogAway(f"{topic}: {found.error.str()}")
        return [(topic, number) for number in sorted(found.partitions)]

    def committed(self, group: str, partitions: Iterable[Where]) -> dict[Where, int]:
        """What a consumer group has committed; partitions without a commit are left out. Raises LogAway."""
        with self._lock:
            client = self._groups.get(group)
            if client is None:
                settings = {**self._settings, "group.id": group, "enable.auto.commit": False}
                client = self._groups[group] = _Client(lambda: self._kafka.consumer(settings), self._seconds)
        asked = [TopicPartition(*where) for where in partitions]
        found = client.ask(lambda consumer, seconds: _whole(consumer.committed(asked, timeout=seconds))) if asked else []
        return {(tp.topic, tp.partition): tp.offset for tp in found if tp.offset >= 0}

    def _at(self, partitions: Iterable[Where], when: int) -> dict[Where, int]:
        asked = [TopicPartition(topic, partition, when) for topic, partition in partitions]
        found = self._log.ask(lambda consumer, seconds: _whole(consumer.offsets_for_times(asked, timeout=seconds))) if asked else []
        return {(tp.topic, tp.partition): tp.offset for tp in found}

    def close(self) -> None:
        """Give the connections back, once what is asked now has ended; they come back when asked for."""
        with self._lock:
            clients = [self._log, *self._groups.values()]
        for client in clients:
            client.close()


class _Client:
    """A consumer that is made when first needed, asked one question at a time, and never closed during one."""

    def __init__(self, make: Callable[[], Consumer], seconds: float) -> None:
        self._make, self._seconds = make, seconds
        self._consumer: Consumer | None = None
        self._lock = threading.Lock()

    def ask(self, question: Callable[[Consumer, float], T]) -> T:
        """What Kafka answers. Raises LogAway."""
        end = time.monotonic() + self._seconds
        if not self._lock.acquire(timeout=self._seconds):
            raise LogAway("Kafka does not tell offsets: no answer to what was asked before")
        try:
            if self._consumer is None:
                self._consumer = self._make()
            self._consumer.poll(0)  # what it has heard of its connections would heap up
            return question(self._consumer, max(end - time.monotonic(), LEAST_S))
        except KafkaException as error:
            # After a broker's restart librdkafka asks with the old leader epoch for ever (FENCED_LEADER_EPOCH): a new client has none.
            self._close()
            raise LogAway(f"Kafka does not tell offsets: {error.args[0].str()}") from error
        finally:
            self._lock.release()

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()


def _whole(answers: Sequence[TopicPartition]) -> Sequence[TopicPartition]:
    """The answers, if there is one for every partition."""
    for one in answers:
        if one.error is not None:
            raise KafkaException(one.error)
    return answers
