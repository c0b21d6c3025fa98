"""The key topic as a map in memory, followed live by a thread of its own. What is not signed by this installation counts for nothing.

Only a process that has read the topic to its end can say that a key does not exist; `caught_up` asks the broker where the end is now.
"""

from collections.abc import Callable
from typing import Final

from confluent_kafka import Message

from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.refused_records import RefusedRecords
from shared.adapters.topic_follower import TopicFollower
from shared.contracts.control import KeyChanged, KeyKind
from shared.contracts.key_signature import KeyRefusal, KeySecrets, KeyStates
from shared.contracts.topics import KEY_CHANGED

IGNORED: Final = (
    "records of the key topic are not signed by RAPPORT_KEY_SECRET, so ignored; "
    "if they were made before keys were signed: `rapport keys sign`"
)


class KeyTopic(TopicFollower):
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
        super().__init__(kafka, client_id, KEY_CHANGED)
        self.kind = kind
        self._states = KeyStates(secrets, lambda of: of is kind)
        self._others = tuple(f"{other.value}:".encode() for other in KeyKind if other is not kind)
        self._on_refused = on_refused
        self._refused = RefusedRecords("keys", IGNORED, topic=KEY_CHANGED, kind=kind.value)
        self._on_change: Callable[[], None] = lambda: None

    @property
    def keys(self) -> dict[str, KeyChanged]:
        """By hash."""
        return self._states.keys

    @property
    def trouble(self) -> str | None:
        """Why the keys cannot be relied on; None if they can."""
        if not self.read_to_end:
            return "the key topic has not been read to its end yet"
        return None if self.followed else "the key topic is no longer followed"

    def start(self, on_change: Callable[[], None]) -> None:
        """Begin to follow. `on_change` is called by the follower's thread after a record was taken in."""
        self._on_change = on_change
        self.follow()

    def _take(self, message: Message) -> None:
        key = message.key() or b""
        refusal = self._states.take(key, message.value(), message.headers() or ())
        if refusal is not None and not key.startswith(self._others):  # what is under another kind is its follower's to tell
            self._refused.note(refusal)
            self._on_refused(refusal)
        self._on_change()

    def _looked(self) -> None:
        """All of the beginning is told in one line."""
        if self.read_to_end:
            self._refused.tell()
