"""A time series: what is asked, and the points that come of the rows found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from services.query.domain.calendar import begins, count, labels
from services.query.domain.catalogue import Grouping, Interval, Measure, NumericProperty
from shared.http.reasons import Code, Refused

MOST_BUCKETS: Final = 5_000
MOST_POINTS: Final = 50_000
EXACT: Final = Decimal("0.0001")


@dataclass(frozen=True)
class SeriesAsked:
    """[start, end). `of`: the property to sum; None unless `measure` is sum. `groups`: how many of the largest groups are told apart."""

    event: str
    measure: Measure
    of: NumericProperty | None
    interval: Interval
    start: datetime
    end: datetime
    zone: ZoneInfo
    group_by: Grouping | None
    groups: int


@dataclass(frozen=True)
class Point:
    at: datetime
    value: Decimal


@dataclass(frozen=True)
class Series:
    """`group`: the value of the grouping; None without one, "" where an event has no such property."""

    group: str | None
    points: tuple[Point, ...]


def check(asked: SeriesAsked) -> None:
    """Raises Refused (400) if nothing sensible can come of it."""
    if asked.end <= asked.start:
        raise _refused("to: must be later than from", "to")
    if (asked.measure is Measure.SUM) != (asked.of is not None):
        raise _refused("property: give it with the measure sum, and only with it", "property")
    buckets = count(asked.start, asked.end, asked.interval)
    if buckets > MOST_BUCKETS or buckets * (asked.groups if asked.group_by else 1) > MOST_POINTS:
        raise Refused(400, Code.QUERY_TOO_LARGE, "too many points: take a larger interval, a shorter time or fewer groups", "interval")


def series(asked: SeriesAsked, rows: Sequence[Mapping[str, Any]]) -> list[Series]:
    """Every group's points, buckets without events as 0, the largest group first. A row: `bucket` (its label), `group`, `value`."""
    every = list(labels(asked.start, asked.end, asked.interval, asked.zone))
    nothing = EXACT * 0 if asked.measure is Measure.SUM else Decimal(0)
    by_group: dict[str | None, dict[str, Decimal]] = {} if asked.group_by else {None: {}}
    for row in rows:
        group = str(row["group"]) if asked.group_by else None
        value = Decimal(str(row["value"]))
        by_group.setdefault(group, {})[str(row["bucket"])] = value.quantize(EXACT) if asked.measure is Measure.SUM else value
    found = [
        Series(
            group,
            tuple(
                Point(begins(label, asked.interval, asked.zone), values.get(label, nothing))
                for label in sorted({*every, *values}, key=lambda label: begins(label, asked.interval, asked.zone))
            ),
        )
        for group, values in by_group.items()
    ]
    return sorted(found, key=lambda one: (-sum(point.value for point in one.points), one.group or ""))


def _refused(message: str, field: str) -> Refused:
    return Refused(400, Code.INVALID_REQUEST, message, field)
