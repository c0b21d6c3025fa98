"""The system under docker compose, as an operator and a caller from outside have it: the command line and the published ports."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import httpx

from deploy.local.settings import PROJECT

SERVICES: Final = ("ingest", "profile", "segmentation", "messaging", "warehouse", "query", "control", "proxy")
SERVERS: Final = ("kafka", "redis", "clickhouse")
SHOPPER: Final = Path(__file__).with_name("shopper.py")
MAILS: Final = """
import email, json, pathlib
found = pathlib.Path("/var/lib/rapport/mail").glob("*.eml")
print(json.dumps([email.message_from_bytes(file.read_bytes())["Delivered-To"] for file in found]))
"""


def within(seconds: float, holds: Callable[[], object], told: Callable[[], object] = lambda: "") -> None:
    """Return once `holds()` is true. Raises AssertionError with `told()` when it is not within `seconds`."""
    end = monotonic() + seconds
    while not holds():
        assert monotonic() < end, f"not within {seconds:g} s: {told()}"
        sleep(0.5)


@dataclass
class System:
    """Ports and keys of one run; `compose_test.sh` has chosen the ports."""

    ingest: str
    query: str
    clickhouse: str
    write_key: str = field(default="", repr=False)
    query_key: str = field(default="", repr=False)

    def compose(self, *arguments: str, seconds: float = 300, check: bool = True) -> str:
        """What `docker compose ...` says. Raises AssertionError when it fails."""
        done = subprocess.run(["docker", "compose", *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=seconds, check=False)
        assert not check or done.returncode == 0, f"docker compose {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def inspect(self, part: str) -> dict[str, Any]:
        """Docker's description of the part's container."""
        container = self.compose("ps", "--all", "--quiet", part).strip()
        done = subprocess.run(["docker", "inspect", container], capture_output=True, text=True, timeout=60, check=True)
        (described,) = json.loads(done.stdout)
        return dict(described)

    def up(self) -> None:
        """Everything up and healthy. Raises AssertionError with what the unhealthy ones say."""
        try:
            self.compose("up", "--detach", "--wait", "--wait-timeout", "240", seconds=400)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.compose('ps', '--all')}\n{self.compose('logs', '--no-color', '--tail', '15')}") from None

    def healthy(self, part: str) -> bool:
        state = self.inspect(part)["State"]
        return bool(state["Running"] and state["Health"]["Status"] == "healthy")

    def troubled(self) -> str:
        """Of each service that is not well: what it says of itself, and the end of its log."""
        told = []
        for part in (name for name in SERVICES if not self.healthy(name)):
            checks = self.inspect(part)["State"]["Health"]["Log"] or [{"Output": "was not asked"}]
            told.append(f"{part}: {checks[-1]['Output']}\n{self.compose('logs', '--no-color', '--tail', '40', part)}")
        return "\n".join(told)

    def crash(self, part: str) -> None:
        """The part's process dies by SIGKILL, as in a crash; its restart policy must bring it back, healthy."""
        before = self.inspect(part)
        os.kill(before["State"]["Pid"], signal.SIGKILL)
        within(60, lambda: self.inspect(part)["RestartCount"] > before["RestartCount"], lambda: f"{part} was not restarted")
        within(120, lambda: self.healthy(part), lambda: f"{part}: {self.inspect(part)['State']} {self.troubled()}")

    def make_keys(self) -> None:
        """A write key and a query key, by the command in the container."""
        self.write_key = self.compose("exec", "-T", "ingest", "rapport", "keys", "create", "shop").strip()
        self.query_key = self.compose("exec", "-T", "ingest", "rapport", "keys", "create", "reader", "--kind", "query").strip()

    def shop(self, prefix: str, people: int, pause: float = 0.0) -> "subprocess.Popen[str]":
        """Start the SDK in a process of its own."""
        argv = [sys.executable, str(SHOPPER), self.ingest, self.write_key, prefix, str(people), str(pause)]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def ask(self, path: str, **parameters: Any) -> httpx.Response:
        """A question to the query API; a connection that breaks counts as 599."""
        try:
            return httpx.get(
                f"{self.query}/api/v1/{path}", params=parameters, headers={"Authorization": f"Bearer {self.query_key}"}, timeout=15
            )
        except httpx.HTTPError as error:
            return httpx.Response(599, text=str(error))

    def pages(self, path: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """All rows of a list. Raises AssertionError when a page is refused."""
        cursor: dict[str, str] = {}
        while True:
            answer = self.ask(path, limit=1000, **parameters, **cursor)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            yield from page["data"]
            if not page["next_cursor"]:
                return
            cursor = {"cursor": page["next_cursor"]}

    def mails(self) -> list[str]:
        """Who got an e-mail, once for each."""
        told = self.compose("exec", "-T", "mail", "python", "-c", MAILS)
        return [address for address in json.loads(told) if address]
