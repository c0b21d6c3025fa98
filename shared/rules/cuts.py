"""The leaves that ask one gauge: which of them hold of a value, and which change their answer between two values.

A gauge that a thousand leaves ask with different bounds costs what it costs with one, and the leaves that change.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

NO_LOW: Final = -(2**80)
NO_HIGH: Final = 2**80
"""Open bounds: beyond any sum of 64-bit numbers."""
NOTHING: Final = -(2**81)
"""The value of a gauge where there is nothing to measure: within no bounds."""

Reading = Any
"""What a gauge says: a whole number, or for tests whatever they take."""


class Answered(Protocol):
    """The leaves of one gauge."""

    def changed(self, before: Reading, after: Reading) -> Sequence[int]:
        """The leaves whose answer is another one for `after` than for `before`."""

    def rank(self, value: Reading) -> object:
        """Equal ranks: every leaf answers the same."""

    def above(self, value: Reading) -> int | None:
        """The next greater value at which a leaf may change; None: there is none, or values have no order."""


class Bounds:
    """Leaves that hold of whole numbers of an interval each."""

    def __init__(self, leaves: Sequence[tuple[int, int, int]]) -> None:
        """`leaves`: (leaf, least, greatest)."""
        self._bounds = {leaf: (low, high) for leaf, low, high in leaves}
        cuts = sorted([(low, leaf) for leaf, low, _ in leaves] + [(high + 1, leaf) for leaf, _, high in leaves if high < NO_HIGH])
        self._cuts = [cut for cut, _ in cuts]
        self._leaves = [leaf for _, leaf in cuts]

    def changed(self, before: int, after: int) -> list[int]:
        low, high = (before, after) if before < after else (after, before)
        between = self._leaves[bisect_right(self._cuts, low) : bisect_right(self._cuts, high)]
        return [leaf for leaf in between if self._holds(leaf, before) != self._holds(leaf, after)]

    def _holds(self, leaf: int, value: int) -> bool:
        low, high = self._bounds[leaf]
        return low <= value <= high

    def rank(self, value: int) -> int:
        return bisect_right(self._cuts, value)

    def above(self, value: int) -> int | None:
        place = bisect_right(self._cuts, value)
        return self._cuts[place] if place < len(self._cuts) else None


class Tests:
    """Leaves that are functions of a value."""

    def __init__(self, leaves: Sequence[tuple[int, Callable[[Any], bool]]]) -> None:
        self._leaves = leaves

    def changed(self, before: Reading, after: Reading) -> list[int]:
        return [leaf for leaf, test in self._leaves if test(before) != test(after)]

    def rank(self, value: Reading) -> tuple[bool, ...]:
        return tuple(test(value) for _, test in self._leaves)

    def above(self, value: Reading) -> int | None:
        return None
