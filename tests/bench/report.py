"""The figures as a table for people, and as JSON for programs."""

from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.bench.figures import Figures, lines

FILE = "bench.json"


def show(figures: Figures, console: Console) -> None:
    """Print the table."""
    table = Table(title=f"Rapport on {figures.hardware}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("what", overflow="fold")
    table.add_column("found", overflow="fold")
    table.add_column("target", overflow="fold")
    for line in lines(figures):
        colour = {True: "green", False: "red", None: "default"}[line.reached]
        word = {True: " reached", False: " missed", None: ""}[line.reached]
        table.add_row(escape(line.what), f"[{colour}]{escape(line.found)}[/]", escape(line.target + word))
    console.print(table)
    if not figures.hardware.quiet:
        console.print(f"[yellow]other work kept {figures.hardware.busy:.1f} cores busy when this began: the figures say little[/]")


def write(figures: Figures, home: Path) -> Path:
    """Replace bench.json in one step; answers its path. Raises OSError."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    judged = [{"what": line.what, "found": line.found, "target": line.target, "reached": line.reached} for line in lines(figures)]
    whole = msgspec.to_builtins(figures, str_keys=True) | {"judged": judged}
    path = home / FILE
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n")
    part.rename(path)
    return path
