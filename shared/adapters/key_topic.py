"""The key topic as a map in memory, followed live by a thread of its own. What is not signed by this installation counts for nothing.

Only a process that has read the topic to its end can say that a key does not exist; `caught_up` asks the broker where the end is now.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable

import structlog
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition

from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.control import KeyChanged, KeyKind
from shared.contracts.key_signature import KeyRefusal, KeySecrets, KeyStates
from shared.contracts.topics import KEY_CHANGED

POLL_SECONDS = 0.5
LOOK_SECONDS = 0.002
TOLD_AGAIN_SECONDS = 30.0
"""So often at most are refused records logged: whoever may write to the topic must not fill the log of every process."""
_log = structlog.get_logger("keys")


class KeyTopic:
    """The newest state of every key of one kind, by hash. Read by any thread; written by the follower only."""

    def __init__(
        self,
        kafka: KafkaConnection,
        client_id: str,
        kind: KeyKind,
        secrets: KeySecrets,
        on_refused: Callable[[KeyRefusal], None] = lambda refusal: None,
    ) -> None:
        """`on_refused` is called by the follower's thread for each record that counts for nothing."""
        self.kind = kind
        self._states = KeyStates(secrets, lambda of: of is kind)
        self._others = tuple(f"{other.value}:".encode() for other in KeyKind if other is not kind)
        self._on_refused = on_refused
        self._untold: Counter[str] = Counter()
        self._told = float("-inf")
        self._reached_end = threading.Event()
        self._on_change: Callable[[], None] = lambda: None
        self._next = -1
        self._stop = threading.Event()
        self._partition = TopicPartition(KEY_CHANGED, 0, OFFSET_BEGINNING)
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
        self._thread = threading.Thread(target=self._follow, name="key-topic", daemon=True)

    @property
    def keys(self) -> dict[str, KeyChanged]:
        """By hash."""
        return self._states.keys

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
            self._tell()
            if message is None:
                continue
            error = message.error()
            if error is None:
                self._take(message)
                self._next = (message.offset() or 0) + 1
                self._on_change()
            elif error.code() == KafkaError._PARTITION_EOF:
                self._next = message.offset() or 0
                self._reached_end.set()

    def _take(self, message: Message) -> None:
        key = message.key() or b""
        refusal = self._states.take(key, message.value(), message.headers() or ())
        if refusal is not None and not key.startswith(self._others):  # what is under another kind is its follower's to tell
            self._untold[refusal.value] += 1
            self._on_refused(refusal)

    def _tell(self) -> None:
        """Log what was refused: all of the beginning in a line, later ones now and then. Neither key nor value is told."""
        if not self._untold or not self.read_to_end or time.monotonic() - self._told < TOLD_AGAIN_SECONDS:
            return
        advice = "not signed by RAPPORT_KEY_SECRET, so ignored; if they were made before keys were signed: `rapport keys sign`"
        _log.error(f"records of the key topic are {advice}", topic=KEY_CHANGED, kind=self.kind.value, **self._untold)
        self._untold.clear()
        self._told = time.monotonic()
