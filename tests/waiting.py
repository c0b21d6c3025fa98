"""Waits for what will come true, with a deadline."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(what: str | Callable[[], str], holds: Callable[[], T | None], deadline_s: float = 60.0) -> T:
    """The first true answer of `holds`. Raises AssertionError naming `what` if there is none in time."""
    end = time.monotonic() + deadline_s
    while not (answer := holds()):
        assert time.monotonic() < end, f"not within {deadline_s:g} s: {what if isinstance(what, str) else what()}"
        time.sleep(0.05)
    return answer


async def wait_for(what: str, holds: Callable[[], object], deadline_s: float = 60.0) -> None:
    """As `wait_until`, while other tasks of the loop go on."""
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        await asyncio.sleep(0.01)
