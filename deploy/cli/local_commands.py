"""`rapport run | up | reset | status | logs`: the system on this machine."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy.cli.folder import home_folder
from deploy.demo import show
from deploy.local import run as local
from deploy.local.probes import reason_not_ready

POLL_SECONDS = 0.5
FOLLOW_SECONDS = 0.3
MEGABYTE = 1024 * 1024


def run(
    full: Annotated[Path | None, typer.Option(help="Replay this file of the whole Online Retail set (CSV, also .gz).")] = None,
) -> None:
    """Start everything and replay real retail orders through the public API; stay up until Ctrl-C."""
    if full is not None and not full.is_file():
        typer.echo(f"no such file: {full}", err=True)
        raise typer.Exit(1)
    raise typer.Exit(local.run(show.demo(full)))


def up() -> None:
    """Start everything, without the demo; stay up until Ctrl-C."""
    raise typer.Exit(local.run())


def reset(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete all data, logs, mail and keys of this installation."""
    root = home_folder().root
    if not yes:
        typer.confirm(f"Delete all data in {root}?", abort=True)
    try:
        deleted = local.reset(root)
    except local.RefusedError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(f"deleted from {root}: {', '.join(deleted) or 'nothing was there'}")


def status(
    wait: Annotated[float, typer.Option(help="Seconds to wait until everything is ready; 0 looks once.")] = 60.0,
) -> None:
    """Wait until every part is ready and print them; exit code 1 when one is not."""
    home = home_folder()
    end = time.monotonic() + wait
    while True:
        parts = json.loads(home.parts.read_text()) if local.is_up(home) and home.parts.exists() else []
        reasons = {part["name"]: _reason(part) for part in parts}
        complete = bool(parts) and not any(reasons.values()) and all(part["complete"] for part in parts)
        if complete or time.monotonic() >= end:
            break
        time.sleep(POLL_SECONDS)
    if not parts:
        typer.echo(f"Rapport is not up in {home.root}: `make run` or `make up` starts it", err=True)
        raise typer.Exit(1)
    table = Table("part", "ready", "process", "memory", "restarts", "where", box=None)
    for part in parts:
        reason = reasons[part["name"]]
        table.add_row(
            part["name"],
            reason or "yes",
            str(part["pid"]),
            f"{_memory_mb(part['pid'])} MB",
            str(part["restarts"]),
            part["check"] or "",
        )
    table.add_row("all", "", "", f"{sum(_memory_mb(part['pid']) for part in parts)} MB", "", "")
    Console().print(table)
    if not complete:
        typer.echo("not everything is ready", err=True)
        raise typer.Exit(1)
    typer.echo(f"everything is ready; keys and URLs: source {home.env}")


def _reason(part: dict[str, str]) -> str | None:
    """Why a listed part is not ready; None when it is."""
    return reason_not_ready(part["check"]) if part["check"] else None


def _memory_mb(pid: int) -> int:
    """Resident megabytes of a process, as Linux tells them; 0 elsewhere."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS")), 0)


def logs(
    parts: Annotated[list[str] | None, typer.Argument(help="Names of parts; all without any.")] = None,
    lines: Annotated[int, typer.Option(help="Lines of each log to begin with.")] = 20,
    follow: Annotated[bool, typer.Option(help="Stay and print what is added.")] = True,
) -> None:
    """Print what the parts say, each line with its part's name."""
    folder = home_folder().logs
    wanted = sorted(path for path in folder.glob("*.log") if not parts or path.stem in parts)
    if not wanted:
        typer.echo(f"no such log in {folder}", err=True)
        raise typer.Exit(1)
    places: dict[Path, int] = {}
    for path in wanted:
        text = path.read_bytes()
        places[path] = len(text)
        _print(path.stem, b"\n".join(text.splitlines()[-lines:]))
    try:
        while follow:
            time.sleep(FOLLOW_SECONDS)
            for path in wanted:
                places[path] = _added(path, places[path])
    except KeyboardInterrupt:
        return


def _added(path: Path, place: int) -> int:
    """Print the whole lines added after `place`; returns the new place."""
    with path.open("rb") as file:
        file.seek(place)
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    _print(path.stem, whole)
    return place + len(whole)


def _print(name: str, text: bytes) -> None:
    for line in text.decode(errors="replace").splitlines():
        typer.echo(f"{name:>12} | {line}")
