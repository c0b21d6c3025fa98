"""The demo of `rapport run`: real orders through the public API, with progress, then what came of them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.demo.make_slice import SLICE
from deploy.demo.messages import calls, weeks_to_now
from deploy.demo.replay import Batch, ReplayError, batches, replay
from deploy.demo.retail import NotRetailError, read_invoices, read_rows
from deploy.demo.summary import SETTLE_SECONDS, Summary, read_summary, table
from deploy.local.settings import Home

Demo = Callable[[Home, dict[str, str], Console], Awaitable[None]]


@dataclass
class Progressed:
    """How far a replay has come, kept in a file so that a second start goes on there and moves dates the same way."""

    source: str
    weeks: int
    batches: int = 0
    finished: bool = False

    @classmethod
    def load(cls, path: Path, source: str) -> "Progressed | None":
        """What was kept for this source; None when nothing was."""
        with suppress(OSError, ValueError, TypeError):
            kept = cls(**json.loads(path.read_text()))
            return kept if kept.source == source else None
        return None

    def save(self, path: Path) -> None:
        """Keep it, in one step."""
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self)))
        part.rename(path)


def demo(full: Path | None = None) -> Demo:
    """The demo with the committed slice, or with a file of the whole set."""
    source = full or SLICE

    async def play(home: Home, env: dict[str, str], console: Console) -> None:
        progressed = Progressed.load(home.demo, source.name)
        if progressed is not None and progressed.finished:
            console.print(f"The demo's events ({source.name}) are in already; `make reset` starts from nothing.")
        else:
            try:
                sent = await _replay(source, home, env, console, progressed)
            except (ReplayError, NotRetailError, OSError) as error:
                console.print(f"The demo stopped: {error}. Everything else stays up; `make run` goes on with it.", markup=False)
                return
            await _settled(env, home, console, sent)
        console.print(table(await asyncio.to_thread(read_summary, env, home), env, home))

    return play


async def _replay(source: Path, home: Home, env: dict[str, str], console: Console, kept: Progressed | None) -> int:
    """Send what is not through yet; returns the number of calls of the whole source."""
    with console.status(f"reading {source.name}"):
        progressed, packed = await asyncio.to_thread(_prepare, source, kept)
    total = sum(len(batch.calls) for batch in packed)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("events"), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("replaying real orders", total=total)

        def on_sent(number: int, through: int) -> None:
            bar.update(task, completed=through)
            progressed.batches = number
            progressed.save(home.demo)

        await replay(packed, env["RAPPORT_INGEST_URL"], env["RAPPORT_WRITE_KEY"], progressed.batches, on_sent)
    progressed.finished = True
    progressed.save(home.demo)
    return total


def _prepare(source: Path, kept: Progressed | None) -> tuple[Progressed, list[Batch]]:
    invoices = read_invoices(read_rows(source))
    progressed = kept or Progressed(source.name, weeks_to_now(invoices[-1].at, datetime.now(UTC)))
    return progressed, list(batches(call.body for call in calls(invoices, progressed.weeks)))


async def _settled(env: dict[str, str], home: Home, console: Console, sent: int) -> None:
    """Wait until what was sent stands in ClickHouse, at most SETTLE_SECONDS; says so when it does not."""
    with console.status("waiting until every event is in ClickHouse"):
        for _ in range(SETTLE_SECONDS):
            found: Summary = await asyncio.to_thread(read_summary, env, home)
            if found.stored is not None and found.stored >= sent:
                return
            await asyncio.sleep(1)
    console.print(f"Not every event is in ClickHouse after {SETTLE_SECONDS} s ({found.stored} of {sent}); it goes on.")
