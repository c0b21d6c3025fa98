"""`rapport plan | apply | diff | history | export | rollback`: definitions of a running installation, by its API.

Exit codes: 0 done, or nothing to do; 1 something is wrong, or was refused; 2 wrong use; 3 the base moved; 4 the API does not answer.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from deploy.cli import definition_words as words
from deploy.cli.api import Api, Refused, Unreachable, api
from deploy.cli.definition_files import sent, write
from shared.contracts.definitions import MAX_WHY
from shared.definitions.text_diff import text_diff
from shared.definitions.yaml_text import DefinitionError

WRONG: Final = 1
USAGE: Final = 2
MOVED: Final = 3
AWAY: Final = 4
APPLY_SECONDS: Final = 180.0
POLL_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 60.0
"""So long the API may not answer while a command waits."""
T = TypeVar("T")

Folder = Annotated[Path, typer.Argument(help="Folder of definition files.", envvar="RAPPORT_DEFINITIONS_DIR")]
FromNow = Annotated[
    list[str] | None, typer.Option("--from-now", help="A segment that may start without the history of what it asks; may be given again.")
]
Why = Annotated[str | None, typer.Option(help="The reason, kept in the history. Asked for on a terminal.")]
Base = Annotated[int | None, typer.Option(help="Number of the set that this was made on; by default the one that the plan finds.", min=0)]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Wait = Annotated[bool, typer.Option("--wait", help="Stay until all slots have decided everybody by it, and print how far they are.")]


def plan(folder: Folder, from_now: FromNow = None) -> None:
    """Print what applying the files below FOLDER would change. Nothing is changed."""
    found = _planned(sent_or_exit(folder), from_now)
    if not found["differs"]:
        typer.echo(words.NOTHING.format(number=found["base"]))
        return
    _print(words.plan_lines(found))


def apply(
    folder: Folder,
    why: Why = None,
    base: Base = None,
    from_now: FromNow = None,
    if_different: Annotated[bool, typer.Option("--if-different", help="Say nothing where nothing differs.")] = False,
    yes: Yes = False,
    wait: Wait = False,
) -> None:
    """Make the files below FOLDER the definitions of the installation: all of them, or nothing is changed."""
    files = sent_or_exit(folder)
    found = _planned(files, from_now)
    if not found["differs"]:
        if not if_different:
            typer.echo(words.NOTHING.format(number=found["base"]))
        return
    _print(words.plan_lines(found))
    reason = _agreed(why, yes)
    body = {"files": files, "base": found["base"] if base is None else base, "why": reason, "from_now": from_now or []}
    _done(_asked(lambda asked: asked.ask("POST", "definitions:apply", body, _once(), APPLY_SECONDS)), wait)


def rollback(
    number: Annotated[int, typer.Argument(help="The set whose files are applied again, as `rapport history` lists them.", min=1)],
    why: Why = None,
    base: Base = None,
    from_now: FromNow = None,
    yes: Yes = False,
    wait: Wait = False,
) -> None:
    """Apply the files of an older set, as a set of its own. History stays as it is."""
    found = _planned(_texts_of(number), from_now)
    if not found["differs"]:
        typer.echo(words.NOTHING.format(number=found["base"]))
        return
    _print(words.plan_lines(found))
    reason = _agreed(why, yes)
    body = {"number": number, "base": found["base"] if base is None else base, "why": reason, "from_now": from_now or []}
    _done(_asked(lambda asked: asked.ask("POST", "definitions:rollback", body, _once(), APPLY_SECONDS)), wait)


def diff(
    folder: Folder,
    number: Annotated[int | None, typer.Option(help="Compare with this set; the newest by default.", min=1)] = None,
) -> None:
    """Print how the files below FOLDER differ from those of a set, line by line."""
    files = sent_or_exit(folder)
    there = _texts_of(number)
    for path in sorted({*files, *there}):
        _print(text_diff(path, there.get(path), files.get(path)))


def history(
    kind: Annotated[str | None, typer.Argument(help="Kind of a definition, such as `segment`: list its versions.")] = None,
    name: Annotated[str | None, typer.Argument(help="Its name.")] = None,
    limit: Annotated[int, typer.Option(help="Sets to list.", min=1, max=1000)] = 20,
) -> None:
    """Print the newest sets: when, by whom, why, and what each changed."""
    if (kind is None) != (name is None):
        _wrong("name both, as in `rapport history segment vip`", USAGE)
    if kind is not None:
        _versions(_asked(lambda asked: asked.ask("GET", f"definitions/{kind}/{name}")))
        return
    table = Table("set", "applied", "by", "why", "changed", box=None)
    for one in _asked(lambda asked: asked.ask("GET", f"definitions/versions?limit={limit}"))["data"]:
        back = f" (back to {one['rolled_back_to']})" if one["rolled_back_to"] else ""
        by = one["applied_by_name"] or one["applied_by"]
        table.add_row(f"{one['number']}", one["applied_at"], by, f"{one['why']}{back}", words.changed_words(one["changed"]))
    Console().print(table)


def export(
    folder: Annotated[Path, typer.Argument(help="A new folder, or an empty one.")],
    number: Annotated[int | None, typer.Option(help="The set to write; the newest by default.", min=1)] = None,
) -> None:
    """Write the files of a set to FOLDER."""
    texts = _texts_of(number)
    try:
        write(folder, texts)
    except DefinitionError as error:
        _wrong_files(error)
    except OSError as error:
        _wrong(f"{error.filename}: {error.strerror}", WRONG)
    typer.echo(f"{len(texts)} files written to {folder}")


def sent_or_exit(folder: Path) -> dict[str, str]:
    """The files to be sent; ends the command with a line for each that cannot be."""
    try:
        return sent(folder)
    except DefinitionError as error:
        _wrong_files(error)


def _planned(files: Mapping[str, str], from_now: Sequence[str] | None) -> dict[str, Any]:
    body = {"files": dict(files), "from_now": list(from_now or [])}
    return _asked(lambda asked: asked.ask("POST", "definitions:plan", body, seconds=APPLY_SECONDS))


def _texts_of(number: int | None) -> dict[str, str]:
    """Path -> text of a set, the newest without a number; empty if nothing was ever applied."""

    def ask(asked: Api) -> dict[str, Any]:
        wanted = asked.ask("GET", "definitions")["number"] if number is None else number
        return asked.ask("GET", f"definitions/versions/{wanted}", seconds=APPLY_SECONDS) if wanted else {"files": []}

    return {one["path"]: one["text"] for one in _asked(ask)["files"]}


def _agreed(why: str | None, yes: bool) -> str:
    """The reason. On a terminal somebody is asked for it, and whether to go on; elsewhere nobody is ever asked."""
    terminal = sys.stdin.isatty()
    if why is None:
        if not terminal:
            _wrong("why? Say it with --why: the history keeps it", USAGE)
        why = str(typer.prompt("Why"))
    if not 1 <= len(why) <= MAX_WHY:
        _wrong(f"the reason has 1 to {MAX_WHY} characters", USAGE)
    if terminal and not yes:
        typer.confirm("Apply it?", abort=True)
    return why


def _done(applied: Mapping[str, Any], wait: bool) -> None:
    if not applied["applied"]:
        typer.echo(words.NOTHING.format(number=applied["number"]))
        return
    typer.echo(f"applied: {words.set_words(applied)}")
    if wait:
        _follow(applied["number"])


def _follow(number: int) -> None:
    """Print how far slots are until all go by the set, or a later one has taken its place."""
    heard, told = time.monotonic(), ""
    while True:
        try:
            one = api().ask("GET", "definitions")
            heard = time.monotonic()
        except Unreachable as away:
            if time.monotonic() - heard > PATIENCE_SECONDS:
                _wrong(f"{away}; the set is applied, and slots go on to it", AWAY)
            time.sleep(POLL_SECONDS)
            continue
        except Refused as refused:
            _refused(refused)
        if one["number"] > number:
            typer.echo(f"set {one['number']} has taken its place")
            return
        if (now := words.active_words(one)) != told:
            typer.echo(now)
            told = now
        found = one["active_in"]
        if found is not None and found["active"] == found["slots"] and not found["sweeping"]:
            return
        time.sleep(POLL_SECONDS)


def _versions(one: Mapping[str, Any]) -> None:
    table = Table("version", "since", "until", "set", "by", "why", box=None)
    for stood in one["versions"]:
        table.add_row(
            f"{stood['version']:08x}", stood["since"], stood["until"] or "", f"{stood['number']}", stood["applied_by_name"], stood["why"]
        )
    Console().print(table)


def _asked(work: Callable[[Api], T]) -> T:
    """What the API answers; ends the command with what it says, and the exit code that means it."""
    try:
        return work(api())
    except Refused as refused:
        _refused(refused)


def _refused(refused: Refused) -> NoReturn:
    for line in words.problem_lines(refused.problems):
        typer.echo(line, err=True)
    if isinstance(refused, Unreachable):
        _wrong(str(refused), AWAY)
    count = len(refused.problems)
    message = f"{count} problem{'' if count == 1 else 's'}" if count else str(refused)
    _wrong(message, MOVED if refused.code == "base_moved" else WRONG)


def _wrong_files(error: DefinitionError) -> NoReturn:
    for problem in error.problems:
        typer.echo(str(problem), err=True)
    raise typer.Exit(WRONG)


def _wrong(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)


def _once() -> str:
    return f"cli-{time.time_ns()}"


def _print(lines: Any) -> None:
    for line in lines:
        typer.echo(line)
