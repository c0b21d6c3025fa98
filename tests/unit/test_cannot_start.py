"""Every process says in the same way what is wrong with its settings or definitions, and ends with the same code."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from tests.definition_log import MemoryDefinitionLog
from tests.unit.refusals import refusal

NEEDED = {
    "RAPPORT_KAFKA_BOOTSTRAP": "127.0.0.1:9",
    "RAPPORT_REDIS_URL": "redis://127.0.0.1:9/0",
    "RAPPORT_CLICKHOUSE_URL": "http://u:secret@127.0.0.1:9",
}
MAINS = {
    "profile": "services.profile.main",
    "segmentation": "services.segmentation.main",
    "messaging": "services.messaging.main",
    "warehouse": "services.warehouse.main",
    "query": "services.query.main",
    "control": "services.control.main",
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("service", MAINS)
def test_a_missing_setting_and_a_wrong_one_are_each_told_in_a_line(
    service: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAPPORT_KAFKA_BOOTSTRAP")
    monkeypatch.setenv("RAPPORT_LOG_LEVEL", "confidential")
    lines = refusal(importlib.import_module(MAINS[service]).main, capsys).splitlines()
    assert f"{service} cannot start: RAPPORT_KAFKA_BOOTSTRAP: Field required" in lines
    assert any(line.startswith(f"{service} cannot start: RAPPORT_LOG_LEVEL: ") for line in lines)
    assert len(lines) == 2
    assert not any("confidential" in line for line in lines)


def test_migrations_and_topics_say_it_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("RAPPORT_CLICKHOUSE_URL")
    migrate = importlib.import_module("services.warehouse.migrate")
    assert refusal(migrate.main, capsys) == "migrations cannot start: RAPPORT_CLICKHOUSE_URL: Field required\n"
    monkeypatch.setenv("RAPPORT_RETENTION_DAYS", "0")
    topics = importlib.import_module("deploy.local.topics")
    assert refusal(topics.main, capsys).startswith("topics cannot start: RAPPORT_RETENTION_DAYS: ")


def test_a_wrong_definition_is_told_with_its_file_and_line_by_the_job_that_applies_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    apply = importlib.import_module("services.control.apply")
    (tmp_path / "segment.yaml").write_text("segment: wrong\nunheard_of: 1\n")
    used: Any = MemoryDefinitionLog()
    monkeypatch.setenv("RAPPORT_DEFINITIONS_DIR", str(tmp_path))
    monkeypatch.setattr(apply, "run", lambda settings: apply.applied(settings, used.topic, used, used))
    told = refusal(apply.main, capsys)
    assert told.startswith("definitions cannot start: ")
    assert "segment.yaml:" in told
