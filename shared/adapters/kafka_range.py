"""A range of one partition, read from its start to its end."""

from collections.abc import Iterator
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

PAGE: Final = 2000


def records_between(consumer: Consumer, topic: str, partition: int, start: int, end: int, seconds: float) -> Iterator[Message]:
    """Every record that `consumer` may see from `start` on and that lies below `end`.

    It needs `enable.partition.eof`: marks of transactions may be the last before `end`, and no poll gives these.
    Raises KafkaException, also if nothing comes for `seconds`.
    """
    if start >= end:
        return
    consumer.assign([TopicPartition(topic, partition, start)])
    position = start
    while position < end:
        first = consumer.poll(seconds)  # consume() alone would wait for a whole page
        if first is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"no answer in {seconds:g} s"))
        for message in (first, *consumer.consume(PAGE, timeout=0)):
            error = message.error()
            if error is None:
                position = (message.offset() or 0) + 1
                if position <= end:
                    yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                position = message.offset() or 0
            else:
                raise KafkaException(error)
