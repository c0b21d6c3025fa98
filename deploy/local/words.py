"""Says in plain words why a part ended, from its exit code, the end of its log, and the room on the disk."""

import re
import shutil
import signal

from deploy.local.process import Process

LAST_LINES = 5
LOOKED_AT_LINES = 300
LONGEST_LINE = 240
FULL_DISK_BYTES = 16 * 1024 * 1024
DISK_IS_FULL = "the disk is full: make room and it goes on"

_CAUSES = (
    (r"No space left on device|ENOSPC|[Dd]isk is full", DISK_IS_FULL),
    (r"Address already in use|EADDRINUSE|Failed to bind|Address in use", "its port was taken by another program"),
    (r"OutOfMemoryError|MemoryError|Cannot allocate memory", "it ran out of memory"),
    (r"Permission denied", "it may not read or write one of its files"),
    (r"No module named", "a part of the installation is missing: delete .venv and run `make` again"),
)
_NOISE = re.compile(r"^    |^\s+at |^\s*File \"|^Traceback|^\s+\^+$|^\s*$")
"""Lines of stack traces: they say where, not what."""


def how_it_ended(code: int | None) -> str:
    """The exit code in words."""
    if code is None:
        return "is running"
    if code < 0:
        try:
            return f"was killed ({signal.Signals(-code).name})"
        except ValueError:
            return f"was killed (signal {-code})"
    return f"ended with code {code}"


def cause(log_tail: str) -> str | None:
    """What the log's end says about why, if it is one of the usual causes."""
    return next((said for pattern, said in _CAUSES if re.search(pattern, log_tail)), None)


def explain(name: str, code: int | None, log_tail: str, log_path: object) -> str:
    """Why `name` ended: one sentence, the cause if it is known, else what its log says last."""
    known = cause(log_tail)
    if known:
        return f"{name} {how_it_ended(code)}: {known} (log: {log_path})"
    lines = [line[:LONGEST_LINE] for line in log_tail.splitlines() if not _NOISE.search(line)][-LAST_LINES:]
    told = "".join(f"\n    {line}" for line in lines)
    return f"{name} {how_it_ended(code)} (log: {log_path}){told}"


def why_ended(process: Process) -> str:
    """Why this process ended. A full disk can keep its own last words out of its log, so the disk is asked too."""
    folder = process.log_path.parent
    full = folder.exists() and shutil.disk_usage(folder).free < FULL_DISK_BYTES
    tail = "No space left on device" if full else process.log_tail(LOOKED_AT_LINES)
    return explain(process.name, process.returncode, tail, process.log_path)
