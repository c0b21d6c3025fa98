"""Keys as records: made, revoked. The secret is given once and stands nowhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from services.control.domain.replaying import Append
from shared.contracts.control import KeyChanged, KeyKind, key_hash
from shared.contracts.key_signature import KeySecrets, signed
from shared.contracts.topics import KEY_CHANGED
from shared.http.access import Access, Scope, granted
from shared.http.reasons import Code, Refused

PREFIXES: Final = {KeyKind.WRITE: "wk_", KeyKind.QUERY: "qk_"}


@dataclass(frozen=True)
class KeyWanted:
    """What is asked for. `expires_at`: epoch ms."""

    kind: KeyKind
    name: str
    source_id: str | None
    scopes: Sequence[Scope]
    expires_at: int | None


def made(wanted: KeyWanted, random: str, now_ms: int, by: Access) -> tuple[str, KeyChanged]:
    """The secret and the record of a new key; `random` stands for 256 random bits.

    Raises Refused: 403 if the key would see more than the one that asks for it, 400 if it would have expired already.
    """
    beyond = [scope.value for scope in wanted.scopes if not by.may(scope)]
    if beyond:
        raise Refused(403, Code.MISSING_SCOPE, f"a key cannot give what it lacks itself: {', '.join(beyond)}", "scopes")
    if wanted.expires_at is not None and wanted.expires_at <= now_ms:
        raise Refused(400, Code.INVALID_REQUEST, "expires_at: must lie in the future", "expires_at")
    is_write = wanted.kind is KeyKind.WRITE
    secret = PREFIXES[wanted.kind] + random
    return secret, KeyChanged(
        kind=wanted.kind,
        hash=key_hash(secret),
        name=wanted.name,
        created_at=now_ms,
        source_id=(wanted.source_id or wanted.name) if is_write else None,
        scopes=[] if is_write else sorted({scope.value for scope in wanted.scopes}),
        expires_at=wanted.expires_at,
        hint=secret[-4:],
        version=1,
    )


def check_may_revoke(record: KeyChanged, by: Access) -> None:
    """Raises Refused (403) if the key may do more than the one that asks: who could revoke it could lock its holder out."""
    beyond = sorted(scope.value for scope in granted(record.scopes) if not by.may(scope))
    if record.kind is KeyKind.QUERY and beyond:
        raise Refused(403, Code.MISSING_SCOPE, f"this key cannot revoke one that may do more than itself: {', '.join(beyond)}")


def revoked(record: KeyChanged, now_ms: int) -> KeyChanged:
    """The record of a key that is good no more; one revoked before stays as it is."""
    return record if record.revoked_at is not None else msgspec.structs.replace(record, revoked_at=now_ms, version=record.version + 1)


def appended(record: KeyChanged, secrets: KeySecrets) -> Append:
    """What goes into the key topic, signed."""
    written = signed(record, secrets)
    return Append(KEY_CHANGED, 0, written.key, written.value, written.headers)
