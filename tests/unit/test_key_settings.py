"""RAPPORT_KEY_SECRET: who goes by keys does not start without it; on one machine it is made once."""

import stat
from pathlib import Path

import pytest

from deploy.local import key_secret
from deploy.local.settings import Home
from services.ingest.settings import Settings as IngestSettings
from services.query.settings import Settings as QuerySettings
from shared.adapters.environment import read_environment
from shared.adapters.key_settings import KeySettings
from shared.contracts.key_signature import KeySecrets

SECRET = "s" * 40


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("RAPPORT_KEY_SECRET")
    monkeypatch.setenv("RAPPORT_KAFKA_BOOTSTRAP", "b:1")
    monkeypatch.setenv("RAPPORT_REDIS_URL", "redis://here:1")
    monkeypatch.setenv("RAPPORT_CLICKHOUSE_URL", "http://here:1")
    return monkeypatch


@pytest.mark.parametrize("kind", [IngestSettings, QuerySettings])
def test_without_a_secret_ingest_and_query_do_not_start(
    kind: type[KeySettings], bare: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        read_environment("test", kind)
    assert "RAPPORT_KEY_SECRET or RAPPORT_KEY_SECRET_FILE must be set" in capsys.readouterr().err


def test_a_file_of_several_is_read_and_shows_nowhere(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text(f"{SECRET}\n{'t' * 32}\n")
    bare.setenv("RAPPORT_KEY_SECRET", "")
    bare.setenv("RAPPORT_KEY_SECRET_FILE", str(tmp_path / "secrets"))
    settings = IngestSettings()
    assert settings.key_secrets == KeySecrets((SECRET.encode(), b"t" * 32))
    assert SECRET not in f"{settings!r} {settings.key_secrets!r}"


@pytest.mark.parametrize("told", ["too-short", " "])
def test_a_secret_that_cannot_be_used_is_refused_by_name(told: str, bare: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    bare.setenv("RAPPORT_KEY_SECRET", told)
    with pytest.raises(SystemExit):
        read_environment("test", IngestSettings)
    said = capsys.readouterr().err
    assert "RAPPORT_KEY_SECRET" in said
    assert "too-short" not in said


def test_on_one_machine_the_secret_is_made_once_for_its_owner_only(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert key_secret.is_new(home)
    first = key_secret.of_home(home)
    assert not key_secret.is_new(home)
    assert key_secret.of_home(home) == first
    assert stat.S_IMODE(home.key_secret.stat().st_mode) == 0o600
    assert key_secret.of(key_secret.variables(home)) == first


def test_a_secret_of_the_environment_is_taken_and_no_file_is_made(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bare.setenv("RAPPORT_KEY_SECRET", SECRET)
    home = Home(tmp_path)
    assert not key_secret.is_new(home), "nothing is signed by itself with a secret that somebody gave"
    assert key_secret.of_home(home) == KeySecrets.parse(SECRET)
    assert key_secret.variables(home) == {}
    assert not home.key_secret.exists()


def test_a_shell_that_sourced_the_env_file_names_no_secret_of_its_own(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = Home(tmp_path)
    first = key_secret.of_home(home)
    bare.setenv("RAPPORT_KEY_SECRET_FILE", str(home.key_secret.resolve()))
    assert key_secret.of_home(home) == first
    home.key_secret.unlink()
    assert key_secret.is_new(home)
    assert key_secret.of_home(home) != first
