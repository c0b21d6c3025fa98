"""What `rapport keys` makes of the topic: good keys, keys that nobody signed, and keys that an older secret signed."""

from dataclasses import dataclass
from typing import Any

import msgspec

from deploy.local.keys import _fold
from shared.contracts.control import KeyChanged, KeyKind, key_hash
from shared.contracts.key_signature import KeyRecord, KeySecrets, signed

OLD, NEW = KeySecrets.parse("o" * 32), KeySecrets.parse("n" * 32 + " " + "o" * 32)


@dataclass(frozen=True)
class Message:
    """A record of the topic, as confluent-kafka hands it over."""

    record: KeyRecord

    def key(self) -> bytes:
        return self.record.key

    def value(self) -> bytes:
        return self.record.value

    def headers(self) -> Any:
        return list(self.record.headers) or None


def granted(name: str, version: int = 1, **changes: object) -> KeyChanged:
    made = KeyChanged(kind=KeyKind.WRITE, hash=key_hash(name), name=name, created_at=1, source_id=name, version=version)
    return msgspec.structs.replace(made, **changes)


def unsigned(record: KeyChanged) -> Message:
    whole = signed(record, OLD)
    return Message(KeyRecord(whole.key, whole.value, ()))


def by(secrets: KeySecrets, record: KeyChanged) -> Message:
    return Message(signed(record, secrets))


def test_what_nobody_signed_is_strange_and_no_state_of_a_signed_key_is() -> None:
    found = _fold([unsigned(granted("elder", 0)), by(NEW, granted("shop")), unsigned(granted("shop", 9))], NEW)
    assert [record.name for record in found.good] == ["shop"]
    assert [record.name for record in found.strange] == ["elder"]
    assert found.good[0].version == 1


def test_a_key_that_was_revoked_before_keys_were_signed_stays_revoked_whatever_was_written_behind_that() -> None:
    grant = granted("leaver", 0)
    found = _fold([unsigned(grant), unsigned(msgspec.structs.replace(grant, revoked_at=2)), unsigned(grant)], NEW)
    assert [record.revoked_at for record in found.strange] == [2]


def test_what_an_older_secret_signed_is_old_until_the_newest_signed_it_too() -> None:
    grant, end = granted("shop"), granted("shop", 2, revoked_at=2)
    assert _fold([by(OLD, grant)], NEW).old == [grant]
    assert _fold([by(OLD, grant), by(NEW, grant)], NEW).old == []
    assert _fold([by(OLD, grant), by(NEW, grant), by(OLD, end)], NEW).old == [end]


def test_rubbish_counts_for_nothing() -> None:
    found = _fold([Message(KeyRecord(b"", b"rubbish", ())), Message(KeyRecord(b"", b"", ()))], NEW)
    assert (found.good, found.strange, found.old) == ([], [], [])
