"""Calendar buckets of a time zone: their labels, as ClickHouse makes them too, and the instants at which they begin."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import assert_never
from zoneinfo import ZoneInfo

from services.query.domain.catalogue import Interval

HOUR = timedelta(hours=1)


def labels(start: datetime, end: datetime, interval: Interval, zone: ZoneInfo) -> Iterator[str]:
    """The labels of all buckets that [start, end) touches, in order."""
    if interval is Interval.HOUR:
        at = _hour_of(start, zone)
        while at < end:
            yield str(int(at.timestamp()))
            at = _hour_of(at + HOUR, zone)
        return
    day = first_day(start.astimezone(zone).date(), interval)
    last = (end - timedelta(microseconds=1)).astimezone(zone).date()
    while day <= last:
        yield day.isoformat()
        if interval is Interval.DAY:
            day += timedelta(days=1)
        elif interval is Interval.WEEK:
            day += timedelta(days=7)
        else:
            day = (day.replace(day=28) + timedelta(days=4)).replace(day=1)


def begins(label: str, interval: Interval, zone: ZoneInfo) -> datetime:
    """The instant, UTC, at which the bucket called `label` begins."""
    if interval is Interval.HOUR:
        return datetime.fromtimestamp(int(label), UTC)
    day = date.fromisoformat(label)
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def first_day(day: date, interval: Interval) -> date:
    """The first day of the day's bucket."""
    match interval:
        case Interval.DAY | Interval.HOUR:
            return day
        case Interval.WEEK:
            return day - timedelta(days=day.weekday())
        case Interval.MONTH:
            return day.replace(day=1)
        case _:
            assert_never(interval)


def count(start: datetime, end: datetime, interval: Interval) -> int:
    """About how many buckets [start, end) touches; never too few by more than two."""
    days = (end - start) / timedelta(days=1)
    per_day = {Interval.HOUR: 24.0, Interval.DAY: 1.0, Interval.WEEK: 1 / 7, Interval.MONTH: 1 / 31}
    return int(days * per_day[interval]) + 1


def _hour_of(at: datetime, zone: ZoneInfo) -> datetime:
    """The instant, UTC, at which the zone's clock hour of `at` began: zones may be off by half and quarter hours."""
    local = at.astimezone(zone)
    return at.astimezone(UTC) - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
