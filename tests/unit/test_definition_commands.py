"""`rapport plan | apply | diff | history | export | rollback`, against the control service over stores in memory."""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import uvicorn
from typer.testing import CliRunner

from deploy.cli import definition_commands
from deploy.cli.main import app
from deploy.local.ports import HOST, free_port
from shared.contracts.redis_keys import meta_key
from shared.contracts.slots import partition_count
from tests.api_stores import FULL
from tests.control_fakes import World
from tests.unit.test_control_definitions import BOUGHT, VIEWED, segment
from tests.waiting import wait_until


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The API on a port."""
    made, port = World(), free_port()
    server = uvicorn.Server(uvicorn.Config(made.app, host=HOST, port=port, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until("the API answers", lambda: server.started)
    monkeypatch.setenv("RAPPORT_QUERY_URL", f"http://{HOST}:{port}")
    monkeypatch.setenv("RAPPORT_QUERY_KEY", FULL)
    yield made
    server.should_exit = True
    thread.join()


def said(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, arguments)
    return done.exit_code, done.output


def written(folder: Path, *parts: Mapping[str, str]) -> str:
    folder.mkdir(exist_ok=True)
    for part in parts:
        for path, text in part.items():
            (folder / path).write_text(text)
    return str(folder)


def test_what_was_planned_is_applied_with_its_reason_and_the_second_time_nothing_differs(world: World, tmp_path: Path) -> None:
    folder = written(tmp_path / "f", segment("vip", BOUGHT))
    code, output = said("plan", folder)
    assert (code, "added     segment vip (live)" in output, world.definitions.topic.head) == (0, True, None)
    code, output = said("apply", folder, "--why", "the first ones")
    assert (code, "applied: set 1" in output) == (0, True)
    assert said("apply", folder, "--why", "again") == (0, "nothing differs: set 1 has these files\n")
    assert said("apply", folder, "--why", "again", "--if-different") == (0, "")
    code, output = said("history")
    assert (code, "the first ones" in output.replace("\n", " ")) == (0, True)


def test_without_a_terminal_nobody_is_asked_and_a_reason_must_be_given(world: World, tmp_path: Path) -> None:
    code, output = said("apply", written(tmp_path / "f", segment("vip", BOUGHT)))
    assert (code, "--why" in output, world.definitions.topic.head) == (2, True, None)


def test_mistakes_are_listed_with_file_and_line(world: World, tmp_path: Path) -> None:
    code, output = said("apply", written(tmp_path / "f", {"a.yaml": "segment: a\n"}), "--why", "x")
    assert (code, "a.yaml:1" in output) == (1, True)
    assert said("plan", str(tmp_path / "nowhere"))[0] == 1


def test_a_base_that_moved_has_an_exit_code_of_its_own(world: World, tmp_path: Path) -> None:
    folder = written(tmp_path / "f", segment("vip", BOUGHT))
    assert said("apply", folder, "--why", "x", "--base", "4")[0] == 3


def test_an_api_that_does_not_answer_has_one_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAPPORT_QUERY_URL", f"http://{HOST}:{free_port()}")
    monkeypatch.setenv("RAPPORT_QUERY_KEY", FULL)
    assert said("plan", written(tmp_path / "f", segment("vip", BOUGHT)))[0] == 4


def test_a_rollback_brings_the_old_files_back_and_diff_and_export_show_them(world: World, tmp_path: Path) -> None:
    old, new = written(tmp_path / "old", segment("vip", BOUGHT)), written(tmp_path / "new", segment("vip", VIEWED))
    said("apply", old, "--why", "one")
    code, output = said("apply", new, "--why", "two", "--from-now", "vip")
    assert (code, "starts from now" in output) == (0, True)
    code, output = said("diff", old)
    assert (code, "-when: {did: Viewed" in output, "+when: {did: Bought" in output) == (0, True, True)
    assert said("diff", old, "--number", "1") == (0, "")
    assert said("rollback", "1", "--why", "too few")[0] == 0
    assert said("diff", old) == (0, "")
    code, _ = said("export", str(tmp_path / "out"), "--number", "2")
    assert (code, (tmp_path / "out" / "vip.yaml").read_text()) == (0, segment("vip", VIEWED)["vip.yaml"])
    code, output = said("export", str(tmp_path / "out"))
    assert (code, "is not empty" in output) == (1, True)
    assert said("history", "segment", "vip")[0] == 0
    assert said("rollback", "9", "--why", "x")[0] == 1


def test_waiting_ends_when_every_slot_goes_by_the_set(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in ("resolver", "segmentation", "journeys"):
        for slot in range(partition_count()):
            world.space.hash[meta_key(stage, slot)] = {"ds": "99999999999999"}
    monkeypatch.setattr(definition_commands, "POLL_SECONDS", 0.01)
    code, output = said("apply", written(tmp_path / "f", segment("vip", BOUGHT)), "--why", "x", "--wait")
    count = 3 * partition_count()
    assert (code, f"active in {count} of {count} slots" in output) == (0, True)
