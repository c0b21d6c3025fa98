"""`rapport status`: which parts run here and whether they are ready; says what it waits for while it waits."""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deploy.cli.folder import home_folder
from deploy.local import run as local
from deploy.local.probes import reason_not_ready
from deploy.local.settings import Home

POLL_SECONDS = 0.5
READY_WITHIN_SECONDS = 60.0
UP_WITHIN_SECONDS = 5.0
"""A run that was begun a moment ago may not hold its folder yet."""
TOLD_AGAIN_SECONDS = 10.0
PARTS_SHOWN = 4


@dataclass(frozen=True)
class Look:
    """What was seen at one moment. `parts`: what the run lists; `reasons`: name -> why it is not ready, None if it is."""

    up: bool
    parts: Sequence[dict[str, Any]]
    reasons: dict[str, str | None]

    @property
    def complete(self) -> bool:
        return bool(self.parts) and not any(self.reasons.values()) and all(part["complete"] for part in self.parts)

    @property
    def waits_for(self) -> str:
        """What is missing, in words."""
        if not self.up:
            return "no run is alive"
        missing = {name: reason for name, reason in self.reasons.items() if reason}
        if not missing:
            ready = ", ".join(self.reasons)
            return f"parts that have yet to start; ready: {ready}" if ready else "the run has begun, no part is ready yet"
        shown = "; ".join(f"{name}: {reason}" for name, reason in list(missing.items())[:PARTS_SHOWN])
        return shown + (f"; and {len(missing) - PARTS_SHOWN} more" if len(missing) > PARTS_SHOWN else "")

    @property
    def missing(self) -> object:
        """What has to change before it is said again at once."""
        return self.up, len(self.parts), frozenset(name for name, reason in self.reasons.items() if reason)


def look(home: Home) -> Look:
    """Ask every part side by side, so that several that answer nothing cost the time of one."""
    up = local.is_up(home)
    parts: list[dict[str, Any]] = []
    with suppress(FileNotFoundError):  # before the first part is up, and after the last has stopped
        parts = json.loads(home.parts.read_text()) if up else []
    with ThreadPoolExecutor(max(len(parts), 1)) as pool:
        reasons = pool.map(lambda part: reason_not_ready(part["check"]) if part["check"] else None, parts)
        return Look(up, parts, dict(zip((part["name"] for part in parts), reasons, strict=True)))


def wait_until_ready(
    see: Callable[[], Look],
    say: Callable[[str], None],
    wait: float | None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Look:
    """Look until everything is ready or `wait` seconds have passed. What is missing is said at once, when it changes, and now and then.

    Without `wait`: READY_WITHIN_SECONDS, and only UP_WITHIN_SECONDS while no run is alive.
    """
    began = told_at = clock()
    told: object = None
    while True:
        seen, now = see(), clock()
        longest = wait if wait is not None else READY_WITHIN_SECONDS if seen.up else UP_WITHIN_SECONDS
        if seen.complete or now - began >= longest:
            return seen
        if seen.missing != told or now - told_at >= TOLD_AGAIN_SECONDS:
            say(f"waiting ({now - began:.0f} of {longest:g} s): {seen.waits_for}")
            told, told_at = seen.missing, now
        sleep(POLL_SECONDS)


def status(
    wait: Annotated[
        float | None,
        typer.Option(help="Seconds to wait until everything is ready, also where nothing runs yet; 0 looks once. Without it: 60."),
    ] = None,
) -> None:
    """Wait until every part is ready and print them; exit code 1 when one is not. Where no run is alive it ends after 5 seconds."""
    home = home_folder()
    seen = wait_until_ready(lambda: look(home), lambda line: typer.echo(line, err=True), wait)
    if not seen.up:
        typer.echo(f"Rapport is not up in {home.root}: `make run` or `make up` starts it", err=True)
        raise typer.Exit(1)
    if not seen.parts:
        typer.echo(f"Rapport is starting in {home.root}, no part is ready yet: `make logs` shows what they say", err=True)
        raise typer.Exit(1)
    Console().print(_table(seen))
    if not seen.complete:
        typer.echo(f"not everything is ready: {seen.waits_for}", err=True)
        raise typer.Exit(1)
    typer.echo(f"everything is ready; keys and URLs: source {home.env}")


def _table(seen: Look) -> Table:
    table = Table("part", "ready", "process", "memory", "restarts", "where", box=None)
    for part in seen.parts:
        pid, restarts = str(part["pid"]), str(part["restarts"])
        table.add_row(
            part["name"], seen.reasons[part["name"]] or "yes", pid, f"{_memory_mb(part['pid'])} MB", restarts, part["check"] or ""
        )
    table.add_row("all", "", "", f"{sum(_memory_mb(part['pid']) for part in seen.parts)} MB", "", "")
    return table


def _memory_mb(pid: int) -> int:
    """Resident megabytes of a process, as Linux tells them; 0 elsewhere."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS")), 0)
