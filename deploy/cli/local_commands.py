"""`rapport run | up | reset | logs`: the system on this machine."""

import time
from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.folder import home_folder
from deploy.demo import show
from deploy.local import run as local

FOLLOW_SECONDS = 0.3


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
