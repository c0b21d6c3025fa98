"""Time in buckets. Windows begin and end on bucket borders, so that any two engines that count buckets agree exactly.

A bucket's number counts from 1970: minutes and hours of UTC, days of the installation's zone.
"""

from datetime import UTC, date, datetime, timedelta
from enum import IntEnum
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from shared.definitions.durations import DAY_MS, HOUR_MS, MINUTE_MS, Duration
from shared.definitions.rules import bucket_ms


class Unit(IntEnum):
    """The size of a series' buckets. EVER: one bucket, number 0, for all time."""

    EVER = 0
    MINUTE = 1
    HOUR = 2
    DAY = 3


_UNIT_OF_LENGTH: Final = {MINUTE_MS: Unit.MINUTE, HOUR_MS: Unit.HOUR, DAY_MS: Unit.DAY}
_EPOCH: Final = date(1970, 1, 1)


def unit_for(reach: Duration) -> Unit:
    """The bucket of a window that reaches `reach` back: minutes up to a day, hours up to 30 days, else days."""
    return _UNIT_OF_LENGTH[bucket_ms(reach)]


Numbers = tuple[int, int, int, int, int]
"""An instant: the numbers of the buckets that hold it, indexed by unit, and then itself, epoch ms."""
INSTANT: Final = 4


class Calendar:
    """Buckets of instants and back, in one time zone. Instants are epoch ms from 1970 on."""

    def __init__(self, zone: str) -> None:
        """Raises zoneinfo.ZoneInfoNotFoundError (a KeyError) or ValueError if there is no such zone."""
        self.zone = zone
        self._info = ZoneInfo(zone)
        self._utc = zone == "UTC"
        self._day_start = lru_cache(maxsize=65_536)(self._find_day_start)

    def bucket(self, unit: Unit, at: int) -> int:
        """The number of the bucket that holds `at`."""
        if unit is Unit.DAY:
            return at // DAY_MS if self._utc else self._day(at)
        if unit is Unit.HOUR:
            return at // HOUR_MS
        return at // MINUTE_MS if unit is Unit.MINUTE else 0

    def start(self, unit: Unit, bucket: int) -> int:
        """The first instant of a bucket."""
        if unit is Unit.DAY:
            return bucket * DAY_MS if self._utc else self._day_start(bucket)
        if unit is Unit.HOUR:
            return bucket * HOUR_MS
        return bucket * MINUTE_MS if unit is Unit.MINUTE else 0

    def numbers(self, at: int) -> Numbers:
        """The instant `at` as the numbers of the buckets that hold it."""
        return (0, at // MINUTE_MS, at // HOUR_MS, at // DAY_MS if self._utc else self._day(at), at)

    def _day(self, at: int) -> int:
        day = at // DAY_MS
        while self._day_start(day) > at:
            day -= 1
        while self._day_start(day + 1) <= at:
            day += 1
        return day

    def _find_day_start(self, day: int) -> int:
        """Local midnight; where the clock jumps over it, the instant of the jump."""
        local = _EPOCH + timedelta(days=day)
        midnight = datetime(local.year, local.month, local.day, tzinfo=self._info)
        return int(midnight.astimezone(UTC).timestamp()) * 1000
