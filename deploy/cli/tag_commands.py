"""`rapport tag add | remove | import`: tags by hand, as events through ingest, like those of any SDK.

Exit codes: 0 done; 1 something is wrong, or somebody is unknown; 2 wrong use; 4 the API does not answer.
"""

import asyncio
import getpass
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import typer
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.cli import tags
from deploy.cli.api import ANSWER_SECONDS, Refused, Unreachable, api
from deploy.cli.folder import home_folder
from deploy.demo.sdk import REQUEST_SECONDS, Sender, SendError, batches
from deploy.local import env_file
from shared.contracts.tag_blob import MAX_REASON, MAX_TAG, TAG_ADDED, TAG_REMOVED, until_ms

WRONG: Final = 1
USAGE: Final = 2
AWAY: Final = 4
STEP: Final = 1_000
"""Lines between two words on how far an import is."""
MOST_SHOWN: Final = 100
app = typer.Typer(no_args_is_help=True, help="Give people tags and take them.")

Person = Annotated[
    str, typer.Argument(help="A user id, an e-mail address, KIND:VALUE such as phone:+8613800138000, or a profile id as the API shows it.")
]
Tag = Annotated[str, typer.Option("--tag", help="Name of the tag.")]
Reason = Annotated[str, typer.Option(help="Why, kept with the tag.")]
Until = Annotated[
    str | None, typer.Option(help="A time with its offset, such as 2026-06-01T09:00:00+08:00, from which on it no longer holds.")
]
By = Annotated[str | None, typer.Option(help="Who says so; by default the user of this machine, as user@host.")]


class WriteSettings(BaseSettings):
    """Read from RAPPORT_<NAME>; without them, from the env file of the system that runs here."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_")

    ingest_url: str | None = Field(None, description="where the tracking API is; without it, that of the system that runs here")
    write_key: SecretStr | None = Field(
        None, description="key of the source that the tags come under; without it, that of the system that runs here"
    )


@app.command()
def add(person: Person, tag: Tag, reason: Reason = "", until: Until = None, by: By = None) -> None:
    """Give PERSON a tag."""
    _say_of(person, _word(TAG_ADDED, tag, reason, until, by))


@app.command()
def remove(person: Person, tag: Tag, reason: Reason = "", by: By = None) -> None:
    """Take a tag from PERSON."""
    _say_of(person, _word(TAG_REMOVED, tag, reason, None, by))


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="One person a line, named as for `add`.", exists=True, dir_okay=False)],
    tag: Tag,
    reason: Reason,
    until: Until = None,
    by: By = None,
) -> None:
    """Give everybody in FILE a tag. Unknown people are listed and get none. The same file again gives it again."""
    word = _word(TAG_ADDED, tag, reason, until, by)
    try:
        lines = tags.lines_of(file)
    except OSError as error:
        raise _ended(f"{file}: {error.strerror}", WRONG) from None
    count = _sent(tags.people_in(file), word, lines)
    typer.echo(f"{word.tag}: given on {count.sent:,} lines, unknown {count.unknown:,}")
    raise typer.Exit(WRONG if count.unknown else 0)


@dataclass
class Count:
    """How far it is: lines read, people unknown, events that ingest has taken."""

    read: int = 0
    unknown: int = 0
    sent: int = 0


def _say_of(person: str, word: tags.Word) -> None:
    count = _sent(iter([person.strip()]), word, 1)
    if not count.sent:
        raise typer.Exit(WRONG)
    typer.echo(f"{word.event}: {word.tag}")


def _word(event: str, tag: str, reason: str, until: str | None, by: str | None) -> tags.Word:
    """Ends the command where a reader would pass the tag over or cut what is said."""
    who = by if by is not None else f"{getpass.getuser()}@{socket.gethostname()}"[:MAX_REASON]
    if not 1 <= len(tag) <= MAX_TAG:
        raise _ended(f"a tag has 1 to {MAX_TAG} characters", USAGE)
    if len(reason) > MAX_REASON or len(who) > MAX_REASON:
        raise _ended(f"a reason, and who gives it, have {MAX_REASON} characters at most", USAGE)
    if until is not None and not until_ms(until):
        raise _ended("--until is a time with its offset, such as 2026-06-01T09:00:00+08:00", USAGE)
    if until is not None and event == TAG_ADDED and until_ms(until) <= time.time_ns() // 1_000_000:
        raise _ended(f"--until {until} has passed: the tag would hold for nobody", USAGE)
    return tags.Word(event, tag, who, reason, until)


def _sent(people: Iterator[str], word: tags.Word, lines: int) -> Count:
    """Looks each up and sends what is said of those that are known, a batch at a time. Ends the command when it cannot go on."""
    url, key = _ingest()
    asked, count = api(), Count()
    try:
        with httpx.Client(timeout=ANSWER_SECONDS) as client:
            lookup = tags.Lookup(replace(asked, client=client))
            asyncio.run(_send(_calls(people, word, lookup, count, lines), url, key, count))
    except Unreachable as error:
        raise _stopped(str(error), count, AWAY) from None
    except (Refused, tags.MaskedError, SendError) as error:
        raise _stopped(str(error), count, WRONG) from None
    except UnicodeDecodeError:
        raise _stopped("the file is no UTF-8 text", count, WRONG) from None
    return count


def _calls(people: Iterator[str], word: tags.Word, lookup: tags.Lookup, count: Count, lines: int) -> Iterator[dict[str, Any]]:
    for person in people:
        count.read += 1
        if person and (found := lookup.profile_id(person)) is not None:
            yield word.call(found, datetime.now(UTC))
        elif person:
            count.unknown += 1
            typer.echo(f"unknown: {person[:MOST_SHOWN]}", err=True)
        if count.read % STEP == 0:
            typer.echo(f"{count.read:,} of {lines:,} lines, {count.sent:,} sent", err=True)


async def _send(calls: Iterator[dict[str, Any]], url: str, key: str, count: Count) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=REQUEST_SECONDS) as client:
        sender = Sender(client, key)
        for batch in batches(calls):
            await sender.send(batch)
            count.sent += len(batch.calls)


def _ingest() -> tuple[str, str]:
    """URL and write key; ends the command with a sentence when there is none."""
    told, local = WriteSettings(), env_file.read(home_folder().env)
    url = told.ingest_url or local.get("RAPPORT_INGEST_URL")
    key = told.write_key.get_secret_value() if told.write_key is not None else local.get("RAPPORT_WRITE_KEY")
    if url is None or key is None:
        raise _ended("where to? Set RAPPORT_INGEST_URL and RAPPORT_WRITE_KEY, or start Rapport here with `make run`", WRONG)
    return url.rstrip("/"), key


def _stopped(why: str, count: Count, code: int) -> typer.Exit:
    return _ended(f"{why}\nstopped after {count.read:,} lines; {count.sent:,} were sent for certain", code)


def _ended(why: str, code: int) -> typer.Exit:
    typer.echo(why, err=True)
    return typer.Exit(code)
