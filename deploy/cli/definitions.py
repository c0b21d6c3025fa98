"""`rapport check`, `rapport test`, `rapport schema`: definitions looked at without a running system."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

import deploy
from services.messaging.channels.endpoints import read_endpoints, without_endpoint
from services.messaging.channels.registry import CHANNELS, HEADS
from services.segmentation.rehearsal import Outcome, rehearse
from shared.definitions.files import Defined
from shared.definitions.folder import Definitions, read_folder
from shared.definitions.kinds import KINDS
from shared.definitions.schema import schema_files
from shared.definitions.segment import Segment
from shared.definitions.yaml_text import DefinitionError, Problem
from shared.rules.compiler import compiled

SHIPPED = Path(deploy.__file__).parent / "definitions"

Folder = Annotated[Path, typer.Argument(help="Folder of definition files.")]
Zone = Annotated[
    str, typer.Option("--timezone", envvar="RAPPORT_TIMEZONE", help="The installation's time zone: windows over 30 days count its days.")
]

ChannelsFile = Annotated[
    Path | None,
    typer.Option("--channels", envvar="RAPPORT_CHANNELS_FILE", help="The channels file: `to:` of each template is looked up in it."),
]


def check(folder: Folder = SHIPPED, timezone: Zone = "UTC", channels: ChannelsFile = None) -> None:
    """Read every definition and template below FOLDER as the services do; name each problem with file, line and what was expected."""
    read = _read(folder, timezone)
    if channels is not None:
        _refuse(_endpoint_problems(read, channels))
    counts = {kind: sum(one.definition.kind == kind for one in read.found) for kind in KINDS} | {"template": len(read.templates)}
    typer.echo(", ".join(f"{count} {kind if count == 1 else _several(kind)}" for kind, count in counts.items()) + ": all well")


def run_tests(folder: Folder = SHIPPED, timezone: Zone = "UTC") -> None:
    """Run the tests that stand in the definitions below FOLDER, on a virtual clock and without servers."""
    passed = failed = 0
    segments = _read(folder, timezone).of(Segment)
    by_name = {one.definition.name: one.definition for one in segments}
    for one in segments:
        for outcome in rehearse(one.definition, timezone, by_name):
            passed, failed = passed + outcome.passed, failed + (not outcome.passed)
            _tell(one, outcome)
    typer.echo(f"{passed} passed, {failed} failed")
    if failed:
        raise typer.Exit(1)


def schema(folder: Annotated[Path, typer.Argument(help="Folder to write to.")] = SHIPPED / "schema") -> None:
    """Write the JSON Schema of each kind of definition, for editors."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in schema_files(KINDS, HEADS).items():
        (folder / name).write_text(text)
        typer.echo(str(folder / name))


def _several(kind: str) -> str:
    return f"{kind[:-1]}ies" if kind.endswith("ty") else f"{kind}s"


def _read(folder: Path, timezone: str) -> Definitions:
    """What stands below `folder`; ends the command with a line for each problem that there is."""
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError):
        typer.echo(f"{timezone!r} is no time zone such as Asia/Shanghai", err=True)
        raise typer.Exit(1) from None
    read = read_folder(folder, heads=HEADS)
    problems = list(read.problems)
    try:
        if not any(Segment.kind in (one.concerns or ()) for one in read.mistakes):
            compiled(read.of(Segment), timezone)
    except DefinitionError as error:
        problems += error.problems
    _refuse(problems)
    return read


def _endpoint_problems(read: Definitions, channels: Path) -> list[Problem]:
    """What is wrong with the channels file, or which endpoints templates name that it does not have."""
    try:
        endpoints = read_endpoints(channels, CHANNELS)
    except DefinitionError as error:
        return error.problems
    return without_endpoint(read.templates, CHANNELS, endpoints)


def _refuse(problems: Sequence[Problem]) -> None:
    """End the command with a line for each, if there are any."""
    for problem in problems:
        typer.echo(str(problem), err=True)
    if problems:
        typer.echo(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}", err=True)
        raise typer.Exit(1)


def _tell(one: Defined[Segment], outcome: Outcome) -> None:
    if outcome.passed:
        typer.echo(f"ok    {outcome.segment}: {outcome.test}")
        return
    line = next(one.document.line(("tests", place)) for place, test in enumerate(one.definition.tests) if test.name == outcome.test)
    typer.echo(f"FAIL  {outcome.segment}: {outcome.test}: expected {outcome.expected}, found {outcome.found} ({one.file}:{line})")
    for change in outcome.changes:
        typer.echo(f"      {change.transition} at {_time(change.at)}")


def _time(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds")
