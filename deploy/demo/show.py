"""The demo of `rapport run`: real orders through the public API, with progress, then what came of them."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.demo import replay
from deploy.demo.summary import read_summary, table
from deploy.local.process import LEASH
from deploy.local.settings import PROJECT, Home

Demo = Callable[[Home, dict[str, str], Console], Awaitable[None]]
SETTLE_SECONDS = 120


def demo(full: Path | None = None) -> Demo:
    """The demo with the committed slice, or with a file of the whole set."""
    source = (full or replay.SLICE).resolve()

    async def play(home: Home, env: dict[str, str], console: Console) -> None:
        kept = replay.Progress.load(home.demo, source.name)
        if kept is not None and kept.finished:
            console.print(f"The demo's events ({source.name}) are in already; `make reset` starts from nothing.", markup=False)
        else:
            sent = await _replayed(source, home, env, console)
            if sent is None:
                return
            await _settled(env, home, console, sent)
        console.print(table(await asyncio.to_thread(read_summary, env, home), env, home))

    return play


async def _replayed(source: Path, home: Home, env: dict[str, str], console: Console) -> int | None:
    """Run the replay as a process of its own, with a progress bar; returns the calls in all, None when it stopped."""
    command = [sys.executable, "-m", replay.__name__, "--full", str(source), "--progress", str(home.demo.resolve())]
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *command),
        stdout=PIPE,
        stderr=PIPE,
        cwd=PROJECT,
        env={**os.environ, **env},
        start_new_session=True,
    )
    try:
        total = await _follow(child, console)
        told = (await child.stderr.read()).decode(errors="replace").strip() if child.stderr else ""
        if await child.wait() == 0:
            return total
    finally:
        with suppress(ProcessLookupError):
            child.kill()
    last = told.splitlines()[-1] if told else f"code {child.returncode}"
    console.print(f"The demo stopped: {last}. Everything else stays up; the next `make run` goes on with it.", markup=False)
    return None


async def _follow(child: Process, console: Console) -> int:
    """Show what the replay prints, until it ends; returns the number of calls in all."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("events"), TimeElapsedColumn())
    total = 0
    if child.stdout is None:
        raise RuntimeError("the replay was started without a pipe")
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("replaying real orders", total=None)
        async for line in child.stdout:
            through, total = map(int, line.split())
            bar.update(task, completed=through, total=total)
    return total


async def _settled(env: dict[str, str], home: Home, console: Console, sent: int) -> None:
    """Wait until what was sent stands in ClickHouse, at most SETTLE_SECONDS; says so when it does not."""
    with console.status("waiting until every event is in ClickHouse"):
        for _ in range(SETTLE_SECONDS):
            found = await asyncio.to_thread(read_summary, env, home)
            if found.stored is not None and found.stored >= sent:
                return
            await asyncio.sleep(1)
    console.print(f"Not every event is in ClickHouse after {SETTLE_SECONDS} s ({found.stored} of {sent}); it goes on.")
