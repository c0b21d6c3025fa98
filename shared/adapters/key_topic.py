"""The compacted key topic as a map in memory, followed live by a thread of its own.

Only a process that has read the topic to its end can say that a key does not exist; `caught_up` asks the broker where the end is now.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.control import KEY_CHANGED_DECODER, KeyChanged, KeyKind
from shared.contracts.topics import KEY_CHANGED

POLL_SECONDS = 0.5
LOOK_SECONDS = 0.002


class KeyTopic:
    """The newest state of every key of one kind, by hash. Read by any thread; written by the follower only."""

    def __init__(self, kafka: KafkaConnection, client_id: str, kind: KeyKind) -> None:
        self.kind = kind
        self.keys: dict[str, KeyChanged] = {}
        self._reached_end = threading.Event()
        self.skipped = 0
        """Records that could not be read."""
        self._on_change: Callable[[], None] = lambda: None
        self._next = -1
        self._stop = threading.Event()
        self._partition = TopicPartition(KEY_CHANGED, 0, OFFSET_BEGINNING)
        # confluent-kafka answers no question about offsets on a consumer that another thread is polling: two clients.
        self._consumer, self._asking = (
            kafka.consumer(
                {
                    "client.id": client_id,
                    "group.id": client_id,  # demanded, never used: partitions are assigned by hand and nothing is committed
                    "enable.auto.commit": False,
                    "enable.partition.eof": True,
                    "auto.offset.reset": "earliest",
                    "reconnect.backoff.max.ms": 500,
                    "fetch.wait.max.ms": 500,
                    "log_level": 2,
                }
            )
            for _ in range(2)
        )
        self._thread = threading.Thread(target=self._follow, name="key-topic", daemon=True)

    @property
    def read_to_end(self) -> bool:
        """Whether the topic has been read to its end once."""
        return self._reached_end.is_set()

    @property
    def trouble(self) -> str | None:
        """Why the keys cannot be relied on; None if they can."""
        if not self.read_to_end:
            return "the key topic has not been read to its end yet"
        return None if self._thread.is_alive() else "the key topic is no longer followed"

    def wait(self, seconds: float) -> bool:
        """Wait until `read_to_end`; returns it."""
        return self._reached_end.wait(seconds)

    def start(self, on_change: Callable[[], None]) -> None:
        """Begin to follow. `on_change` is called by the follower's thread after a record was taken in."""
        self._on_change = on_change
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
            _, end = self._asking.get_watermark_offsets(TopicPartition(KEY_CHANGED, 0), timeout=seconds, cached=False)
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
                self._on_change()
            elif error.code() == KafkaError._PARTITION_EOF:
                self._next = message.offset()
                self._reached_end.set()

    def _take(self, key: Any, value: Any) -> None:
        if value is None:
            self.keys.pop(key.decode().partition(":")[2] if key else "", None)
            return
        try:
            record = KEY_CHANGED_DECODER.decode(value)
        except msgspec.DecodeError:
            self.skipped += 1
            return
        if record.kind is self.kind:
            self.keys[record.hash] = record
