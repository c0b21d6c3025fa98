"""A topic of a test: made, and read whole as its readers see it."""

import time

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from shared.contracts.slots import partition_count

DEADLINE_S = 60.0


def make_topic(bootstrap: str, topic: str, partitions: int) -> None:
    """Create it, with one replica."""
    admin = AdminClient({"bootstrap.servers": bootstrap})  # without a name it would be gone before it answers
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)


def messages(bootstrap: str, topic: str) -> list[Message]:
    """Every committed record of a topic, up to where it ends now; in order within a partition. Raises AssertionError if it takes long."""
    settings = {"bootstrap.servers": bootstrap, "group.id": "whole-topic", "isolation.level": "read_committed", "log_level": 2}
    settings |= {"auto.offset.reset": "earliest"}  # what was deleted from the log's beginning is no error
    consumer = Consumer(settings | {"enable.auto.commit": False, "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partition_count())])
    found: list[Message] = []
    ended: set[int | None] = set()
    end = time.monotonic() + DEADLINE_S
    try:
        while len(ended) < partition_count():
            assert time.monotonic() < end, f"cannot read {topic}"
            for message in consumer.consume(10_000, timeout=0.05):
                error = message.error()
                if error is None:
                    found.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                else:
                    raise AssertionError(str(error))
    finally:
        consumer.close()
    return found
