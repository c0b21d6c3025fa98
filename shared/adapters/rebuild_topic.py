"""The compacted topic of rebuild orders as a list in memory, followed live by a thread of its own."""

import threading
import time
from typing import Any

import msgspec
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.rebuilds import REBUILD_DECODER, RebuildChanged, View, newest
from shared.contracts.topics import REBUILD_CHANGED

POLL_SECONDS = 0.5
LOOK_SECONDS = 0.005


class RebuildTopic:
    """Every order. Read by any thread; written by the follower only."""

    def __init__(self, kafka: KafkaConnection, client_id: str) -> None:
        self._orders: dict[str, RebuildChanged] = {}
        self._reached_end = threading.Event()
        self._next = -1
        self._stop = threading.Event()
        self._partition = TopicPartition(REBUILD_CHANGED, 0, OFFSET_BEGINNING)
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
        self._thread = threading.Thread(target=self._follow, name="rebuild-topic", daemon=True)

    @property
    def orders(self) -> list[RebuildChanged]:
        """All of them, newest first."""
        return sorted(self._orders.values(), key=lambda order: -order.generation)

    @property
    def read_to_end(self) -> bool:
        """Whether the topic has been read to its end once: before that an order may be unknown."""
        return self._reached_end.is_set()

    def ordered(self, view: View) -> RebuildChanged | None:
        """The order that holds for a view."""
        return newest(list(self._orders.values()), view)

    def start(self) -> None:
        """Begin to follow."""
        self._consumer.assign([self._partition])
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
            _, end = self._asking.get_watermark_offsets(TopicPartition(REBUILD_CHANGED, 0), timeout=seconds, cached=False)
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
            if message is None:
                continue
            error = message.error()
            if error is None:
                self._take(message.key(), message.value())
                self._next = message.offset() + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                self._next = message.offset()
                self._reached_end.set()

    def _take(self, key: Any, value: Any) -> None:
        if value is None:
            self._orders.pop(key.decode() if key else "", None)
            return
        try:
            order = REBUILD_DECODER.decode(value)
        except msgspec.DecodeError:
            return  # of a newer release: not for this one
        self._orders = {**self._orders, order.id: order}
