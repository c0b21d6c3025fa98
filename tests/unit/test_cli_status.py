"""`rapport status`: says at once what it waits for, goes on saying it, and does not wait for what nobody has started."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.cli.status import POLL_SECONDS, READY_WITHIN_SECONDS, TOLD_AGAIN_SECONDS, UP_WITHIN_SECONDS, Look, look, wait_until_ready
from deploy.local.run import only_one
from deploy.local.settings import Home

NOTHING = Look(False, [], {})


def running(complete: bool = True, **reasons: str | None) -> Look:
    parts: list[dict[str, Any]] = [{"name": name, "complete": complete} for name in reasons]
    return Look(True, parts, dict(reasons))


class World:
    """A clock that moves when somebody sleeps, and what is seen at each look; the last look repeats."""

    def __init__(self, *looks: Look, probe_seconds: float = 0.0) -> None:
        self.now = 100.0
        self.said: list[str] = []
        self._looks: Iterator[Look] = iter(looks)
        self._last = looks[-1]
        self._probe_seconds = probe_seconds

    def see(self) -> Look:
        self.now += self._probe_seconds
        return next(self._looks, self._last)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wait(self, wait: float | None = None) -> Look:
        return wait_until_ready(self.see, self.said.append, wait, lambda: self.now, self.sleep)


def test_where_no_run_is_alive_it_says_so_at_once_and_ends_early() -> None:
    world = World(NOTHING)
    assert world.wait() is NOTHING
    assert world.said == ["waiting (0 of 5 s): no run is alive"]
    assert world.now - 100 <= UP_WITHIN_SECONDS + POLL_SECONDS


def test_who_says_how_long_waits_so_long_also_for_a_run_that_has_yet_to_begin() -> None:
    world = World(*[NOTHING] * 40, running(ingest=None))
    assert world.wait(60).complete
    assert world.now - 100 == pytest.approx(40 * POLL_SECONDS)


def test_what_is_waited_for_is_said_when_it_changes_and_now_and_then() -> None:
    away = "no connection to 127.0.0.1:9092"
    starting, one, both = running(False, kafka=away), running(False, kafka=None), running(kafka=None, ingest="503")
    world = World(Look(True, [], {}), starting, one, *[both] * 21, running(kafka=None, ingest=None))
    assert world.wait().complete
    assert world.said == [
        "waiting (0 of 60 s): the run has begun, no part is ready yet",
        f"waiting (0 of 60 s): kafka: {away}",
        "waiting (1 of 60 s): parts that have yet to start; ready: kafka",
        "waiting (2 of 60 s): ingest: 503",
        "waiting (12 of 60 s): ingest: 503",
    ]


def test_a_run_that_never_gets_ready_is_waited_for_a_minute_and_told_of_every_ten_seconds() -> None:
    world = World(running(kafka="away"))
    assert not world.wait().complete
    assert world.now - 100 == pytest.approx(READY_WITHIN_SECONDS)
    assert len(world.said) == READY_WITHIN_SECONDS / TOLD_AGAIN_SECONDS


def test_zero_looks_once_and_says_nothing_of_waiting() -> None:
    world = World(running(kafka="away"))
    world.wait(0)
    assert (world.said, world.now) == ([], 100.0)


def test_many_parts_that_are_not_ready_are_shortened() -> None:
    assert running(a="x", b="x", c="x", d="x", e="x", f="x").waits_for == "a: x; b: x; c: x; d: x; and 2 more"


def test_of_a_folder_that_nobody_holds_nothing_is_read(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.parts.write_text('[{"name": "kafka", "check": "kafka://127.0.0.1:1", "complete": true}]')  # left by a run that was killed
    assert look(home) == NOTHING
    with only_one(home):
        seen = look(home)
    assert (seen.up, seen.complete) == (True, False)
    assert "no connection to 127.0.0.1:1" in seen.waits_for


def test_the_command_says_how_to_start(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["status", "--wait", "0"], env={"RAPPORT_HOME": str(tmp_path)})
    assert result.exit_code == 1
    assert "is not up" in result.output
    assert "`make run` or `make up` starts it" in result.output
