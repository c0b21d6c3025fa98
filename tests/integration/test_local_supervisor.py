"""The supervisor with small real child processes: order, restarts, clear words, drain."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.parts import Step
from deploy.local.ports import free_port
from deploy.local.process import Process
from deploy.local.supervisor import StartError, Supervisor

NOBODY = "tcp://127.0.0.1:1"
"""An address at which nothing ever answers."""

SERVER = """
import http.server, os, signal, sys
name, port, diary = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def note(text):
    with open(diary, "a") as file: file.write(f"{name} {text}\\n")
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
def stop(*_):
    note("stopped")
    if name != "stubborn": os._exit(0)
signal.signal(signal.SIGTERM, stop)
note("started")
http.server.HTTPServer(("127.0.0.1", port), Page).serve_forever()
"""


class Scene:
    """A supervisor over small parts that keep a diary together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.diary = folder / "diary"
        self.said: list[str] = []
        self.steps: list[Step] = []

    def server(self, name: str, group: int, drains: int | None = None) -> None:
        """A part that answers HTTP, notes its start and its stop."""
        port = free_port()
        argv = [sys.executable, "-c", SERVER, name, str(port), str(self.diary)]
        self._add(name, group, lambda: Process(name, argv, self._log(name), check=f"http://127.0.0.1:{port}/"), drains=drains)

    def script(self, name: str, group: int, text: str, once: bool = False, check: str | None = None) -> None:
        """A part that is a shell script."""
        self._add(name, group, lambda: Process(name, ["sh", "-c", text], self._log(name), check=check), once)

    def _add(self, name: str, group: int, make: Callable[[], Process], once: bool = False, drains: int | None = None) -> None:
        self.steps.append(Step(name, group, make, once, drains))

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def supervisor(self) -> Supervisor:
        return Supervisor(self.steps, self.said.append, self.folder / "parts.json", start_seconds=20, drain_seconds=1)

    def listed(self) -> dict[str, dict[str, object]]:
        """What parts.json says, by name."""
        return {part["name"]: part for part in json.loads((self.folder / "parts.json").read_text())}

    async def heard(self, text: str) -> str:
        """Wait until something containing `text` was said."""
        async with asyncio.timeout(30):
            while True:
                for line in self.said:
                    if text in line:
                        return line
                await asyncio.sleep(0.02)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_groups_start_in_order_and_drain_in_reverse(scene: Scene) -> None:
    scene.server("store", 1)
    scene.script("prepare", 2, f"echo prepare done >> {scene.diary}", once=True)
    scene.server("service", 3)
    supervisor = scene.supervisor()
    await supervisor.start()
    assert {part["complete"] for part in scene.listed().values()} == {True}
    await supervisor.drain()
    assert scene.diary.read_text().splitlines() == [
        "store started",
        "prepare done",
        "service started",
        "service stopped",
        "store stopped",
    ]
    assert not (scene.folder / "parts.json").exists()


async def test_a_part_can_drain_before_others_of_its_group(scene: Scene) -> None:
    scene.server("worker", 1)
    scene.server("entrance", 1, drains=2)
    supervisor = scene.supervisor()
    await supervisor.start()
    await supervisor.drain()
    assert scene.diary.read_text().splitlines()[2:] == ["entrance stopped", "worker stopped"]


async def test_a_killed_part_is_started_again_and_said_so(scene: Scene) -> None:
    scene.server("service", 1)
    supervisor = scene.supervisor()
    await supervisor.start()
    pid = scene.listed()["service"]["pid"]
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    assert "starting it again in 0.5 s" in await scene.heard("service was killed (SIGKILL)")
    await scene.heard("service ready again")
    assert scene.listed()["service"]["pid"] != pid
    assert scene.listed()["service"]["restarts"] == 1
    await supervisor.drain()


async def test_a_part_that_keeps_ending_is_started_ever_more_slowly(scene: Scene) -> None:
    flag = scene.folder / "broken"
    scene.script("service", 1, f"test -e {flag} && exit 7; exec sleep 600")
    supervisor = scene.supervisor()
    await supervisor.start()
    flag.touch()
    pid = scene.listed()["service"]["pid"]
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    for pause in ("in 0.5 s", "in 1 s", "in 2 s"):
        await scene.heard(pause)
    assert "ended with code 7" in await scene.heard("in 1 s")
    await supervisor.drain()


@pytest.mark.parametrize(
    ("complaint", "words"),
    [
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("OSError: [Errno 98] Address already in use", "port was taken"),
        ("ModuleNotFoundError: No module named 'services.x'", "part of the installation is missing"),
    ],
)
async def test_a_part_that_cannot_start_is_explained_in_plain_words(scene: Scene, complaint: str, words: str) -> None:
    scene.script("service", 1, f'echo "Traceback (most recent call last)"; echo "{complaint}"; exit 1', check=NOBODY)
    supervisor = scene.supervisor()
    with pytest.raises(StartError, match=words) as told:
        await supervisor.start()
    assert "Traceback" not in str(told.value)
    await supervisor.drain()


async def test_a_failed_preparation_stops_the_start_with_its_own_words(scene: Scene) -> None:
    scene.script("topics", 1, "echo 'topic x has 3 partitions, needed are 8'; exit 1", once=True)
    scene.server("service", 2)
    supervisor = scene.supervisor()
    with pytest.raises(StartError, match="topic x has 3 partitions"):
        await supervisor.start()
    await supervisor.drain()
    assert not scene.diary.exists()


async def test_a_part_that_does_not_stop_in_time_is_killed(scene: Scene) -> None:
    scene.server("stubborn", 1)
    supervisor = scene.supervisor()
    await supervisor.start()
    await supervisor.drain()
    assert scene.said[-1].startswith("stubborn was killed (SIGKILL)")


async def test_a_stop_during_the_start_leaves_nothing_running(scene: Scene) -> None:
    scene.server("early", 1)
    scene.script("slow", 2, "exec sleep 600", check=NOBODY)
    supervisor = scene.supervisor()
    starting = asyncio.create_task(supervisor.start())
    await scene.heard("early ready")
    await supervisor.drain()
    await starting
    assert scene.said[-1].startswith("early stopped")
