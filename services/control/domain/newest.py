"""The newest records of a topic, a page at a time, over partitions that each keep their own order."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar


class Placed(Protocol):
    """A record that was read: `timestamp` is log-append time, epoch ms."""

    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...


P = TypeVar("P", bound=Placed)
Bounds = Mapping[int, tuple[int, int]]
"""Partition -> (first offset, next offset)."""


def windows(bounds: Bounds, before: Mapping[int, int], size: int) -> dict[int, tuple[int, int]]:
    """The ranges [start, end) to read: of each partition the last `size` records below `before` (its end, if `before` has none)."""
    found = {}
    for partition, (first, end) in bounds.items():
        below = min(before.get(partition, end), end)
        if below > first:
            found[partition] = (max(first, below - size), below)
    return found


def newest(
    records: Sequence[P], read: Mapping[int, tuple[int, int]], bounds: Bounds, limit: int, wanted: Callable[[P], bool]
) -> tuple[list[P], dict[int, int] | None]:
    """At most `limit` wanted records, newest first, and where to go on (`before`); None if nothing older is left.

    `records` are those of the ranges `read`. It stops as soon as a partition has been looked through whose older records were not
    read, for one of them might be next; so with a filter a page may be short, or empty, and yet not be the last.
    """
    before = {partition: end for partition, (_, end) in read.items()}
    taken: list[P] = []
    for record in sorted(records, key=lambda one: (one.timestamp, one.partition, one.offset), reverse=True):
        if len(taken) == limit:
            break
        start, _ = read[record.partition]
        before[record.partition] = record.offset
        if wanted(record):
            taken.append(record)
        if record.offset == start and start > bounds[record.partition][0]:
            break
    else:
        before = {partition: start for partition, (start, _) in read.items()}
    if all(below <= bounds[partition][0] for partition, below in before.items()):
        return taken, None
    return taken, {partition: before.get(partition, bounds[partition][0]) for partition in bounds}
