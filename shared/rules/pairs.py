"""One number per time bucket: a flat list, bucket, value, bucket, value, …, by ascending bucket.

Values of one bucket are combined by an operation that is commutative and associative, so any order of the same events gives the same list.
"""

from bisect import bisect_left
from enum import StrEnum
from typing import Final

from shared.rules.buckets import Unit

MAX_TOTAL: Final = 2**63 - 1
"""A sum beyond ± this does not fit 64 bits: its bucket counts as absent while it is (sums.py)."""

_GRID: Final = {Unit.MINUTE: 60, Unit.HOUR: 24, Unit.DAY: 1}
"""Buckets are dropped in blocks of so many: whole hours of minutes and whole days of hours, so that dropping wakes nobody each minute."""


class Combine(StrEnum):
    """How two values of one bucket become one."""

    ADD = "add"
    LEAST = "least"
    GREATEST = "greatest"


def add(pairs: list[int], bucket: int, value: int, combine: Combine) -> None:
    """Combine `value` into `bucket`."""
    if not pairs or bucket > pairs[-2]:
        pairs.append(bucket)
        pairs.append(value)
        return
    place = len(pairs) - 2 if bucket == pairs[-2] else 2 * bisect_left(pairs[::2], bucket)
    if pairs[place] != bucket:
        pairs[place:place] = (bucket, value)
    elif combine is Combine.ADD:
        pairs[place + 1] += value
    elif combine is Combine.LEAST:
        pairs[place + 1] = min(pairs[place + 1], value)
    else:
        pairs[place + 1] = max(pairs[place + 1], value)


def united(one: list[int], two: list[int], combine: Combine) -> list[int]:
    """Both series as one."""
    pairs = list(one)
    for place in range(0, len(two), 2):
        add(pairs, two[place], two[place + 1], combine)
    return pairs


def lowest_kept(unit: Unit, keep: int, now_bucket: int) -> int:
    """The first bucket that is kept at `now_bucket` when windows reach `keep` buckets back. It depends on time alone, and never falls."""
    grid = _GRID[unit]
    return (now_bucket - keep + 1) // grid * grid


def dropped_at(unit: Unit, keep: int, bucket: int) -> int:
    """The bucket at whose beginning `bucket` is dropped."""
    grid = _GRID[unit]
    return (bucket // grid + 1) * grid + keep - 1


def prune(pairs: list[int], lowest: int) -> None:
    """Drop every bucket below `lowest`."""
    if pairs and pairs[0] < lowest:
        del pairs[: 2 * bisect_left(pairs[::2], lowest)]
