"""Windows as instants. Borders of buckets are found here, by the calendar that the stream uses; ClickHouse only compares times.

So no time zone is ClickHouse's: neither its table of zones nor how it counts days around a change of the clocks can differ.
"""

from dataclasses import dataclass
from datetime import date
from typing import Final

from shared.definitions.durations import DAY_MS
from shared.definitions.rules import Windowed, bucket_ms
from shared.rules.buckets import Calendar, Unit, unit_for

_FIRST_DAY: Final = (date(1899, 12, 31) - date(1970, 1, 1)).days
"""Nothing is older: ingest takes no time before 1900. A window may reach back beyond all calendars."""


@dataclass(frozen=True)
class Window:
    """Which instants, epoch ms, are in: from `start` (None: from ever) to before `end` (None: also ahead of now), in buckets of `unit`."""

    unit: Unit
    start: int | None
    end: int | None


def window_of(rule: Windowed, calendar: Calendar, now: int) -> Window:
    """The window of a leaf at `now`. What lies ahead of `now` is as old as `now`: it has been read before the clock record that follows."""
    edges = rule.between or ((rule.within,) if rule.within is not None else ())
    if not edges:
        return Window(Unit.EVER, None, None)
    unit, length = unit_for(edges[0]), bucket_ms(edges[0])
    starts = [calendar.start(unit, _after(unit, calendar.bucket(unit, now), edge.ms // length)) for edge in edges]
    return Window(unit, starts[0], starts[1] if len(starts) == 2 else None)


def _after(unit: Unit, current: int, age: int) -> int:
    """The first bucket of less than this age."""
    bucket = current - age + 1
    return max(bucket, _FIRST_DAY) if unit is Unit.DAY else bucket


def day_anchors(window: Window, calendar: Calendar, now: int) -> tuple[int, ...]:
    """Starts of days in a window, such that from one to the next every day has 24 hours: two or so for each change of clocks."""
    day, last = calendar.bucket(Unit.DAY, window.start or 0), calendar.bucket(Unit.DAY, now) + 1
    anchors = [calendar.start(Unit.DAY, day)]
    before = anchors[0]
    while day < last:
        day += 1
        start = calendar.start(Unit.DAY, day)
        if start - before != DAY_MS:
            anchors.append(start)
        before = start
    return tuple(anchors)
