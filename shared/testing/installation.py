"""An installation with another number of partitions, for the length of a test."""

from collections.abc import Iterator
from contextlib import contextmanager

from shared.contracts import slots


@contextmanager
def partitions(count: int) -> Iterator[None]:
    """Everything inside has `count` partitions: what was computed for another count is forgotten, here and afterwards."""
    before = slots._Installation.partitions
    slots._Installation.partitions = count
    slots.slot.cache_clear()
    try:
        yield
    finally:
        slots._Installation.partitions = before
        slots.slot.cache_clear()
