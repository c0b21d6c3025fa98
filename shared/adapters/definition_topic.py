"""The topic of definitions as a view in memory, followed live by a thread of its own: every set in order, and the texts of their files.

Sets share most of their parts, which are kept once; texts are kept compressed. What is not as its key says counts for nothing.
"""

import threading
import zlib
from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from confluent_kafka import Message

from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.refused_records import RefusedRecords
from shared.adapters.topic_follower import TopicFollower
from shared.contracts.definitions import SET_DECODER, DefinitionRefusal, DefinitionSet, number_of, same_text, signer, text_of
from shared.contracts.key_signature import KeySecrets
from shared.contracts.topics import DEFINITION_CHANGED

IGNORED: Final = (
    "records of the definitions' topic are not as this installation writes them, so ignored; "
    "`unsigned`: by another RAPPORT_KEY_SECRET, or by none"
)


class MissingText(LookupError):
    """A set names a text that the topic does not have."""


class DefinitionTopic(TopicFollower):
    """Read by any thread; written by the follower only. With `secrets`, sets that none of them signed count for nothing."""

    def __init__(
        self,
        kafka: KafkaConnection,
        client_id: str,
        secrets: KeySecrets | None = None,
    ) -> None:
        super().__init__(kafka, client_id, DEFINITION_CHANGED)
        self._know_nothing(secrets)

    def _know_nothing(self, secrets: KeySecrets | None) -> None:
        self._secrets = secrets
        self._refused = RefusedRecords("definitions", IGNORED, topic=DEFINITION_CHANGED)
        self._on_refused: Callable[[DefinitionRefusal], None] = lambda refusal: None
        self._on_change: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._sets: list[DefinitionSet] = []
        self._texts: dict[str, bytes] = {}
        self._parts: dict[Any, Any] = {}
        self._older: set[int] = set()

    def start(
        self, on_change: Callable[[], None] = lambda: None, on_refused: Callable[[DefinitionRefusal], None] = lambda refusal: None
    ) -> None:
        """Begin to follow. The follower's thread calls: `on_change` after a set came or went, `on_refused` of what counts for nothing."""
        self._on_change, self._on_refused = on_change, on_refused
        self.follow()

    @property
    def sets(self) -> list[DefinitionSet]:
        """Every set that is kept, oldest first."""
        with self._lock:
            return list(self._sets)

    @property
    def head(self) -> DefinitionSet | None:
        """The newest set; None: nothing was ever applied."""
        with self._lock:
            return self._sets[-1] if self._sets else None

    def get(self, number: int) -> DefinitionSet | None:
        """The set of that number, if it is kept."""
        with self._lock:
            place = bisect_left(self._sets, number, key=lambda one: one.number)
            return self._sets[place] if place < len(self._sets) and self._sets[place].number == number else None

    def at(self, activated_at: int) -> DefinitionSet | None:
        """The set of exactly that instant, else the first later one that is kept; None if there is none."""
        with self._lock:
            place = bisect_left(self._sets, activated_at, key=lambda one: one.activated_at)
            return self._sets[place] if place < len(self._sets) else None

    def text(self, sha256: str) -> str | None:
        """The text of that hash, if it is kept."""
        packed = self._texts.get(sha256)
        return None if packed is None else zlib.decompress(packed).decode()

    def texts(self, of: DefinitionSet) -> dict[str, str]:
        """Path -> text of every file of a set. Raises MissingText."""
        found: dict[str, str] = {}
        for file in of.files:
            text = self.text(file.sha256)
            if text is None:
                raise MissingText(f"set {of.number}: the text of {file.path} is not in {DEFINITION_CHANGED}")
            found[file.path] = text
        return found

    @property
    def signed_by_older(self) -> bool:
        """Whether a set is signed by a secret that another is about to replace. Known only where there are secrets."""
        return bool(self._older)

    @property
    def known_texts(self) -> Mapping[str, int]:
        """Hash -> bytes that each kept text takes in memory."""
        return {sha256: len(packed) for sha256, packed in list(self._texts.items())}

    def _take(self, message: Message) -> None:
        key, value = message.key() or b"", message.value()
        number, sha256 = number_of(key), text_of(key)
        if number is not None:
            refusal = self._forget(number) if value is None else self._take_set(number, key, value, message)
        elif sha256 is not None:
            refusal = self._take_text(sha256, value)
        else:
            refusal = DefinitionRefusal.UNDECODABLE
        if refusal is not None:
            self._refused.note(refusal)
            self._on_refused(refusal)

    def _looked(self) -> None:
        if self.read_to_end:
            self._refused.tell()

    def _take_text(self, sha256: str, value: bytes | None) -> DefinitionRefusal | None:
        if value is None:
            self._texts.pop(sha256, None)
            return None
        if not same_text(sha256, value):
            return DefinitionRefusal.MISNAMED
        try:
            value.decode()
        except UnicodeDecodeError:
            return DefinitionRefusal.UNDECODABLE
        self._texts[sha256] = zlib.compress(value, 1)
        return None

    def _take_set(self, number: int, key: bytes, value: bytes, message: Message) -> DefinitionRefusal | None:
        place = 0 if self._secrets is None else signer(key, value, message.headers() or (), self._secrets)
        if place is None:
            return DefinitionRefusal.UNSIGNED
        try:
            one = SET_DECODER.decode(value)
        except msgspec.DecodeError:
            return DefinitionRefusal.UNDECODABLE
        if one.number != number:
            return DefinitionRefusal.MISNAMED
        known, last = self.get(number), self.head
        if known is not None and known != one:
            return DefinitionRefusal.REPEATED
        if known is not None:
            self._note_signer(number, place)
            return None
        if last is not None and (one.number <= last.number or one.activated_at <= last.activated_at):
            return DefinitionRefusal.REPEATED
        with self._lock:
            self._sets.append(self._shared(one))
        self._note_signer(number, place)
        self._on_change()
        return None

    def _note_signer(self, number: int, place: int) -> None:
        if place:
            self._older.add(number)
        else:
            self._older.discard(number)

    def _shared(self, one: DefinitionSet) -> DefinitionSet:
        """The same set of parts that other sets have too."""
        parts = self._parts
        return msgspec.structs.replace(
            one,
            files=tuple(parts.setdefault(file, file) for file in one.files),
            definitions=tuple(parts.setdefault(definition, definition) for definition in one.definitions),
        )

    def _forget(self, number: int) -> DefinitionRefusal | None:
        known, last = self.get(number), self.head
        if known is None:
            return None
        if last is known:
            return DefinitionRefusal.HEAD_DELETED
        with self._lock:
            self._sets.remove(known)
            self._older.discard(number)
            self._parts.clear()
            self._sets = [self._shared(one) for one in self._sets]
        self._on_change()
        return None
