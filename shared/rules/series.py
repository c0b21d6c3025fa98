"""The feature of most leaves: a number per time bucket of the events of one name that fulfil a filter."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Final, NewType

from shared.contracts.membership_blob import Membership, Value
from shared.definitions.conditions import number_of
from shared.definitions.models import canonical
from shared.definitions.numbers import MAX_AMOUNT, is_too_large
from shared.definitions.rules import Condition
from shared.rules.buckets import Calendar, Numbers, Unit
from shared.rules.feature import Said, Seen, Take
from shared.rules.pairs import Combine, add, dropped_at, lowest_kept, prune, united
from shared.rules.sums import add_sum, prune_beyond, unite_sums
from shared.rules.values import FILL, Where, where_test

SeriesId = NewType("SeriesId", str)


class Measure(StrEnum):
    """What a series keeps of the events in a bucket. FIRST, LAST: the earliest and latest event time, epoch ms."""

    COUNT = "count"
    SUM = "sum"
    MIN = "min"
    MAX = "max"
    FIRST = "first"
    LAST = "last"


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


def where_text(where: Mapping[str, Condition]) -> str:
    """A filter's canonical text."""
    return json.dumps({name: canonical(condition) for name, condition in where.items()}, sort_keys=True, ensure_ascii=False)


def series(event: str, where: Mapping[str, Condition], measure: Measure, of: str | None, unit: Unit, calendar: Calendar) -> "Series":
    """The series of `event` in buckets of `unit`."""
    return Series(SeriesKey(event, where_text(where), measure, of, unit, calendar.zone if unit is Unit.DAY else None), where, calendar)


@dataclass(frozen=True)
class Series:
    """A series of one person. It stands in `Membership.series`; sums that do not fit in `Membership.beyond`."""

    key: SeriesKey
    filter: Mapping[str, Condition] = field(compare=False)
    calendar: Calendar = field(compare=False)

    trait: str | None = field(default=None, init=False, compare=False)

    @cached_property
    def id(self) -> str:
        return self.key.id

    @cached_property
    def unit(self) -> Unit:
        return self.key.unit

    @cached_property
    def combine(self) -> Combine:
        return COMBINE[self.key.measure]

    @property
    def events(self) -> tuple[str, ...]:
        return (self.key.event,)

    @property
    def properties(self) -> tuple[str, ...]:
        return (*self.filter, *([] if self.key.of is None else [self.key.of]))

    def where(self, places: Mapping[str, int]) -> Where | None:
        return where_test(self.filter, places)

    def take(self, event: str, places: Mapping[str, int]) -> Take:
        name, unit, combine = self.id, self.unit, self.combine

        def combined(state: Membership, seen: Seen, value: int) -> None:
            pairs = state.series.get(name)
            if pairs is None:
                state.series[name] = [seen.numbers[unit], value]
            else:
                add(pairs, seen.numbers[unit], value, combine)

        def count(state: Membership, values: tuple[Value, ...], seen: Seen) -> int:
            combined(state, seen, 1)
            return 0

        def time(state: Membership, values: tuple[Value, ...], seen: Seen) -> int:
            combined(state, seen, seen.at)
            return 0

        def measured(state: Membership, values: tuple[Value, ...], seen: Seen) -> int:
            number = number_of(values[place])
            if number is None or not -MAX_AMOUNT <= number <= MAX_AMOUNT:
                return _out_of_range(values[place], number)
            if is_sum:
                return not add_sum(state, name, seen.numbers[unit], number)
            combined(state, seen, number)
            return 0

        match self.key.measure:
            case Measure.COUNT:
                return count
            case Measure.FIRST | Measure.LAST:
                return time
            case _:
                is_sum, place = self.key.measure is Measure.SUM, places[self.key.of or ""]
                return measured

    def take_trait(self, state: Membership, raw: bytes, said: Said) -> bool:
        return False

    def unite(self, winner: Membership, loser: Membership) -> None:
        if self.key.measure is Measure.SUM:
            unite_sums(winner, loser, self.id)
            return
        theirs = loser.series.get(self.id, [])
        mine = winner.series.get(self.id)
        winner.series[self.id] = list(theirs) if mine is None else united(mine, theirs, self.combine)

    def prune(self, state: Membership, now: Numbers, keep: int) -> int:
        if not keep:
            return 0
        lowest = lowest_kept(self.unit, keep, now[self.unit])
        pairs = state.series.get(self.id)
        first: int | None = None
        if pairs is not None:
            prune(pairs, lowest)
            if pairs:
                first = pairs[0]
            else:
                del state.series[self.id]
        if state.beyond:
            other = prune_beyond(state, self.id, lowest)
            first = other if first is None or (other is not None and other < first) else first
        return 0 if first is None else self.calendar.start(self.unit, dropped_at(self.unit, keep, first))


def _out_of_range(value: Value, number: int | None) -> bool:
    """Whether what counts as absent is a number at all."""
    return number is not None or (isinstance(value, str) and is_too_large(value.rstrip(FILL)))
