"""Servers that the environment names win over those of one machine's run; what is said of them holds no password."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.demo.summary import Summary, table
from deploy.local import env_file
from deploy.local.parts import common, steps, urls
from deploy.local.ports import USUAL
from deploy.local.run import choose_ports, kafka_of
from deploy.local.servers import STARTED_HERE, VARIABLES, Servers, masked, named
from deploy.local.settings import Home
from deploy.local.supervisor import StartError
from services.messaging.settings import Settings
from shared.adapters.kafka_clients import Protocol

ELSEWHERE = {
    "RAPPORT_KAFKA_BOOTSTRAP": "broker1:9093,broker2:9093",
    "RAPPORT_REDIS_URL": "rediss://app:redis-secret@redis.example.com:6380/0",
    "RAPPORT_CLICKHOUSE_URL": "https://app:click-secret@ch.example.com:8443",
    "RAPPORT_SMTP_URL": "smtp://app:smtp-secret@mail.example.com:587",
    "RAPPORT_CHANNELS_FILE": "/etc/rapport/channels.yaml",
}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*ELSEWHERE, STARTED_HERE, "RAPPORT_MAIL_FROM"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("part", VARIABLES)
def test_a_server_that_the_environment_names_is_not_started_and_no_process_is_given_another(part: str, tmp_path: Path) -> None:
    variable = VARIABLES[part]
    servers = named({variable: ELSEWHERE[variable]}, Home(tmp_path))
    assert servers.variables == {variable: ELSEWHERE[variable]}
    assert {step.name for step in steps(USUAL, Home(tmp_path))} - {step.name for step in steps(USUAL, Home(tmp_path), servers)} == {part}
    assert variable not in common(USUAL, Home(tmp_path), servers)  # so that the processes inherit ours
    assert set(urls(USUAL, Home(tmp_path))) - set(urls(USUAL, Home(tmp_path), servers)) == {variable}


def test_messaging_reads_the_server_that_we_were_started_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a process reads: our environment, and laid over it what `common` says."""
    environment = {"RAPPORT_SMTP_URL": ELSEWHERE["RAPPORT_SMTP_URL"], "RAPPORT_MAIL_FROM": "Shop <shop@example.com>"}
    for name, value in (environment | common(USUAL, Home(tmp_path), named(environment, Home(tmp_path)))).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.smtp_url.get_secret_value() == ELSEWHERE["RAPPORT_SMTP_URL"]
    assert settings.mail_from == "Shop <shop@example.com>"
    assert settings.redis.url == f"redis://127.0.0.1:{USUAL['redis']}/0"


def test_passwords_stand_neither_in_what_is_said_nor_in_the_file_nor_on_a_command_line(tmp_path: Path) -> None:
    home = Home(tmp_path)
    servers = named(ELSEWHERE, home)
    env_file.write(home.env, urls(USUAL, home, servers))
    summary = table(Summary(), ELSEWHERE | {"RAPPORT_INGEST_URL": "http://x", "RAPPORT_QUERY_URL": "http://y"}, home)
    cells = [str(cell) for column in summary.columns for cell in column.cells]
    commands = [word for step in steps(USUAL, home, servers) if step.once for word in step.make().argv]
    everything = "\n".join([*servers.told(home, demo=True), home.env.read_text(), repr(servers), *cells, *commands])
    assert "secret" not in everything
    assert "redis://127.0.0.1" not in home.env.read_text()
    assert "e-mail goes out for real, by smtp://***@mail.example.com:587, as RAPPORT_SMTP_URL says" in everything
    assert "kafka is broker1:9093,broker2:9093, as RAPPORT_KAFKA_BOOTSTRAP says: none is started here" in everything
    assert "https://***@ch.example.com:8443" in cells


def test_the_start_says_where_mail_goes(tmp_path: Path) -> None:
    home = Home(tmp_path)
    stays, hooks = named({}, home).told(home, demo=True)
    assert hooks == f"no webhook and no robot's notice goes out: they are kept in {home.hooks}; set RAPPORT_CHANNELS_FILE to send them"
    assert stays == f"no e-mail goes out: it is kept in {home.mail}; set RAPPORT_SMTP_URL and RAPPORT_MAIL_FROM to send it"
    smtp = {"RAPPORT_SMTP_URL": "smtp://mail.example.com"}
    unsigned = named(smtp, home).told(home, demo=False)
    assert unsigned[0] == "e-mail goes out for real, by smtp://mail.example.com, as RAPPORT_SMTP_URL says"
    assert unsigned[1].startswith("RAPPORT_MAIL_FROM is not set")
    signed = named(smtp | {"RAPPORT_MAIL_FROM": "a@b.example"}, home)
    assert len(signed.told(home, demo=False)) == 2
    out = named({"RAPPORT_CHANNELS_FILE": "/etc/rapport/channels.yaml"}, home).told(home, demo=False)
    assert out[-1] == "webhooks and robots' notices go out for real, as RAPPORT_CHANNELS_FILE says: /etc/rapport/channels.yaml"
    assert "example.com" in signed.told(home, demo=True)[1]


@pytest.mark.parametrize("kept", [True, False], ids=["the file is there", "the folder was reset since"])
def test_a_shell_that_has_sourced_the_file_of_an_earlier_run_names_no_server_elsewhere(kept: bool, tmp_path: Path) -> None:
    home = Home(tmp_path)
    env_file.write(home.env, urls(USUAL, home))
    sourced = env_file.read(home.env)
    if not kept:
        home.env.unlink()
    servers = named(sourced, home)
    assert servers.elsewhere == {}
    assert set(servers.again) == set(ELSEWHERE)
    assert "are started here again" in "\n".join(servers.told(home, demo=False))
    assert named(sourced | {"RAPPORT_SMTP_URL": "smtp://mail.example.com"}, home).elsewhere == {"mail": "smtp://mail.example.com"}


def test_an_empty_variable_names_no_server(tmp_path: Path) -> None:
    assert named(dict.fromkeys(ELSEWHERE, ""), Home(tmp_path)) == Servers()


def test_credentials_for_a_server_that_is_started_here_are_not_used_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment = {
        "RAPPORT_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "RAPPORT_KAFKA_SASL_PASSWORD": "kafka-secret",
        "RAPPORT_REDIS_CA_FILE": "/ca",
    }
    servers = named(environment, Home(tmp_path))
    assert servers.ignored == ("RAPPORT_KAFKA_SASL_PASSWORD", "RAPPORT_KAFKA_SECURITY_PROTOCOL", "RAPPORT_REDIS_CA_FILE")
    told = "\n".join(servers.told(Home(tmp_path), demo=False))
    assert "RAPPORT_KAFKA_SECURITY_PROTOCOL, RAPPORT_REDIS_CA_FILE not used" in told
    assert "secret" not in told
    for name, value in (environment | common(USUAL, Home(tmp_path), servers)).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.kafka.protocol is Protocol.PLAINTEXT
    assert settings.redis.tls is None
    assert kafka_of(servers, urls(USUAL, Home(tmp_path), servers)).protocol is Protocol.PLAINTEXT


def test_settings_of_a_kafka_elsewhere_that_do_not_fit_together_are_said_without_their_values(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAPPORT_KAFKA_SASL_PASSWORD", "kafka-secret")
    servers = named({"RAPPORT_KAFKA_BOOTSTRAP": "broker:9093"}, Home(tmp_path))
    with pytest.raises(StartError, match="RAPPORT_KAFKA_SASL_PASSWORD") as refused:
        kafka_of(servers, {})
    assert "secret" not in str(refused.value)


def test_a_taken_port_matters_only_to_a_server_that_is_started_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.local.run.choose", lambda _: {**USUAL, "kafka": 9099, "smtp": 8029, "proxy": 8089})
    said: list[str] = []
    choose_ports(None, said.append, {"kafka", "mail"})
    assert said == ["port 8081 is taken: proxy gets 8089"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("smtp://mail.example.com", "smtp://mail.example.com"),
        ("smtps://u:p@mail.example.com:465", "smtps://***@mail.example.com:465"),
        ("http://ch:8123/?user=u&password=secret", "http://ch:8123"),
        ("redis://:secret@[::1]:6379/0", "redis://***@[::1]:6379"),
        ("smtp://user:123/secret@mail.example.com", "smtp://…"),
        ("smtp://user:pa#secret@mail.example.com", "smtp://…"),
        ("smtp://user:secret", "smtp://…"),
        ("a:9092,b:9092", "a:9092,b:9092"),
    ],
)
def test_of_an_url_only_scheme_and_host_are_shown(value: str, shown: str) -> None:
    assert masked(value) == shown


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=6).filter(lambda text: text not in "smtp://***@mail.example.com:587…"))
def test_no_password_shows_however_it_is_written(password: str) -> None:
    assert password not in masked(f"smtp://user:{password}@mail.example.com:587")


def test_every_server_that_can_be_elsewhere_is_a_part(tmp_path: Path) -> None:
    assert set(VARIABLES) <= {step.name for step in steps(USUAL, Home(tmp_path))}
