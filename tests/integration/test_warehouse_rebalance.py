"""The warehouse's member of its consumer group: what it paused before a rebalance it reads after it."""

import uuid
from collections.abc import Callable, Iterator
from time import monotonic

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.local.kafka import Kafka
from services.warehouse.adapters.consumer import LogConsumer
from services.warehouse.ports import Rebalance
from shared.adapters.kafka_clients import KafkaConnection

pytestmark = pytest.mark.real

PARTITIONS = 4
DEADLINE_SECONDS = 60.0


class Member:
    """One consumer, and how often its partitions changed hands."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.held = 0
        self.revoked = 0
        self.log = LogConsumer(KafkaConnection(bootstrap), f"group-{topic}", [topic], 3.0, Rebalance(self._assigned, self._revoked))

    def _assigned(self, got: object) -> None:
        self.held = len(list(got)) if hasattr(got, "__iter__") else 0

    def _revoked(self) -> None:
        self.held, self.revoked = 0, self.revoked + 1


@pytest.fixture
def topic(kafka: Kafka) -> Iterator[str]:
    """A topic with a record in each partition."""
    name = f"rapport.tests.rebalance-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result(30)
    write(kafka.bootstrap, name)
    yield name
    admin.delete_topics([name])[name].result(30)


def write(bootstrap: str, topic: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    for partition in range(PARTITIONS):
        producer.produce(topic, b"x", partition=partition)
    assert producer.flush(30) == 0


def until(holds: Callable[[], bool], work: Callable[[], object]) -> None:
    end = monotonic() + DEADLINE_SECONDS
    while not holds():
        assert monotonic() < end
        work()


def test_what_was_paused_before_a_rebalance_is_read_after_it(kafka: Kafka, topic: str) -> None:
    first = Member(kafka.bootstrap, topic)
    read: set[tuple[int, int]] = set()

    def reading() -> None:
        read.update((place.partition, record.offset) for place, record in first.log.read(100, 0.1))

    try:
        until(lambda: len(read) == PARTITIONS, reading)
        first.log.keep_alive(0.1)  # ClickHouse or Kafka is away: nothing is fetched
        second = Member(kafka.bootstrap, topic)
        try:
            until(lambda: first.revoked > 0, lambda: (first.log.keep_alive(0.1), second.log.read(1, 0.1)))
            until(lambda: first.held > 0 and second.held > 0, lambda: (first.log.read(1, 0.1), second.log.read(1, 0.1)))
        finally:
            second.log.close()
        until(lambda: first.held == PARTITIONS, lambda: first.log.read(1, 0.1))
        write(kafka.bootstrap, topic)
        until(lambda: {(partition, 1) for partition in range(PARTITIONS)} <= read, reading)
    finally:
        first.log.close()
