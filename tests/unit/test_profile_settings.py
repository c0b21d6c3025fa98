"""How the profile worker reads its settings and identity.yaml."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.profile.main import stages, tasks
from services.profile.settings import Settings
from shared.contracts.ids import DEFAULT_EXTERNAL_KINDS
from shared.definitions.folder import read_folder
from shared.definitions.yaml_text import DefinitionError


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("RAPPORT_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("RAPPORT_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.delenv("RAPPORT_PROFILE_STAGES", raising=False)
    return monkeypatch


def with_identity(environment: pytest.MonkeyPatch, folder: Path, *files: str) -> Settings:
    for number, text in enumerate(files):
        (folder / f"identity{number}.yaml").write_text(text)
    environment.setenv("RAPPORT_DEFINITIONS_DIR", str(folder))
    return Settings()


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


def test_the_shipped_identity_file_names_the_default_kinds(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("RAPPORT_DEFINITIONS_DIR", raising=False)
    assert read_folder(Settings().definitions_dir).external_kinds() == DEFAULT_EXTERNAL_KINDS


def test_kinds_come_from_identity_yaml_and_need_none(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert read_folder(with_identity(environment, tmp_path).definitions_dir).external_kinds() == DEFAULT_EXTERNAL_KINDS
    settings = with_identity(environment, tmp_path, "identity: mine\nkinds: [card, email]\n")
    assert read_folder(settings.definitions_dir).external_kinds() == ("card", "email")


@pytest.mark.parametrize("kinds", ["[u, email]", "[clock]", "[email, email]", "[]"])
def test_kinds_that_cannot_be_are_refused(environment: pytest.MonkeyPatch, tmp_path: Path, kinds: str) -> None:
    settings = with_identity(environment, tmp_path, f"identity: mine\nkinds: {kinds}\n")
    with pytest.raises(DefinitionError):
        read_folder(settings.definitions_dir).external_kinds()


def test_two_identity_files_are_one_too_many(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = with_identity(environment, tmp_path, "identity: one\nkinds: [email]\n", "identity: two\nkinds: [phone]\n")
    with pytest.raises(DefinitionError, match=r"there may be one identity file, and .* is one already: one of the two must go"):
        read_folder(settings.definitions_dir).external_kinds()


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
