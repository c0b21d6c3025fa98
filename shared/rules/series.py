"""Features: what is kept of a person's events so that rules can be answered without them.

A series is one number per time bucket, combined by an operation that is commutative and associative, so any order of the same events
gives the same series. It stands as a flat list, bucket, value, bucket, value, …, by ascending bucket.
"""

import base64
import hashlib
import json
from bisect import bisect_left
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType

from shared.rules.buckets import Unit

SeriesId = NewType("SeriesId", str)

MAX_TOTAL: Final = 2**63 - 1
"""A sum beyond ± this does not fit 64 bits: its bucket counts as absent while it is (sums.py)."""

_GRID: Final = {Unit.MINUTE: 60, Unit.HOUR: 24, Unit.DAY: 1}
"""Buckets are dropped in blocks of so many: whole hours of minutes and whole days of hours, so that dropping wakes nobody each minute."""


class Measure(StrEnum):
    """What a series keeps of the events in a bucket. FIRST, LAST: the earliest and latest event time, epoch ms."""

    COUNT = "count"
    SUM = "sum"
    MIN = "min"
    MAX = "max"
    FIRST = "first"
    LAST = "last"


class Combine(StrEnum):
    """How two values of one bucket become one."""

    ADD = "add"
    LEAST = "least"
    GREATEST = "greatest"


COMBINE: Final = {
    Measure.COUNT: Combine.ADD,
    Measure.SUM: Combine.ADD,
    Measure.MIN: Combine.LEAST,
    Measure.MAX: Combine.GREATEST,
    Measure.FIRST: Combine.LEAST,
    Measure.LAST: Combine.GREATEST,
}


@dataclass(frozen=True)
class SeriesKey:
    """What makes two features the same: all segments that need it share it.

    `where`: the filter's canonical text. `of`: the property that is measured. `zone`: the time zone of its days, where it has any.
    """

    event: str
    where: str
    measure: Measure
    of: str | None
    unit: Unit
    zone: str | None

    @property
    def id(self) -> SeriesId:
        """Six characters of a hash, stable over restarts and over changes to other definitions."""
        text = json.dumps([self.event, self.where, self.measure, self.of, self.unit.name, self.zone], ensure_ascii=False)
        return SeriesId(base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:5]).decode()[:6])


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
