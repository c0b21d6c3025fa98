"""How the profile worker reads its settings."""

import pytest
from pydantic import ValidationError

from services.profile.main import stages, tasks
from services.profile.settings import Settings


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("RAPPORT_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("RAPPORT_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.delenv("RAPPORT_PROFILE_STAGES", raising=False)
    return monkeypatch


def test_both_stages_run_unless_one_is_named(environment: pytest.MonkeyPatch) -> None:
    assert [stage.name for stage in stages(Settings())] == ["resolver", "folder"]
    environment.setenv("RAPPORT_PROFILE_STAGES", "folder")
    assert [stage.name for stage in stages(Settings())] == ["folder"]


@pytest.mark.parametrize("wrong", ["", "folder,folder", "resolver,segmentation"])
def test_stages_that_are_not_ours_are_refused(environment: pytest.MonkeyPatch, wrong: str) -> None:
    environment.setenv("RAPPORT_PROFILE_STAGES", wrong)
    with pytest.raises(ValidationError, match="profile_stages"):
        Settings()


def test_a_missing_setting_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("RAPPORT_REDIS_URL")
    with pytest.raises(ValidationError, match="redis_url"):
        Settings()


@pytest.mark.parametrize("wrong", ["-1", "1", "31", "36501", "x"])
def test_people_are_not_forgotten_sooner_than_what_waits_for_them(environment: pytest.MonkeyPatch, wrong: str) -> None:
    environment.setenv("RAPPORT_ANONYMOUS_DAYS", wrong)
    with pytest.raises(ValidationError, match="anonymous_days"):
        Settings()


@pytest.mark.parametrize(
    ("days", "stages", "beside"),
    [
        ("400", "resolver,folder", ["tick", "sweep"]),
        ("32", "resolver", ["tick", "sweep"]),
        ("400", "folder", []),
        ("0", "resolver", ["tick"]),
    ],
)
def test_the_process_that_runs_the_resolver_tells_the_time_and_sweeps_unless_it_is_told_not_to(
    environment: pytest.MonkeyPatch, days: str, stages: str, beside: list[str]
) -> None:
    environment.setenv("RAPPORT_ANONYMOUS_DAYS", days)
    environment.setenv("RAPPORT_PROFILE_STAGES", stages)
    assert [getattr(task, "__name__", "") for task in tasks(Settings())] == beside
