"""Signed keys: who may write to the topic makes no key, revives none and revokes none; secrets can be replaced while all goes on."""

import dataclasses

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.control import KeyChanged, KeyKind, key_hash
from shared.contracts.key_signature import SIGNATURE, KeyRecord, KeyRefusal, KeySecrets, KeyStates, signed
from shared.contracts.topics import TOPICS

OLD, NEW, OTHER = "o" * 32, "n" * 40, "x" * 32
SECRETS = KeySecrets.parse(OLD)


def granted(name: str = "shop", version: int = 1, **changes: object) -> KeyChanged:
    made = KeyChanged(kind=KeyKind.QUERY, hash=key_hash(name), name=name, created_at=1_000, scopes=["*"], hint="abcd", version=version)
    return msgspec.structs.replace(made, **changes)


def revoked(name: str = "shop", version: int = 2) -> KeyChanged:
    return granted(name, version, revoked_at=2_000)


def taken(states: KeyStates, record: KeyRecord) -> KeyRefusal | None:
    return states.take(record.key, record.value, record.headers)


def test_a_signed_key_is_good_and_its_revocation_holds() -> None:
    states = KeyStates(SECRETS)
    assert taken(states, signed(granted(), SECRETS)) is None
    assert taken(states, signed(revoked(), SECRETS)) is None
    assert states.keys == {key_hash("shop"): revoked()}


def test_a_key_that_somebody_put_into_the_topic_is_none() -> None:
    states = KeyStates(SECRETS)
    forged = signed(granted("mallory"), KeySecrets.parse(OTHER))
    assert taken(states, dataclasses.replace(forged, headers=())) is KeyRefusal.UNSIGNED
    assert taken(states, forged) is KeyRefusal.FORGED
    assert taken(states, dataclasses.replace(forged, headers=((SIGNATURE, b""),))) is KeyRefusal.FORGED
    assert states.keys == {}


def test_a_grant_that_is_written_again_does_not_revive_a_revoked_key() -> None:
    states = KeyStates(SECRETS)
    grant = signed(granted(), SECRETS)
    taken(states, grant)
    taken(states, signed(revoked(), SECRETS))
    assert taken(states, grant) is KeyRefusal.REPLAYED
    assert states.keys[key_hash("shop")].revoked_at == 2_000


def test_the_topic_keeps_every_record_so_that_nothing_drives_a_revocation_out() -> None:
    (topic,) = [topic for topic in TOPICS if topic.name == "rapport.key.changed.v1"]
    settings = topic.settings(1)
    assert (settings["cleanup.policy"], settings["retention.ms"], settings["retention.bytes"]) == ("delete", "-1", "-1")


def test_a_deletion_forgets_nothing() -> None:
    states = KeyStates(SECRETS)
    grant, end = signed(granted(), SECRETS), signed(revoked(), SECRETS)
    for record in (grant, end):
        taken(states, record)
    assert states.take(end.key, None, end.headers) is KeyRefusal.DELETION
    assert taken(states, grant) is KeyRefusal.REPLAYED
    assert states.keys == {key_hash("shop"): revoked()}


def test_a_signature_is_of_its_own_key_and_value_alone() -> None:
    states = KeyStates(SECRETS)
    grant = signed(granted(), SECRETS)
    more = msgspec.json.encode(granted(scopes=["*"], source_id="all"))
    assert taken(states, dataclasses.replace(grant, value=more)) is KeyRefusal.FORGED
    assert taken(states, dataclasses.replace(grant, key=b"query:other")) is KeyRefusal.FORGED
    assert states.take(None, grant.value, grant.headers) is KeyRefusal.FORGED


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_no_two_records_share_a_signature(key: bytes, value: bytes, other_key: bytes, other_value: bytes) -> None:
    same = (key, value) == (other_key, other_value)
    assert (SECRETS.sign(key, value) == SECRETS.sign(other_key, other_value)) == same
    moved = (key + value[:1], value[1:])
    assert (SECRETS.sign(*moved) == SECRETS.sign(key, value)) == (moved == (key, value))


def test_of_two_revocations_at_once_the_key_stays_revoked_whatever_their_order() -> None:
    one, other = revoked(), granted(version=2, revoked_at=2_001)
    for first, second in ((one, other), (other, one), (granted(version=2), one), (one, granted(version=2))):
        states = KeyStates(SECRETS)
        for record in (first, second):
            taken(states, signed(record, SECRETS))
        assert states.keys[key_hash("shop")].revoked_at is not None


def test_a_record_that_a_retry_wrote_twice_is_no_replay() -> None:
    states = KeyStates(SECRETS)
    assert [taken(states, signed(granted(), SECRETS)) for _ in range(2)] == [None, None]


def test_while_a_secret_replaces_another_both_are_accepted_and_the_newest_signs() -> None:
    both = KeySecrets.parse(f"{NEW}\n{OLD}\n")
    states = KeyStates(both)
    assert taken(states, signed(granted("before"), SECRETS)) is None
    after = signed(granted("after"), both)
    assert taken(states, after) is None
    assert taken(KeyStates(KeySecrets.parse(NEW)), after) is None
    assert taken(KeyStates(SECRETS), after) is KeyRefusal.FORGED


def test_a_signed_record_that_nobody_can_read_is_told_and_not_taken() -> None:
    states = KeyStates(SECRETS)
    assert states.take(b"k", b"{}", ((SIGNATURE, SECRETS.sign(b"k", b"{}")),)) is KeyRefusal.UNDECODABLE


@pytest.mark.parametrize("text", ["", " ,\n", "short", f"{NEW} short"])
def test_a_secret_that_is_too_short_or_absent_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match=r"secret|characters") as told:
        KeySecrets.parse(text)
    assert NEW not in str(told.value)
    assert NEW not in repr(KeySecrets.parse(NEW))
