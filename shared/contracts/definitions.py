"""Records of definition.changed, the truth about definitions and their history, and of definition.activated.

`text:<sha256>` is the text of one file. `set:<number>` is a DefinitionSet: which files stood together from an instant on. A set names its
texts by their hash, so a text that many sets have stands in the log once; both are written in one transaction, texts first. What stands
under a key never changes; a set beyond the bounds of history is deleted together with the texts that no other set has.

definition.activated says to each slot, in the order of its own records, from where on a set holds.
"""

import hashlib
import hmac
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Final

import msgspec

from shared.contracts.days import DAY_MS
from shared.contracts.headers import Headers, header
from shared.contracts.key_signature import SIGNATURE, KeySecrets
from shared.contracts.topics import DEFINITION_CHANGED

ACTIVATED_KEY: Final = b"set"
"""The key of every record of definition.activated."""
MAX_WHY: Final = 500
"""Characters of the reason that a set was applied for."""
KEPT_MS: Final = 400 * DAY_MS
"""No set younger than that is deleted: a passage through a journey keeps its version for up to 13 months."""
_TEXT: Final = b"text:"
_SET: Final = b"set:"


class SegmentState(StrEnum):
    """What a segment of a set can answer.

    live: all that it asks has been counted since the beginning. filling: something that it asks has no history, so it says nothing and has
    no members, until somebody accepts that (nothing reads history in yet). from_now: that was accepted, so what came before counts for
    nothing.
    """

    LIVE = "live"
    FILLING = "filling"
    FROM_NOW = "from_now"


class FileRef(msgspec.Struct, frozen=True, array_like=True):
    """A file of a set. `path` below the folder, with slashes."""

    path: str
    sha256: str


class SetDefinition(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One definition of a set.

    `version`: 32 bits of what it does, so titles and comments do not change it. `since`: `activated_at` of the first set from which this
    version has stood without a break, and has had history enough to speak. `files`: paths. `state` and `features` (ids of what its rule
    asks): of a segment.
    """

    kind: str
    name: str
    version: int
    since: int
    files: tuple[str, ...] = ()
    state: SegmentState | None = None
    features: tuple[str, ...] = ()


class DefinitionSet(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, dict=True):
    """All definitions that hold from `activated_at` on. Times in epoch milliseconds.

    `number` counts from 1; `base` is the set that it was made from, 0 for the first. `activated_at` is greater than that of every set
    before and is what slots compare; `applied_at` is what the clock said. `applied_by`: id of the key, `applied_by_name` its name.
    `files` are sorted by path, `definitions` by kind and name.
    `features`: feature id -> `activated_at` of the first set from which it has been asked without a break; 0: since the beginning.
    `rolled_back_to`: number of the set whose files these are, where it was made by a rollback.
    """

    number: int
    base: int
    activated_at: int
    applied_at: int
    applied_by: str
    applied_by_name: str = ""
    why: str = ""
    zone: str = "UTC"
    default_locale: str = "en"
    rolled_back_to: int | None = None
    files: tuple[FileRef, ...] = ()
    definitions: tuple[SetDefinition, ...] = ()
    features: dict[str, int] = {}

    @cached_property
    def by_name(self) -> Mapping[tuple[str, str], SetDefinition]:
        """Every definition by (kind, name)."""
        return {(one.kind, one.name): one for one in self.definitions}

    @property
    def from_now(self) -> frozenset[str]:
        """Segments that were accepted without history."""
        return frozenset(one.name for one in self.definitions if one.state is SegmentState.FROM_NOW)

    @property
    def filling(self) -> frozenset[str]:
        """Segments that wait for their history."""
        return frozenset(one.name for one in self.definitions if one.state is SegmentState.FILLING)


class DefinitionRefusal(StrEnum):
    """Why a record of definition.changed counts for nothing."""

    UNSIGNED = "unsigned"
    """By none of the secrets, where the reader was given them."""
    UNDECODABLE = "undecodable"
    """Perhaps of a newer release."""
    MISNAMED = "misnamed"
    """Its content is not what its key says."""
    REPEATED = "repeated"
    """A set of this number is known, and says something else; or it would come before a set that is there."""
    HEAD_DELETED = "head_deleted"
    """The newest set is never deleted."""


class DefinitionActivated(msgspec.Struct, frozen=True):
    """From this record on the set `number` holds in this partition. One that is not greater than what a slot goes by changes nothing."""

    number: int
    activated_at: int


SET_DECODER: Final = msgspec.json.Decoder(DefinitionSet)
ACTIVATED_DECODER: Final = msgspec.json.Decoder(DefinitionActivated)
ENCODER: Final = msgspec.json.Encoder()


class DefinitionRecord(msgspec.Struct, frozen=True):
    """A record of definition.changed as it is to be written. `value` None: a deletion."""

    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


def text_hash(text: bytes) -> str:
    """What a text is named by: SHA-256 in hex."""
    return hashlib.sha256(text).hexdigest()


def text_key(sha256: str) -> bytes:
    return _TEXT + sha256.encode()


def set_key(number: int) -> bytes:
    return _SET + str(number).encode()


def text_of(key: bytes) -> str | None:
    """The hash that a record's key names; None: it is no text."""
    return key.removeprefix(_TEXT).decode("ascii", "replace") if key.startswith(_TEXT) else None


def number_of(key: bytes) -> int | None:
    """The number of the set that a record's key names; None: it is none."""
    digits = key.removeprefix(_SET)
    return int(digits) if key.startswith(_SET) and digits.isdigit() and len(digits) < 10 and digits[:1] != b"0" else None


def text_record(text: bytes) -> DefinitionRecord:
    """It needs no signature: its key is its hash, and a signed set names it."""
    return DefinitionRecord(text_key(text_hash(text)), text)


def set_record(one: DefinitionSet, secrets: KeySecrets) -> DefinitionRecord:
    """Signed by the newest secret."""
    key, value = set_key(one.number), ENCODER.encode(one)
    return DefinitionRecord(key, value, ((SIGNATURE, secrets.sign(key, value, DEFINITION_CHANGED)),))


def signer(key: bytes, value: bytes, headers: Headers, secrets: KeySecrets) -> int | None:
    """Which of the secrets signed this record of a set, 0 for the newest; None if none did."""
    signature = header(headers, SIGNATURE)
    return None if signature is None else secrets.place(key, value, signature, DEFINITION_CHANGED)


def same_text(sha256: str, value: bytes) -> bool:
    """Whether `value` is the text of that hash."""
    return hmac.compare_digest(text_hash(value), sha256)
