"""A topic of one partition that a thread follows from its beginning: what the records say is a view in memory."""

import threading
import time
from abc import ABC, abstractmethod
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition

from shared.adapters.kafka_clients import KafkaConnection

POLL_SECONDS: Final = 0.5
LOOK_SECONDS: Final = 0.002


class TopicFollower(ABC):
    """Subclasses take records in; they are called by the follower's thread only, and read by any."""

    def __init__(self, kafka: KafkaConnection, client_id: str, topic: str) -> None:
        self._topic = topic
        self._reached_end = threading.Event()
        self._next = -1
        self._stop = threading.Event()
        # confluent-kafka answers no question about offsets on a consumer that another thread is polling: two clients.
        self._consumer, self._asking = (
            kafka.reader(
                {
                    "client.id": client_id,
                    "enable.partition.eof": True,
                    "auto.offset.reset": "earliest",
                    "reconnect.backoff.max.ms": 500,
                    "fetch.wait.max.ms": 500,
                    "log_level": 2,
                }
            )
            for _ in range(2)
        )
        self._thread = threading.Thread(target=self._follow, name=f"follow {topic}", daemon=True)

    @abstractmethod
    def _take(self, message: Message) -> None:
        """Take a record in, before it counts as read."""

    def _looked(self) -> None:  # noqa: B027 - whoever has nothing to do then does nothing
        """Called now and then, whether there was a record or not."""

    @property
    def read_to_end(self) -> bool:
        """Whether the topic has been read to its end once: before that something may be unknown."""
        return self._reached_end.is_set()

    @property
    def followed(self) -> bool:
        return self._thread.is_alive()

    def wait(self, seconds: float) -> bool:
        """Wait until `read_to_end`; returns it."""
        return self._reached_end.wait(seconds)

    def follow(self) -> None:
        """Begin."""
        self._consumer.assign([TopicPartition(self._topic, 0, OFFSET_BEGINNING)])
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()
        self._asking.close()

    def caught_up(self, seconds: float) -> bool:
        """Whether everything that was in the topic when this was called has been read; waits for it up to `seconds`."""
        deadline = time.monotonic() + seconds
        try:
            _, end = self._asking.get_watermark_offsets(TopicPartition(self._topic, 0), timeout=seconds, cached=False)
        except KafkaException:
            return False
        while self._next < end:
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_SECONDS)
        return True

    def _follow(self) -> None:
        while not self._stop.is_set():
            message = self._consumer.poll(POLL_SECONDS)
            self._looked()
            if message is None:
                continue
            error = message.error()
            if error is None:
                self._take(message)
                self._next = (message.offset() or 0) + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                self._next = message.offset() or 0
                self._reached_end.set()
