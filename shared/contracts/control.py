"""Control records: topics that are the truth about keys; memory is a view of them."""

import hashlib
from enum import StrEnum

import msgspec


class KeyKind(StrEnum):
    WRITE = "write"
    QUERY = "query"


class KeyChanged(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One key. The record's key is `kind:hash`; the secret itself is stored nowhere. Times in epoch milliseconds.

    A write key may only ingest, for `source_id`. A query key holds `scopes` and may expire. Revoked keys stay as records
    with `revoked_at`, so that a process which has read the topic to its end can say 401 for certain.
    """

    kind: KeyKind
    hash: str
    name: str
    created_at: int
    source_id: str | None = None
    scopes: list[str] = []
    expires_at: int | None = None
    revoked_at: int | None = None
    hint: str = ""
    """The last four characters, so that a person can tell keys apart."""
    version: int = 0
    """Grows with each state of the key: a record that is written again cannot take the place of a later one (key_signature.py)."""


def key_hash(secret: str) -> str:
    """SHA-256 in hex. Keys are 256 random bits, so a fast hash is enough and ingest can check one in a microsecond."""
    return hashlib.sha256(secret.encode()).hexdigest()


KEY_CHANGED_DECODER = msgspec.json.Decoder(KeyChanged)
