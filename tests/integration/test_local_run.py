"""The run of one machine around a real broker: topics, keys, mailbox, status, a second start."""

import os
import signal
import smtplib
import stat
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.local import env_file, key_secret, keys
from deploy.local.kafka import Kafka
from deploy.local.mail import MailCatcher
from deploy.local.ports import free_port
from deploy.local.run import prepare_keys
from deploy.local.servers import Servers
from deploy.local.settings import Home
from deploy.local.topics import TopicSettings, WrongTopicError, ensure
from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.partitions import read_count
from shared.contracts.control import KeyChanged, KeyKind, key_hash
from shared.contracts.personal import Personal
from shared.contracts.topics import DAY_MS, KEY_CHANGED, TOPICS, Topic
from tests.key_secrets import SECRETS
from tests.waiting import wait_until

PROJECT = Path(__file__).parents[2]
TINY_SYSTEM = """
import sys
from deploy.local import run
from deploy.local.parts import steps
kept = ("kafka", "topics", "mail")
run.steps = lambda ports, home, servers: [step for step in steps(ports, home, servers) if step.name in kept]
sys.exit(run.run())
"""


@pytest.fixture
def admin(kafka: Kafka) -> AdminClient:
    return AdminClient({"bootstrap.servers": kafka.bootstrap})


@pytest.mark.real
def test_every_topic_is_made_as_the_contract_says_and_a_second_time_changes_nothing(admin: AdminClient) -> None:
    ensure(admin, TOPICS, TopicSettings())
    assert ensure(admin, TOPICS, TopicSettings()) == []
    there = admin.list_topics(timeout=10).topics
    assert {t.name: t.partitions or 8 for t in TOPICS} == {t.name: len(there[t.name].partitions) for t in TOPICS}
    for topic in TOPICS:
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic.name)
        found = admin.describe_configs([resource])[resource].result(10)
        assert {name: found[name].value for name in topic.settings()} == topic.settings()


def _keeps(admin: AdminClient, topic: str, wanted: tuple[str, str]) -> bool:
    """Whether the broker says so of a topic; it may take a moment until it says what it has just been told."""
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    found = admin.describe_configs([resource])[resource].result(10)
    return (found["retention.ms"].value, found["segment.ms"].value) == wanted


@pytest.mark.real
def test_data_of_new_topics_and_of_those_that_are_there_is_gone_a_day_after_its_retention(admin: AdminClient) -> None:
    topic = Topic("local-run.retention", ("a",), ("b",), "k", "c", personal=Personal.NONE, partitions=1)
    thirty_days = {"cleanup.policy": "delete", "retention.ms": str(30 * DAY_MS)}  # as the release before made it
    admin.create_topics([NewTopic(topic.name, 1, 1, config=thirty_days)])[topic.name].result(10)
    for settings, days in ((TopicSettings(), 28), (TopicSettings(retention_days=7), 7)):
        ensure(admin, (topic,), settings)
        wanted = (str(days * DAY_MS), str(DAY_MS))
        wait_until("the broker tells the new settings", partial(_keeps, admin, topic.name, wanted))


@pytest.mark.real
def test_a_topic_with_another_partition_count_is_an_error(admin: AdminClient) -> None:
    topic = Topic("local-run.partitions", ("a",), ("b",), "k", "c", personal=Personal.NONE, partitions=3)
    ensure(admin, (topic,), TopicSettings())
    with pytest.raises(WrongTopicError, match="has 3 partitions, it must have 8"):
        ensure(admin, (replace(topic, partitions=8),), TopicSettings())


@pytest.mark.real
def test_the_number_of_partitions_is_chosen_when_topics_are_made_and_stays(admin: AdminClient) -> None:
    old, new = (Topic(f"local-run.chosen-{name}", ("a",), ("b",), "k", "c", personal=Personal.NONE) for name in ("old", "new"))
    ensure(admin, (old,), TopicSettings(partitions=3))
    assert ensure(admin, (old, new), TopicSettings()) == [new.name]  # a later version brings a topic more
    assert read_count(admin, [old.name, new.name]) == 3
    with pytest.raises(
        WrongTopicError, match=r"RAPPORT_PARTITIONS is 24, but the topics of this installation have 3 partitions .* Unset it"
    ):
        ensure(admin, (old, new), TopicSettings(partitions=24))


@pytest.mark.real
def test_a_revoked_key_stays_listed_as_revoked(kafka: Kafka, admin: AdminClient) -> None:
    ensure(admin, TOPICS, TopicSettings())
    made = keys.create(kafka.connection, SECRETS, KeyKind.WRITE, "local-run")
    found = {record.hash: record for record in keys.read_all(kafka.connection, SECRETS)}[key_hash(made.secret)]
    assert found == made.record
    keys.revoke(kafka.connection, SECRETS, found)
    assert {record.hash: record for record in keys.read_all(kafka.connection, SECRETS)}[found.hash].revoked_at is not None


@pytest.mark.real
def test_the_command_makes_lists_and_revokes_keys(kafka: Kafka, admin: AdminClient, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure(admin, TOPICS, TopicSettings())
    monkeypatch.setenv("RAPPORT_KAFKA_BOOTSTRAP", kafka.bootstrap)
    run = CliRunner().invoke
    secret = run(app, ["keys", "create", "web-shop"]).stdout.strip()
    listed = run(app, ["keys", "list"]).stdout
    assert "web-shop" in listed
    assert secret[-4:] in listed
    assert secret not in listed
    assert "revoked" in run(app, ["keys", "revoke", secret[-4:]]).stdout
    assert run(app, ["keys", "revoke", secret[-4:]]).exit_code == 1


def _unsigned(kafka: Kafka, secret: str) -> str:
    """A query key in the topic as the versions before wrote it; answers its hash."""
    record = KeyChanged(kind=KeyKind.QUERY, hash=key_hash(secret), name=secret, created_at=1, scopes=["read"], hint=secret[-4:])
    producer = kafka.connection.producer({"log_level": 0})
    producer.produce(KEY_CHANGED, msgspec.json.encode(record), f"query:{record.hash}", partition=0)
    assert producer.flush(20) == 0
    return record.hash


@pytest.mark.real
def test_keys_of_the_versions_before_are_signed_when_the_secret_is_made_and_never_again(
    kafka: Kafka, admin: AdminClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure(admin, TOPICS, TopicSettings())
    monkeypatch.delenv("RAPPORT_KEY_SECRET")
    home, variables = Home(tmp_path), {"RAPPORT_KAFKA_BOOTSTRAP": kafka.bootstrap}
    elder = _unsigned(kafka, "qk_elder")
    prepare_keys(home, variables, Servers(), sign=key_secret.is_new(home))
    later = _unsigned(kafka, "qk_later")
    prepare_keys(home, variables, Servers(), sign=key_secret.is_new(home))
    good = {record.hash for record in keys.read_all(kafka.connection, key_secret.of_home(home))}
    own = env_file.read(home.env)
    assert good == {elder, key_hash(own["RAPPORT_WRITE_KEY"]), key_hash(own["RAPPORT_QUERY_KEY"])}
    assert later not in good
    assert stat.S_IMODE(home.key_secret.stat().st_mode) == 0o600


def test_a_key_is_not_claimed_made_when_kafka_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "SECONDS", 1.0)
    with pytest.raises(keys.KeysUnavailableError, match=r"127\.0\.0\.1:1 did not take the key"):
        keys.create(KafkaConnection("127.0.0.1:1"), SECRETS, KeyKind.WRITE, "nobody")


def test_a_mail_becomes_a_whole_file_that_only_its_owner_may_read(tmp_path: Path) -> None:
    with MailCatcher(tmp_path / "mail", free_port(), tmp_path / "mail.log") as catcher:
        with smtplib.SMTP("127.0.0.1", catcher.port) as smtp:
            smtp.sendmail("shop@example.com", ["a@example.com"], "Subject: 你好\r\n\r\nbody\r\n".encode())
        (kept,) = catcher.folder.iterdir()
    assert kept.suffix == ".eml"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert kept.read_bytes() == ("Return-Path: <shop@example.com>\r\nDelivered-To: a@example.com\r\nSubject: 你好\r\n\r\nbody\r\n".encode())


def test_a_mail_that_cannot_be_kept_is_refused_for_now(tmp_path: Path) -> None:
    with MailCatcher(tmp_path / "mail", free_port(), tmp_path / "mail.log") as catcher:
        catcher.folder.rmdir()
        with smtplib.SMTP("127.0.0.1", catcher.port) as smtp, pytest.raises(smtplib.SMTPDataError, match="452"):
            smtp.sendmail("shop@example.com", ["a@example.com"], b"Subject: x\r\n\r\nbody\r\n")


def _rapport(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "deploy.cli.main", *arguments]
    environment = {**os.environ, "RAPPORT_HOME": str(home)}
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=90, check=False)


def _up(home: Path, **variables: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "RAPPORT_HOME": str(home), "PYTHONUNBUFFERED": "1", **variables}
    return subprocess.Popen(
        [sys.executable, "-c", TINY_SYSTEM],
        cwd=PROJECT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _stop(system: "subprocess.Popen[str]") -> str:
    system.send_signal(signal.SIGINT)
    told, _ = system.communicate(timeout=60)
    assert system.returncode == 0, told
    return told


@pytest.mark.real
def test_a_run_uses_the_servers_that_its_environment_names_and_keeps_their_passwords_to_itself(kafka: Kafka, tmp_path: Path) -> None:
    home = tmp_path / "home"
    smtp = "smtp://app:s3cret@mail.example.com:587"
    said: list[str] = []
    system = _up(home, RAPPORT_KAFKA_BOOTSTRAP=kafka.bootstrap, RAPPORT_SMTP_URL=smtp)
    try:
        assert system.stdout is not None
        for line in system.stdout:
            said.append(line)
            if "everything is ready" in line:
                break
        env = env_file.read(home / "env")
        hashes = {record.hash for record in keys.read_all(KafkaConnection(kafka.bootstrap), SECRETS)}
    finally:
        said.append(_stop(system))
    told = "".join(said)
    assert key_hash(env["RAPPORT_WRITE_KEY"]) in hashes
    assert f"kafka is {kafka.bootstrap}, as RAPPORT_KAFKA_BOOTSTRAP says: none is started here" in told
    assert "e-mail goes out for real, by smtp://***@mail.example.com:587" in told
    assert "mail ready" not in told
    assert "kafka ready" not in told
    assert not (home / "logs" / "mail.log").exists()
    assert not env.keys() & {"RAPPORT_SMTP_URL", "RAPPORT_KAFKA_BOOTSTRAP"}
    files = [path for path in home.rglob("*") if path.is_file()]
    assert not any(b"s3cret" in path.read_bytes() for path in files)
    assert "s3cret" not in told


@pytest.mark.real
def test_a_run_makes_its_keys_once_says_when_it_is_up_and_drains_on_ctrl_c(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAPPORT_KEY_SECRET")  # the run makes one
    home = tmp_path / "home"
    assert "is not up" in _rapport(home, "status", "--wait", "0").stderr
    first = _up(home)
    try:
        status = _rapport(home, "status", "--wait", "60")
        assert status.returncode == 0, status.stdout + status.stderr
        assert "everything is ready" in status.stdout
        env = env_file.read(home / "env")
        assert stat.S_IMODE((home / "env").stat().st_mode) == 0o600
        again = subprocess.run(
            [sys.executable, "-c", TINY_SYSTEM],
            cwd=PROJECT,
            env={**os.environ, "RAPPORT_HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert again.returncode == 1
        assert f"is up already in {home} (process {first.pid})" in again.stderr
        assert "Traceback" not in again.stderr
        assert _rapport(home, "reset", "--yes").returncode == 1
    finally:
        told = _stop(first)
    assert told.index("mail stopped") < told.index("kafka stopped")

    second = _up(home)
    try:
        assert _rapport(home, "status", "--wait", "60").returncode == 0
        later = env_file.read(home / "env")
        signing = key_secret.of_home(Home(home))
        assert "local" in _rapport(home, "keys", "list").stdout
        assert later["RAPPORT_WRITE_KEY"] == env["RAPPORT_WRITE_KEY"]
        hashes = {record.hash for record in keys.read_all(KafkaConnection(later["RAPPORT_KAFKA_BOOTSTRAP"]), signing)}
        assert hashes == {key_hash(env["RAPPORT_WRITE_KEY"]), key_hash(env["RAPPORT_QUERY_KEY"])}
        assert env["RAPPORT_WRITE_KEY"] not in (home / "logs" / "kafka.log").read_text() + told
    finally:
        second.kill()
        second.communicate(timeout=30)
    assert "is not up" in _rapport(home, "status", "--wait", "0").stderr  # though it could not clean up
    assert _rapport(home, "reset", "--yes").returncode == 0
    assert not (home / "data").exists()
    assert not (home / "key_secret").exists()
