"""Waits between attempts that grow: whoever waits for a server neither hammers it nor comes back in step with all others."""

import random
from collections.abc import Callable


class Backoff:
    """Each wait is drawn between half of a bound and the whole; the bound doubles from `first` to `longest`. In seconds."""

    def __init__(self, first: float, longest: float, draw: Callable[[], float] = random.random) -> None:
        """`draw`: a number between 0 and 1."""
        self._first, self._longest, self._draw = first, longest, draw
        self._bound = first

    def next(self) -> float:
        """The wait before the next attempt."""
        bound, self._bound = self._bound, min(self._bound * 2, self._longest)
        return bound * (1 + self._draw()) / 2

    def reset(self) -> None:
        """An attempt went well: the next wait is a first one again."""
        self._bound = self._first
