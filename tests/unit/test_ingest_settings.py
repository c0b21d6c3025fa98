"""The environment of ingest: what is missing or wrong is named, and no value is told."""

from pathlib import Path

import pytest

from services.ingest.settings import external_kinds, read_settings
from shared.contracts.ids import DEFAULT_EXTERNAL_KINDS


@pytest.fixture(autouse=True)
def _bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_KAFKA_BOOTSTRAP", "127.0.0.1:9")


def test_a_missing_broker_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAPPORT_KAFKA_BOOTSTRAP")
    with pytest.raises(SystemExit, match="RAPPORT_KAFKA_BOOTSTRAP: Field required"):
        read_settings()


def test_a_wrong_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_MAX_EVENT_BYTES", "confidential")
    with pytest.raises(SystemExit) as ended:
        read_settings()
    assert "RAPPORT_MAX_EVENT_BYTES" in str(ended.value)
    assert "confidential" not in str(ended.value)


def test_the_identity_file_says_which_ids_identify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_DEFINITIONS_DIR", str(tmp_path))
    assert external_kinds(read_settings()) == DEFAULT_EXTERNAL_KINDS
    file = tmp_path / "identity.yaml"
    file.write_text("identity: people\nkinds: [phone, email]\n")
    assert external_kinds(read_settings()) == ("phone", "email")
    file.write_text("identity: people\nkinds: [phone, phone]\n")
    with pytest.raises(SystemExit, match=r"identity\.yaml"):
        external_kinds(read_settings())


def test_the_limits_follow_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_MAX_EVENT_BYTES", "262144")
    assert read_settings().limits().event_bytes == 262_144
