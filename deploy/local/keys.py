"""Write keys and query keys: made, listed, revoked and signed anew in the topic that is the truth about them.

A secret is shown once, when it is made; only its hash is kept anywhere.
"""

import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.kafka_range import records_between
from shared.contracts.control import KEY_CHANGED_DECODER, KeyChanged, KeyKind, key_hash
from shared.contracts.headers import header
from shared.contracts.key_signature import SIGNATURE, KeyRefusal, KeySecrets, KeyStates, signed
from shared.contracts.topics import KEY_CHANGED

SECONDS = 20.0
PAUSE_SECONDS = 0.2
SECRET_BYTES = 32
ALL_SCOPES = ["*"]


_PASSING = frozenset({KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART})


class KeysUnavailableError(Exception):
    """Kafka did not take or give the key records; nothing was changed, or it is unknown whether it was."""


@dataclass(frozen=True)
class NewKey:
    """A key at the one moment at which its secret is known."""

    secret: str
    record: KeyChanged


def new_key(
    kind: KeyKind, name: str, now_ms: int, source_id: str | None = None, scopes: list[str] | None = None, random: str = ""
) -> NewKey:
    """A key's secret and record; `random` stands for 256 random bits. A write key needs a `source_id`: its name by default."""
    # hexadecimal, so that the last four characters never look like an option of the command
    secret = f"{'wk' if kind is KeyKind.WRITE else 'qk'}_{random or secrets.token_hex(SECRET_BYTES)}"
    is_write = kind is KeyKind.WRITE
    record = KeyChanged(
        kind=kind,
        hash=key_hash(secret),
        name=name,
        created_at=now_ms,
        source_id=(source_id or name) if is_write else None,
        scopes=[] if is_write else (scopes or ALL_SCOPES),
        hint=secret[-4:],
        version=1,
    )
    return NewKey(secret, record)


def create(
    kafka: KafkaConnection,
    secrets: KeySecrets,
    kind: KeyKind,
    name: str,
    source_id: str | None = None,
    scopes: list[str] | None = None,
) -> NewKey:
    """Make a key and publish its record; returns after Kafka has acknowledged it. Raises KeysUnavailableError."""
    made = new_key(kind, name, time.time_ns() // 1_000_000, source_id, scopes)
    publish(kafka, secrets, made.record)
    return made


def revoke(kafka: KafkaConnection, secrets: KeySecrets, found: KeyChanged) -> KeyChanged:
    """Publish that a key is revoked from now on. Raises KeysUnavailableError."""
    revoked = msgspec.structs.replace(found, revoked_at=time.time_ns() // 1_000_000, version=found.version + 1)
    publish(kafka, secrets, revoked)
    return revoked


def publish(kafka: KafkaConnection, secrets: KeySecrets, record: KeyChanged) -> None:
    """Append one key's newest state, signed. Raises KeysUnavailableError unless Kafka acknowledged it."""
    failed: list[KafkaError] = []
    producer = kafka.producer(
        {
            "enable.idempotence": True,
            "delivery.timeout.ms": int(SECONDS * 1000),
            "log_level": 0,
        }
    )
    written = signed(record, secrets)
    producer.produce(
        KEY_CHANGED,
        written.value,
        written.key,
        partition=0,
        headers=list(written.headers),
        on_delivery=lambda error, _: failed.append(error) if error is not None else None,
    )
    if producer.flush(SECONDS + 1) or failed:
        why = failed[0].str() if failed else "no acknowledgement in time"
        raise KeysUnavailableError(f"Kafka at {kafka.bootstrap} did not take the key: {why}")


@dataclass(frozen=True)
class Found:
    """What the topic holds. `good`: the newest signed state of every key, oldest key first.

    `strange`: the newest state of every key of which no state is signed: it counts for nothing. `old`: good states that an older secret
    signed and the newest did not.
    """

    good: list[KeyChanged]
    strange: list[KeyChanged]
    old: list[KeyChanged]


def read_all(kafka: KafkaConnection, secrets: KeySecrets) -> list[KeyChanged]:
    """The newest signed state of every key, oldest first. Raises KeysUnavailableError."""
    return find(kafka, secrets).good


def find(kafka: KafkaConnection, secrets: KeySecrets) -> Found:
    """All keys that the topic holds now. Raises KeysUnavailableError."""
    deadline = time.monotonic() + SECONDS
    consumer = kafka.reader({"enable.partition.eof": True, "log_level": 0})
    try:
        while True:
            try:
                return _fold(_read_to_end(consumer, deadline), secrets)
            except KafkaException as error:
                # a topic made a moment ago, or one whose broker has just come back, has no leader yet
                if (not error.args[0].retriable() and error.args[0].code() not in _PASSING) or time.monotonic() > deadline:
                    raise KeysUnavailableError(f"Kafka at {kafka.bootstrap} did not give the keys: {error.args[0].str()}") from None
                time.sleep(PAUSE_SECONDS)
    finally:
        consumer.close()


def sign_anew(kafka: KafkaConnection, secrets: KeySecrets, records: Iterable[KeyChanged]) -> None:
    """Write these states again, signed by the newest secret. A state that was never signed becomes the key's first version."""
    for record in records:
        publish(kafka, secrets, msgspec.structs.replace(record, version=max(record.version, 1)))


def _fold(records: Sequence[Message], secrets: KeySecrets) -> Found:
    states = KeyStates(secrets)
    unsigned: dict[str, KeyChanged] = {}
    by_newest: dict[str, KeyChanged] = {}  # the last state of each key that the newest secret signed
    for message in records:
        key, value, headers = message.key() or b"", message.value(), message.headers() or ()
        refusal = states.take(key, value, headers)
        try:
            record = KEY_CHANGED_DECODER.decode(value or b"")
        except msgspec.DecodeError:
            continue
        if refusal is KeyRefusal.UNSIGNED:
            known = unsigned.get(record.hash)
            if known is None or known.revoked_at is None:  # a revoked key stays revoked, whatever was written behind that
                unsigned[record.hash] = record
        elif refusal is None and secrets.place(key, value or b"", header(headers, SIGNATURE) or b"") == 0:
            by_newest[record.hash] = record
    good = sorted(states.keys.values(), key=lambda record: record.created_at)
    strange = sorted((one for hashed, one in unsigned.items() if hashed not in states.keys), key=lambda record: record.created_at)
    return Found(good, strange, [record for record in good if by_newest.get(record.hash) != record])


def _read_to_end(consumer: Consumer, deadline: float) -> list[Message]:
    """Every record up to the end that the topic has now. Raises KafkaException."""
    start, end = consumer.get_watermark_offsets(TopicPartition(KEY_CHANGED, 0), timeout=SECONDS)
    return list(records_between(consumer, KEY_CHANGED, 0, start, end, max(PAUSE_SECONDS, deadline - time.monotonic())))
