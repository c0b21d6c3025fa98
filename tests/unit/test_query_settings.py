"""The environment of the query service: what is missing or wrong is named, and no value is told."""

import pytest

from services.query.adapters.definitions import known_segments
from services.query.settings import read_settings
from tests.applied import first_set_of
from tests.unit.refusals import refusal

NEEDED = {"KAFKA_BOOTSTRAP": "127.0.0.1:9", "REDIS_URL": "redis://127.0.0.1:9/0", "CLICKHOUSE_URL": "http://u:secret@127.0.0.1:9"}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(f"RAPPORT_{name}", value)


@pytest.mark.parametrize("name", NEEDED)
def test_what_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv(f"RAPPORT_{name}")
    assert refusal(read_settings, capsys) == f"query cannot start: RAPPORT_{name}: Field required\n"


@pytest.mark.parametrize("name", ["LOG_LEVEL", "QUERY_SECONDS", "PORT"])
def test_what_is_wrong_is_named_without_its_value(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(f"RAPPORT_{name}", "confidential")
    told = refusal(read_settings, capsys)
    assert f"RAPPORT_{name}" in told
    assert "confidential" not in told.lower()


def test_secrets_do_not_show_and_each_process_has_a_cursor_secret_of_its_own() -> None:
    settings = read_settings()
    assert "secret@" not in repr(settings)
    assert settings.cursor_secret != read_settings().cursor_secret


def test_the_shipped_segments_are_known_with_rule_and_text() -> None:
    segments = {one.key: one for one in known_segments(first_set_of())}
    assert "new_customer" in segments
    for one in segments.values():
        assert one.rule
        assert one.title_zh
        assert one.text.lstrip("# \n")
        assert one.version > 0
