"""What leaves ask of features: a gauge reads one value at an instant, and says when time alone will next change an answer about it.

A window of n buckets ends with the current one: an event is in it while its age, in whole buckets, is below n. Buckets ahead of `now`
(an event is read before the clock record that follows it) count as age 0.
"""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final, Protocol

from shared.contracts.membership_blob import Membership
from shared.rules.buckets import Calendar, Numbers, Unit
from shared.rules.cuts import NOTHING, Answered, Reading
from shared.rules.feature import Feature
from shared.rules.pairs import Combine
from shared.rules.series import Series

BORDERS_AHEAD: Final = 32
"""So many borders are tried in search of the change; if it lies behind them, the gauge is looked at again at the last of them."""


class Gauge(Protocol):
    """Equal gauges are the same, and are read once for all leaves that ask them."""

    @property
    def features(self) -> tuple[Feature, ...]:
        """What it is read from."""

    @property
    def reach(self) -> int:
        """How many buckets of its features it looks back; 0: for ever."""

    def read(self, state: Membership, now: Numbers) -> Reading:
        """The value now."""

    def border(self, state: Membership, now: Numbers, leaves: Answered) -> int:
        """The instant, epoch ms, up to which none of `leaves` changes its answer by time alone; 0: none ever does."""


@dataclass(frozen=True)
class OfSeries:
    """A gauge over one series of numbers."""

    series: Series

    @property
    def features(self) -> tuple[Feature, ...]:
        return (self.series,)


@dataclass(frozen=True)
class Ever(OfSeries):
    """The aggregate of everything that ever happened, kept in one bucket."""

    @property
    def reach(self) -> int:
        return 0

    def read(self, state: Membership, now: Numbers) -> int:
        pairs = state.series.get(self.series.id)
        if pairs:
            return pairs[1]
        return 0 if self.series.combine is Combine.ADD else NOTHING

    def border(self, state: Membership, now: Numbers, leaves: Answered) -> int:
        return 0


@dataclass(frozen=True)
class Total(OfSeries):
    """The total of what happened less than `reach` buckets ago."""

    reach: int
    calendar: Calendar

    def read(self, state: Membership, now: Numbers) -> int:
        pairs = state.series.get(self.series.id, _NONE)
        return sum(pairs[self._first(pairs, now) + 1 :: 2])

    def border(self, state: Membership, now: Numbers, leaves: Answered) -> int:
        pairs = state.series.get(self.series.id, _NONE)
        end = len(pairs)
        first = self._first(pairs, now)
        total = sum(pairs[first + 1 :: 2])
        rank = leaves.rank(total)
        last = min(end, first + 2 * BORDERS_AHEAD)
        for place in range(first, last, 2):
            total -= pairs[place + 1]
            if leaves.rank(total) != rank:
                return self._start(pairs[place] + self.reach)
        return self._start(pairs[last - 2] + self.reach) if last < end else 0

    def _first(self, pairs: list[int], now: Numbers) -> int:
        """The place of the first bucket in the window."""
        lowest = now[self.series.unit] - self.reach
        if not pairs or pairs[0] > lowest:
            return 0  # nearly always: what lies before is dropped in time
        return 2 * bisect_right(pairs[::2], lowest)

    def _start(self, bucket: int) -> int:
        return self.calendar.start(self.series.unit, bucket)


_NONE: Final[list[int]] = []


@dataclass(frozen=True)
class Between(OfSeries):
    """The aggregate of what happened at least `inner` and less than `reach` buckets ago. `inner` 0: up to now."""

    reach: int
    inner: int
    calendar: Calendar

    def read(self, state: Membership, now: Numbers) -> int:
        pairs = state.series.get(self.series.id, _NONE)
        first, stop = self._window(pairs[::2], now)
        return self._aggregate(pairs[2 * first + 1 : 2 * stop : 2])

    def border(self, state: Membership, now: Numbers, leaves: Answered) -> int:
        pairs = state.series.get(self.series.id, _NONE)
        buckets, values = pairs[::2], pairs[1::2]
        first, stop = self._window(buckets, now)
        rank = leaves.rank(self._aggregate(values[first:stop]))
        end, border = len(buckets), 0
        for _ in range(BORDERS_AHEAD):
            if first >= end:
                return 0
            leaving = buckets[first] + self.reach
            border = leaving if stop >= end else min(leaving, buckets[stop] + self.inner)
            stop += stop < end and buckets[stop] + self.inner == border
            first += leaving == border
            if leaves.rank(self._aggregate(values[first:stop])) != rank:
                break
        return self.calendar.start(self.series.unit, border)

    def _window(self, buckets: list[int], now: Numbers) -> tuple[int, int]:
        current = now[self.series.unit]
        first = bisect_right(buckets, current - self.reach)
        return first, bisect_right(buckets, current - self.inner) if self.inner else len(buckets)

    def _aggregate(self, values: list[int]) -> int:
        if self.series.combine is Combine.ADD:
            return sum(values)
        if not values:
            return NOTHING
        return min(values) if self.series.combine is Combine.LEAST else max(values)


@dataclass(frozen=True)
class Age(OfSeries):
    """How many buckets of `unit` ago one event was (the first or the last); EVER: 0, if it ever was."""

    unit: Unit
    calendar: Calendar

    @property
    def reach(self) -> int:
        return 0

    def read(self, state: Membership, now: Numbers) -> int:
        pairs = state.series.get(self.series.id)
        return now[self.unit] - self.calendar.bucket(self.unit, pairs[1]) if pairs else NOTHING

    def border(self, state: Membership, now: Numbers, leaves: Answered) -> int:
        pairs = state.series.get(self.series.id)
        if not pairs or self.unit is Unit.EVER:
            return 0
        bucket = self.calendar.bucket(self.unit, pairs[1])
        cut = leaves.above(now[self.unit] - bucket)
        return 0 if cut is None else self.calendar.start(self.unit, bucket + cut)
