"""One thing is set by one name everywhere, and a name of a release before still holds."""

import pytest

from services.warehouse.settings import Settings as Warehouse
from shared.adapters.environment import read_environment
from shared.worker.settings import RuntimeSettings
from tests.architecture.settings_found import settings_found
from tests.unit.refusals import refusal

EARLIER = {
    "RAPPORT_SESSION_TIMEOUT_S": "session_timeout_seconds",
    "RAPPORT_STALL_S": "watchdog_seconds",
    "RAPPORT_DRAIN_S": "drain_seconds",
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_KAFKA_BOOTSTRAP", "127.0.0.1:9")
    monkeypatch.setenv("RAPPORT_REDIS_URL", "redis://127.0.0.1:9/0")
    monkeypatch.setenv("RAPPORT_CLICKHOUSE_URL", "http://127.0.0.1:9")


@pytest.mark.parametrize("earlier", EARLIER)
def test_a_name_of_before_holds_until_the_new_one_is_set(earlier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = EARLIER[earlier]
    monkeypatch.setenv(earlier, "7")
    assert getattr(read_environment("worker", RuntimeSettings), name) == 7
    monkeypatch.setenv(f"RAPPORT_{name.upper()}", "8")
    assert getattr(read_environment("worker", RuntimeSettings), name) == 8


def test_the_warehouse_heeds_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_SESSION_TIMEOUT_S", "7")
    assert read_environment("warehouse", Warehouse).session_timeout_seconds == 7


def test_a_wrong_value_is_told_by_the_name_under_which_it_stands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAPPORT_DRAIN_S", "-1")
    assert refusal(lambda: read_environment("worker", RuntimeSettings), capsys).startswith("worker cannot start: RAPPORT_DRAIN_S: ")


def test_lengths_of_time_are_named_alike() -> None:
    names = {name for model in settings_found() for name in model.model_fields}
    assert {name for name in names if name.endswith(("_s", "_sec", "_secs", "_ms", "_minutes"))} == set()


def test_all_look_for_definitions_in_one_place() -> None:
    found = {model.model_fields["definitions_dir"].default for model in settings_found() if "definitions_dir" in model.model_fields}
    assert len(found) == 1
