"""Records of key.changed are signed: who can write to the topic is not yet somebody who can make a key.

HMAC-SHA-256 under a secret of the installation, over the topic's name, the record's key and its value as they stand in the log. The
signature is a header, so it needs no form of the value beside the bytes themselves. Several secrets are accepted while one replaces
another; the newest signs.

A record that was good once can be written again by anybody who may write. So a key's states carry a version inside what is signed, and a
reader goes only forward. The topic keeps every record: were it compacted, an old grant written again would drive the revocation out.
"""

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec

from shared.contracts.control import KEY_CHANGED_DECODER, KeyChanged, KeyKind
from shared.contracts.headers import Headers, header
from shared.contracts.topics import KEY_CHANGED

SIGNATURE: Final = "signature"
SHORTEST: Final = 32
_SEPARATORS: Final = re.compile(r"[\s,]+")


class KeyRefusal(StrEnum):
    """Why a record of key.changed counts for nothing."""

    UNSIGNED = "unsigned"
    FORGED = "forged"
    """Signed by none of the secrets."""
    REPLAYED = "replayed"
    """A state of the key that a later one has taken the place of."""
    DELETION = "deletion"
    """Keys are revoked, never deleted."""
    UNDECODABLE = "undecodable"


@dataclass(frozen=True, slots=True)
class KeySecrets:
    """The secrets of an installation, newest first."""

    newest_first: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "KeySecrets":
        """Secrets between spaces, commas or line breaks. Raises ValueError, which does not show them."""
        found = tuple(one.encode() for one in _SEPARATORS.split(text) if one)
        if not found:
            raise ValueError("holds no secret")
        if any(len(one) < SHORTEST for one in found):
            raise ValueError(f"must be of {SHORTEST} characters or more: `openssl rand -hex 32` makes one")
        return cls(found)

    def sign(self, key: bytes, value: bytes, topic: str = KEY_CHANGED) -> bytes:
        """The signature of a record of `topic`, by the newest secret."""
        return _signature(self.newest_first[0], topic, key, value)

    def place(self, key: bytes, value: bytes, signature: bytes, topic: str = KEY_CHANGED) -> int | None:
        """Which secret signed this for `topic`, 0 for the newest; None if none did."""
        for place, secret in enumerate(self.newest_first):
            if hmac.compare_digest(_signature(secret, topic, key, value), signature):
                return place
        return None


def _signature(secret: bytes, topic: str, key: bytes, value: bytes) -> bytes:
    told = b"%s\n%d\n%s%s" % (topic.encode(), len(key), key, value)
    return hmac.new(secret, told, hashlib.sha256).hexdigest().encode()


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A record as it stands in the log, or will."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


def signed(record: KeyChanged, secrets: KeySecrets) -> KeyRecord:
    """The record to be written."""
    key, value = f"{record.kind.value}:{record.hash}".encode(), msgspec.json.encode(record)
    return KeyRecord(key, value, ((SIGNATURE, secrets.sign(key, value)),))


class KeyStates:
    """The newest state of every key, by hash, folded from records in the log's order."""

    def __init__(self, secrets: KeySecrets, wanted: Callable[[KeyKind], bool] = lambda kind: True) -> None:
        self.keys: dict[str, KeyChanged] = {}
        self._secrets = secrets
        self._wanted = wanted

    def take(self, key: bytes | None, value: bytes | None, headers: Headers) -> KeyRefusal | None:
        """Take a record in, or say why it counts for nothing."""
        if value is None:
            return KeyRefusal.DELETION
        signature = header(headers, SIGNATURE)
        if signature is None:
            return KeyRefusal.UNSIGNED
        if self._secrets.place(key or b"", value, signature) is None:
            return KeyRefusal.FORGED
        try:
            record = KEY_CHANGED_DECODER.decode(value)
        except msgspec.DecodeError:
            return KeyRefusal.UNDECODABLE
        if not self._wanted(record.kind):
            return None
        known = self.keys.get(record.hash)
        if known is None or supersedes(record, known):
            self.keys[record.hash] = record
            return None
        return None if record == known else KeyRefusal.REPLAYED


def supersedes(record: KeyChanged, known: KeyChanged) -> bool:
    """Whether `record` takes the place of `known`. Of two with one version (two revoked at once) a revocation holds."""
    if record.version != known.version:
        return record.version > known.version
    return record.revoked_at is not None and known.revoked_at is None
