"""Waits for what will come true, with a deadline."""

import threading
import time
from collections.abc import Callable


def until(holds: Callable[[], bool], deadline_s: float = 30) -> None:
    """Return once `holds()`; fails after `deadline_s` seconds."""
    end = time.monotonic() + deadline_s
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < end, "it did not come true in time"
        pause.wait(0.05)
