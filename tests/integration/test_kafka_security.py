"""The whole pipeline on a broker that takes only SASL_SSL with SCRAM, one user a process, with the rights that `rapport acls` gives.

Events in by HTTP, a profile, a segment, an e-mail, rows in ClickHouse; and what a process may not do, it cannot.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import ScramMechanism

from deploy.cli import acls
from deploy.local import keys
from deploy.local.ports import free_port
from deploy.local.process import MissingError
from shared.adapters.kafka_clients import KafkaConnection, Mechanism
from shared.adapters.kafka_offsets import Offsets
from shared.adapters.key_topic import KeyTopic
from shared.contracts.control import KeyChanged, KeyKind, key_hash
from shared.contracts.definitions import DefinitionRecord, DefinitionSet, set_record
from shared.contracts.key_signature import KeyRecord, KeySecrets, signed
from shared.contracts.rights import PROCESSES, rights
from shared.contracts.topics import (
    DEFINITION_ACTIVATED,
    DEFINITION_CHANGED,
    DISPATCH_RECORDED,
    EVENT_RECEIVED,
    EVENT_RESOLVED,
    FOLDER_REPLAYED,
    KEY_CHANGED,
    MESSAGE_REQUESTED,
    PROFILE_CHANGED,
    REBUILD_CHANGED,
    RECORD_FAILED,
)
from shared.http.instants import epoch_ms
from tests.certificates import Authority
from tests.integration.secure_installation import SERVICES, USERS, Installation, command
from tests.integration.secure_kafka import ADMIN, SecureKafka, secret_of
from tests.key_secrets import SECRETS
from tests.waiting import wait_until

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    folder = tmp_path_factory.mktemp("kafka-secure")
    try:
        kafka = SecureKafka(folder / "data", free_port(), free_port(), folder / "server.log", Authority(folder / "certificates"))
    except MissingError as absent:
        pytest.skip(f"not run: needs {absent}")
    with kafka:
        wait_until("the broker lets its administrator in", lambda: _answers(kafka.as_user("admin")))
        kafka.add_users(list(USERS.values()))
        command(kafka, "admin", "-m", "deploy.cli.main", "acls", "--apply")
        command(kafka, USERS["topics"], "-m", "deploy.local.topics")
        yield kafka


def _answers(connection: KafkaConnection, seconds: float = 5.0) -> bool:
    try:
        return bool(connection.admin({"log_level": 0}).list_topics(timeout=seconds).brokers)
    except KafkaException:
        return False


@pytest.fixture(scope="module")
def house(broker: SecureKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = Installation(broker, tmp_path_factory.mktemp("house"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def _customer() -> list[dict[str, Any]]:
    """Somebody who said yes to e-mail and has ordered often enough to be important."""
    now = datetime.now(UTC)
    who = {"userId": "ann", "channel": "server"}
    consent = {"consent": {"categoryPreferences": {"email": True}}}
    traits = {"email": "ann@example.com", "firstName": "Ann"}
    identify = who | {"type": "identify", "messageId": "i-1", "traits": traits, "context": consent}
    orders = [
        who
        | {
            "type": "track",
            "event": "Order Completed",
            "messageId": f"o-{number}",
            "timestamp": f"{now - timedelta(days=number):%Y-%m-%dT%H:%M:%S.000Z}",
            "properties": {"revenue": 600, "currency": "CNY", "order_id": f"{number}"},
        }
        for number in range(6)
    ]
    return [identify, *orders]


def test_events_become_profile_segment_mail_and_rows_where_each_process_is_a_user_of_its_own(house: Installation) -> None:
    house.send(_customer())
    wait_until(lambda: f"the profile: {house.get('profiles/u:ann').text}", lambda: house.get("profiles/u:ann").status_code == 200)
    wait_until(
        lambda: f"the segment: {house.get('profiles/u:ann/segments').text}",
        lambda: "important_keep" in house.get("profiles/u:ann/segments").text,
    )
    wait_until("the e-mail", lambda: list((house.folder / "mail").glob("[!.]*.eml")))
    wait_until("its row", lambda: [one for one in house.data("profiles/u:ann/messages") if one["status"] == "sent"])
    wait_until("the rows of all events", lambda: len(house.data("profiles/u:ann/events")) == 7)
    stages = wait_until("the stages", lambda: house.get("system/status").json()["stages"])
    assert {stage["stage"]: stage["started"] for stage in stages} | {"resolver": True} == {stage["stage"]: True for stage in stages}


def test_tags_by_hand_are_had_lost_and_had_again_by_who_is_known_by_a_user_id_or_a_phone_number(house: Installation) -> None:
    phone = "phone:+8613800138000"
    house.send([{"type": "identify", "messageId": "i-2", "traits": {"phone": "+86 138 0013 8000"}, "channel": "server"}])
    wait_until("who has a phone number alone", lambda: house.get(f"profiles/{phone}").status_code == 200)
    file = house.folder / "people.txt"
    file.write_text(f"ann\n{phone}\n")

    def have(people: set[str]) -> bool:
        return {one for one in ("u:ann", phone) if [tag["tag"] for tag in house.data(f"profiles/{one}/tags")] == ["vip"]} == people

    for words, people in (
        (["import", str(file), "--reason", "fair"], {"u:ann", phone}),
        (["remove", phone], {"u:ann"}),
        (["import", str(file), "--reason", "fair"], {"u:ann", phone}),
    ):
        house.tag(*words, "--tag", "vip")
        wait_until(f"{people} have the tag", lambda people=people: have(people))  # type: ignore[misc]


def test_what_a_rebuild_would_lose_is_told_where_the_log_has_lost_its_beginning(house: Installation, broker: SecureKafka) -> None:
    """Though control may read no events."""
    before = epoch_ms(datetime.now(UTC)) - 3_600_000
    admin, offsets = broker.admin(), Offsets(broker.as_user(ADMIN), 30.0, {"log_level": 0})
    for topic in (EVENT_RECEIVED, EVENT_RESOLVED):
        fullest = max(offsets.ends(offsets.partitions(topic)).items(), key=lambda one: one[1])[0]
        for outcome in admin.delete_records([TopicPartition(*fullest, 1)]).values():
            outcome.result(30)
    offsets.close()
    for view in ("profile", "segmentation", "messaging"):
        answer = house.get(f"rebuilds:plan?view={view}")
        assert answer.status_code == 200, answer.text
        assert answer.json()["gone_records"] >= 1
        assert before < epoch_ms(datetime.fromisoformat(answer.json()["log_begins_at"])) <= epoch_ms(datetime.now(UTC))


def test_no_password_gets_into_a_log(house: Installation) -> None:
    told = house.logs()
    assert [user for user in USERS.values() if secret_of(user) in told] == []


def test_nobody_is_refused_anything_that_a_process_does(house: Installation, broker: SecureKafka) -> None:
    """The table gives all that was asked for, by the broker's own record and by the logs of all processes."""
    assert broker.refusals() == []
    assert [line for line in house.logs().splitlines() if "AUTHORIZATION_FAILED" in line or "uthorization failed" in line] == []


def _write_key_record(broker: SecureKafka, record: KeyRecord) -> None:
    """As somebody who may write keys and does not know the secret of the installation."""
    _append(broker.as_user(USERS["cli"]), KEY_CHANGED, record)


def _append(kafka: KafkaConnection, topic: str, record: KeyRecord | DefinitionRecord) -> None:
    failed: list[KafkaError | None] = []
    producer = kafka.producer({"log_level": 0})
    headers = list(record.headers)
    producer.produce(topic, record.value, record.key, partition=0, headers=headers, on_delivery=lambda error, _: failed.append(error))
    producer.flush(15)
    assert failed == [None]


def _key(secret: str, version: int) -> KeyChanged:
    return KeyChanged(kind=KeyKind.QUERY, hash=key_hash(secret), name=secret, created_at=1, scopes=["*"], hint=secret[-4:], version=version)


def test_keys_made_before_keys_were_signed_count_again_once_somebody_signed_them(house: Installation, broker: SecureKafka) -> None:
    elder = signed(_key("qk_elder", 0), SECRETS)
    _write_key_record(broker, KeyRecord(elder.key, elder.value, ()))
    assert house.get("segments", "qk_elder").status_code == 401
    told = command(broker, USERS["cli"], "-m", "deploy.cli.main", "keys", "sign", "--yes")
    assert "signed: 1 that were not" in told
    wait_until("the key is good", lambda: house.get("segments", "qk_elder").status_code == 200)
    assert "signed: 0 that were not" in command(broker, USERS["cli"], "-m", "deploy.cli.main", "keys", "sign")


def test_a_key_that_somebody_put_into_the_topic_stays_without_effect(house: Installation, broker: SecureKafka) -> None:
    forged = signed(_key("qk_mallory", 9), KeySecrets.parse("m" * 40))
    for record in (forged, KeyRecord(forged.key, forged.value, ())):
        _write_key_record(broker, record)
    wait_until("query has seen both", lambda: {"forged", "unsigned"} <= house.refused("key"))
    assert house.get("segments", "qk_mallory").status_code == 401
    assert "qk_mallory" not in house.logs()


def test_a_grant_written_again_revives_no_revoked_key_also_for_who_starts_later(house: Installation, broker: SecureKafka) -> None:
    made = keys.create(broker.as_user(USERS["cli"]), SECRETS, KeyKind.QUERY, "leaver")
    wait_until("the key is good", lambda: house.get("segments", made.secret).status_code == 200)
    keys.revoke(broker.as_user(USERS["cli"]), SECRETS, made.record)
    wait_until("the key is revoked", lambda: house.get("segments", made.secret).status_code == 401)
    _write_key_record(broker, signed(made.record, SECRETS))
    wait_until("query has seen it", lambda: "replayed" in house.refused("key"))
    assert house.get("segments", made.secret).status_code == 401
    later = KeyTopic(broker.as_user(USERS["query"]), "rapport-query-keys", KeyKind.QUERY, SECRETS)
    later.start(lambda: None)
    assert later.wait(30)
    later.stop()
    assert later.keys[made.record.hash].revoked_at is not None


def test_a_set_of_definitions_that_nobody_signed_counts_for_nothing_to_who_can_check_it(house: Installation, broker: SecureKafka) -> None:
    """Written by an administrator of Kafka: no process but control may write there."""
    before = house.get("definitions").json()["definitions"]
    forged = DefinitionSet(number=2, base=1, activated_at=epoch_ms(datetime.now(UTC)), applied_at=1, applied_by="mallory")
    _append(broker.as_user(ADMIN), DEFINITION_CHANGED, set_record(forged, KeySecrets.parse("m" * 40)))
    for service in ("query", "control", "ingest"):
        wait_until(f"{service} has refused it", lambda service=service: "unsigned" in house.refused("definition", service))  # type: ignore[misc]
    assert house.get("definitions").json()["definitions"] == before
    assert {one["key"] for one in house.data("segments")} >= {"important_keep"}
    assert "mallory" not in house.logs()


@pytest.mark.parametrize(
    ("process", "topic"),
    [
        ("ingest", KEY_CHANGED),
        ("segmentation", DEFINITION_CHANGED),
        ("messaging", DEFINITION_ACTIVATED),
        ("cli", DEFINITION_CHANGED),
        ("ingest", EVENT_RESOLVED),
        ("warehouse", MESSAGE_REQUESTED),
        ("warehouse", EVENT_RESOLVED),
        ("query", KEY_CHANGED),
        ("query", REBUILD_CHANGED),
        ("query", FOLDER_REPLAYED),
        ("query", EVENT_RECEIVED),
        ("control", EVENT_RESOLVED),
        ("control", EVENT_RECEIVED),
        ("control", MESSAGE_REQUESTED),
        ("segmentation", MESSAGE_REQUESTED),
        ("profile", KEY_CHANGED),
        ("messaging", KEY_CHANGED),
        ("cli", EVENT_RECEIVED),
        ("topics", KEY_CHANGED),
    ],
)
def test_what_a_process_may_not_write_it_cannot(process: str, topic: str, broker: SecureKafka) -> None:
    failed: list[KafkaError | None] = []
    producer = broker.as_user(USERS[process]).producer({"log_level": 0, "message.timeout.ms": 10_000})
    producer.produce(topic, b"forged", b"key", partition=0, on_delivery=lambda error, _: failed.append(error))
    producer.flush(15)
    assert [error.code() if error else None for error in failed] == [KafkaError.TOPIC_AUTHORIZATION_FAILED]
    assert [line for line in broker.refusals() if f"User:{USERS[process]} is Denied" in line and topic in line]


@pytest.mark.parametrize(
    ("process", "topic"),
    [
        ("ingest", EVENT_RECEIVED),
        ("query", RECORD_FAILED),
        ("query", PROFILE_CHANGED),
        ("control", PROFILE_CHANGED),
        ("warehouse", DISPATCH_RECORDED),
        ("cli", RECORD_FAILED),
        ("topics", EVENT_RECEIVED),
    ],
)
def test_what_a_process_may_not_read_it_cannot(process: str, topic: str, broker: SecureKafka) -> None:
    consumer = broker.as_user(USERS[process]).reader({"log_level": 0})
    consumer.assign([TopicPartition(topic, 0, 0)])

    def refused() -> list[str]:
        message = consumer.poll(0.2)
        assert message is None or message.error() is not None, "it was given a record"
        return [line for line in broker.refusals() if f"User:{USERS[process]} is Denied" in line and f"LITERAL:{topic} " in line]

    wait_until("the broker says that it refused", refused, 20)
    consumer.close()


def test_rights_are_given_once_and_what_is_beyond_the_table_is_told(broker: SecureKafka) -> None:
    assert acls.apply(broker.admin(), rights(), USERS) == (0, [])
    others = rights("another-installation")
    given, beyond = acls.apply(broker.admin(), others, USERS)
    assert given == len([one for one in others if one.name.startswith("another-installation")]) > 0
    assert any("rapport-dispatcher" in line for line in beyond)


def test_a_wrong_password_and_no_password_are_not_let_in(broker: SecureKafka) -> None:
    assert not _answers(broker.as_user(USERS["ingest"], password="guessed"))
    assert not _answers(KafkaConnection(broker.bootstrap))
    assert _answers(broker.as_user(USERS["ingest"]), 20)


def test_scram_sha_256_and_plain_are_taken(broker: SecureKafka) -> None:
    broker.add_users(["elder"], ScramMechanism.SCRAM_SHA_256)
    assert _answers(broker.as_user("elder", Mechanism.SCRAM_SHA_256), 20)
    assert _answers(broker.as_user("plain", Mechanism.PLAIN), 20)


def test_a_certificate_of_our_own_is_who_we_are(broker: SecureKafka) -> None:
    assert _answers(broker.by_certificate(broker.authority.sign("worker")), 20)
    assert not _answers(broker.by_certificate(None))
    stranger = Authority(broker.authority.folder / "stranger").sign("worker")
    assert not _answers(broker.by_certificate(stranger))


def test_every_process_has_a_user() -> None:
    assert set(USERS) == set(PROCESSES) >= set(SERVICES)
