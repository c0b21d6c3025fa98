"""Waits for what will come true, with a deadline."""

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
