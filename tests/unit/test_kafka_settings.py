"""RAPPORT_KAFKA_*: what fits together becomes the settings of every client; what does not ends a process at the start, by name."""

import ssl
from pathlib import Path

import pytest
from confluent_kafka import KafkaError
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth
from pydantic import SecretStr
from structlog.testing import capture_logs

from deploy.cli.key_commands import KafkaSettings as CliSettings
from deploy.local.topics import TopicSettings
from services.ingest.settings import Settings as IngestSettings
from services.messaging.settings import Settings as MessagingSettings
from services.query.settings import Settings as QuerySettings
from services.warehouse.settings import Settings as WarehouseSettings
from shared.adapters.environment import read_environment
from shared.adapters.kafka_clients import KafkaConnection, Mechanism, Password, Protocol
from shared.adapters.kafka_settings import KafkaSecurity, KafkaSettings
from shared.adapters.tls import Tls
from shared.worker.faust_credentials import faust_credentials
from shared.worker.settings import RuntimeSettings
from tests.certificates import Authority, Pair

SECRET = "hush-7f3a"
SCRAM = {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "SCRAM-SHA-512", "SASL_USERNAME": "ingest", "SASL_PASSWORD": SECRET}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def client(authority: Authority) -> Pair:
    return authority.sign("client")


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> "Given":
    return Given(monkeypatch)


class Given:
    """An environment of RAPPORT_KAFKA_* variables."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def read(self, variables: dict[str, object], kind: type[KafkaSettings] = KafkaSettings) -> KafkaConnection:
        for name, value in ({"BOOTSTRAP": "broker:9093"} | variables).items():
            self._monkeypatch.setenv(f"RAPPORT_KAFKA_{name}", str(value))
        return read_environment("test", kind).kafka

    def refused(self, variables: dict[str, object], capsys: pytest.CaptureFixture[str]) -> str:
        with pytest.raises(SystemExit):
            self.read(variables)
        return capsys.readouterr().err


def test_without_any_setting_a_broker_is_spoken_to_in_clear(given: Given) -> None:
    kafka = given.read({})
    assert kafka.client_settings() == {"bootstrap.servers": "broker:9093", "security.protocol": "PLAINTEXT"}
    assert faust_credentials(kafka) is None


def test_an_empty_variable_counts_as_absent(given: Given) -> None:
    empty = {name[len("kafka_") :].upper(): "" for name in KafkaSecurity.model_fields}
    assert given.read(dict(empty)) == KafkaConnection("broker:9093")


def test_scram_over_tls_reaches_librdkafka_and_faust_alike(given: Given, authority: Authority) -> None:
    kafka = given.read(SCRAM | {"SSL_CA_FILE": authority.certificate})
    assert kafka.client_settings() == {
        "bootstrap.servers": "broker:9093",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "ingest",
        "sasl.password": SECRET,
        "ssl.ca.location": str(authority.certificate),
        "ssl.endpoint.identification.algorithm": "https",
    }
    told = credentials_to_aiokafka_auth(faust_credentials(kafka))
    context = told.pop("ssl_context")
    assert told == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "ingest",
        "sasl_plain_password": SECRET,
    }
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert [one["subject"] for one in context.get_ca_certs()] == [((("commonName", "tests authority"),),)]


@pytest.mark.parametrize("mechanism", list(Mechanism))
def test_faust_and_librdkafka_take_every_mechanism_that_a_setting_may_name(mechanism: Mechanism) -> None:
    kafka = KafkaConnection("b:1", Protocol.SASL_PLAINTEXT, Password(mechanism, "me", SECRET))
    auth = credentials_to_aiokafka_auth(faust_credentials(kafka))
    assert auth["security_protocol"] == "SASL_PLAINTEXT"
    assert auth["sasl_mechanism"] == mechanism.value
    kafka.producer({"log_level": 0})  # librdkafka checks the combination when a client is made


def test_a_certificate_of_our_own_reaches_librdkafka_and_faust_alike(given: Given, authority: Authority, client: Pair) -> None:
    files = {"SSL_CA_FILE": authority.certificate, "SSL_CERTIFICATE_FILE": client.certificate, "SSL_KEY_FILE": client.key}
    kafka = given.read({"SECURITY_PROTOCOL": "SSL", **files})
    settings = kafka.client_settings()
    assert (settings["ssl.certificate.location"], settings["ssl.key.location"]) == (str(client.certificate), str(client.key))
    assert credentials_to_aiokafka_auth(faust_credentials(kafka))["security_protocol"] == "SSL"
    kafka.producer({"log_level": 0})


def test_an_encrypted_key_opens_with_its_password(given: Given, authority: Authority) -> None:
    pair = authority.sign("encrypted", password=SECRET)
    variables: dict[str, object] = {"SECURITY_PROTOCOL": "SSL", "SSL_CERTIFICATE_FILE": pair.certificate, "SSL_KEY_FILE": pair.key}
    kafka = given.read(variables | {"SSL_KEY_PASSWORD": SECRET})
    kafka.producer({"log_level": 0})


def test_names_of_brokers_are_not_checked_only_if_a_setting_says_so(given: Given) -> None:
    kafka = given.read({"SECURITY_PROTOCOL": "SSL", "SSL_VERIFY_HOSTNAME": "false"})
    assert kafka.client_settings()["ssl.endpoint.identification.algorithm"] == "none"
    context = kafka.tls.context()
    assert not context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_secret_may_stand_in_a_file(given: Given, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    without = {name: value for name, value in SCRAM.items() if name != "SASL_PASSWORD"}
    kafka = given.read(without | {"SASL_PASSWORD_FILE": file})
    assert kafka.client_settings()["sasl.password"] == SECRET


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"SASL_PASSWORD": SECRET}, ["SASL_PASSWORD", "SECURITY_PROTOCOL"]),
        ({"SASL_MECHANISM": "PLAIN"}, ["SASL_MECHANISM", "SECURITY_PROTOCOL"]),
        ({"SECURITY_PROTOCOL": "SSL", "SASL_USERNAME": "me"}, ["SASL_USERNAME", "SECURITY_PROTOCOL"]),
        ({"SECURITY_PROTOCOL": "SASL_SSL", "SASL_PASSWORD": SECRET}, ["SASL_MECHANISM", "SASL_USERNAME"]),
        (SCRAM | {"SASL_PASSWORD": ""}, ["SASL_PASSWORD"]),
        ({"SECURITY_PROTOCOL": "TLS"}, ["SECURITY_PROTOCOL"]),
        ({"SASL_MECHANISM": "GSSAPI"}, ["SASL_MECHANISM"]),
        ({"SSL_CA_FILE": "ca.pem"}, ["SSL_CA_FILE", "SECURITY_PROTOCOL"]),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CA_FILE": "nowhere.pem"}, ["SSL_CA_FILE", "nowhere.pem"]),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CERTIFICATE_FILE": "me.pem"}, ["SSL_CERTIFICATE_FILE", "SSL_KEY_FILE"]),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_KEY_FILE": "me.pem"}, ["SSL_CERTIFICATE_FILE", "SSL_KEY_FILE"]),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_KEY_PASSWORD": SECRET}, ["SSL_KEY_PASSWORD", "SSL_KEY_FILE"]),
        (SCRAM | {"SASL_PASSWORD_FILE": "nowhere"}, ["SASL_PASSWORD", "SASL_PASSWORD_FILE"]),
        (SCRAM | {"SASL_PASSWORD": "", "SASL_PASSWORD_FILE": "nowhere"}, ["SASL_PASSWORD_FILE", "nowhere"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_together_ends_the_process_by_name(
    variables: dict[str, object], named: list[str], given: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    told = given.refused(variables, capsys)
    assert [name for name in named if name not in told] == []
    assert SECRET not in told


def test_files_that_are_no_certificates_are_named(
    given: Given, authority: Authority, client: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    ssl_ = {"SECURITY_PROTOCOL": "SSL"}
    assert "RAPPORT_KAFKA_SSL_CA_FILE" in given.refused(ssl_ | {"SSL_CA_FILE": client.key}, capsys)
    other = authority.sign("other")
    pair: dict[str, object] = {"SSL_CA_FILE": authority.certificate, "SSL_CERTIFICATE_FILE": client.certificate}
    assert "RAPPORT_KAFKA_SSL_KEY_FILE" in given.refused(ssl_ | pair | {"SSL_KEY_FILE": other.key}, capsys)
    encrypted = authority.sign("locked", password=SECRET)
    locked: dict[str, object] = {"SSL_CERTIFICATE_FILE": encrypted.certificate, "SSL_KEY_FILE": encrypted.key}
    assert "RAPPORT_KAFKA_SSL_KEY_PASSWORD" in given.refused(ssl_ | pair | locked, capsys)


def test_nothing_shows_a_secret() -> None:
    kafka = KafkaConnection("b:1", Protocol.SASL_SSL, Password(Mechanism.PLAIN, "me", SECRET), Tls(key_password=SECRET))
    settings = KafkaSettings(
        kafka_bootstrap="b:1",
        kafka_security_protocol=Protocol.SASL_SSL,
        kafka_sasl_mechanism=Mechanism.PLAIN,
        kafka_sasl_username="me",
        kafka_sasl_password=SecretStr(SECRET),
    )
    assert settings.kafka.password is not None
    assert settings.kafka.password.password == SECRET
    assert SECRET not in f"{kafka!r} {kafka} {settings!r} {settings.kafka!r} {faust_credentials(settings.kafka)!r}"


@pytest.mark.parametrize("kind", [RuntimeSettings, IngestSettings, MessagingSettings, QuerySettings, WarehouseSettings, TopicSettings])
def test_every_process_reads_the_same_settings(kind: type[KafkaSettings], given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_REDIS_URL", "redis://here:1/0")
    monkeypatch.setenv("RAPPORT_CLICKHOUSE_URL", "http://here:1")
    kafka = given.read(dict(SCRAM), kind)
    assert kafka == KafkaConnection("broker:9093", Protocol.SASL_SSL, Password(Mechanism.SCRAM_SHA_512, "ingest", SECRET))


def test_the_command_reads_them_too(given: Given) -> None:
    given.read(dict(SCRAM))
    assert CliSettings().kafka_at("here:1").password == Password(Mechanism.SCRAM_SHA_512, "ingest", SECRET)


def test_a_refusal_is_logged_once_in_a_while_and_the_client_hears_of_all() -> None:
    heard: list[KafkaError] = []
    kafka = KafkaConnection("b:1", Protocol.SASL_PLAINTEXT, Password(Mechanism.PLAIN, "me", SECRET))
    on_error = kafka._with_connection({"error_cb": heard.append})["error_cb"]
    with capture_logs() as logs:
        for _ in range(3):
            on_error(KafkaError(KafkaError._AUTHENTICATION, "authentication failed"))
        on_error(KafkaError(KafkaError._TRANSPORT))
    assert len(heard) == 4
    assert [(one["user"], one["log_level"]) for one in logs] == [("me", "error")]
    assert SECRET not in str(logs)


def test_a_setting_of_a_client_cannot_undo_the_connection() -> None:
    kafka = KafkaConnection("b:1", Protocol.SSL)
    assert kafka._with_connection({"security.protocol": "PLAINTEXT", "linger.ms": 1})["security.protocol"] == "SSL"
