"""The environment of ingest: what is missing or wrong is named, and no value is told."""

import pytest

from services.ingest.settings import read_settings
from tests.unit.refusals import refusal


@pytest.fixture(autouse=True)
def _bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_KAFKA_BOOTSTRAP", "127.0.0.1:9")


def test_a_missing_broker_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("RAPPORT_KAFKA_BOOTSTRAP")
    assert refusal(read_settings, capsys) == "ingest cannot start: RAPPORT_KAFKA_BOOTSTRAP: Field required\n"


def test_a_wrong_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RAPPORT_MAX_EVENT_BYTES", "confidential")
    told = refusal(read_settings, capsys)
    assert "RAPPORT_MAX_EVENT_BYTES" in told
    assert "confidential" not in told


def test_the_limits_follow_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_MAX_EVENT_BYTES", "262144")
    assert read_settings().limits().event_bytes == 262_144
