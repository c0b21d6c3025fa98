"""Says in plain words why a part ended, from its exit code and the end of its log."""

import re
import signal

LAST_LINES = 6

_CAUSES = (
    (r"No space left on device|ENOSPC|disk is full", "the disk is full: make room and it goes on"),
    (r"Address already in use|EADDRINUSE|Failed to bind|Address in use", "its port was taken by another program"),
    (r"OutOfMemoryError|MemoryError|Cannot allocate memory", "it ran out of memory"),
    (r"Permission denied", "it may not read or write one of its files"),
    (r"No module named '?(?P<module>[\w.]+)", "a part of the installation is missing: delete .venv and run `make` again"),
)


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
    """Why `name` ended: one sentence, the cause if it is known, else the last lines of its log."""
    known = cause(log_tail)
    if known:
        return f"{name} {how_it_ended(code)}: {known} (log: {log_path})"
    lines = [line for line in log_tail.splitlines() if line.strip()][-LAST_LINES:]
    told = "".join(f"\n    {line}" for line in lines)
    return f"{name} {how_it_ended(code)} (log: {log_path}){told}"
