"""Rules answered the slow way, over raw events with dates and decimals: what features, buckets and SQL are held to in tests.

The leaves' own part stands in their files (`Leaf.holds_of`); here is what they share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from shared.definitions.durations import DAY_MS, HOUR_MS, MINUTE_MS
from shared.definitions.rules import Compare, CompareCount, Condition, Windowed

Json = str | bool | int | Decimal | None


@dataclass(frozen=True)
class Happening:
    """A track of `event` with `values` as properties, or, without a name, an identify with `values` as traits. `at`: epoch ms."""

    at: int
    message_id: str
    event: str | None
    values: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Past:
    """All that one person did, seen at `now`, with days of `zone`. `in_segment`: the answers of other segments."""

    history: Sequence[Happening]
    now: int
    zone: str
    in_segment: Mapping[str, bool] = field(default_factory=dict)

    def events(self, name: str, where: Mapping[str, Condition]) -> list[Happening]:
        """The events of one name that fulfil a filter."""
        return [
            one
            for one in self.history
            if one.event == name and all(self.fulfils(condition, one.values.get(field)) for field, condition in where.items())
        ]

    def trait(self, name: str) -> Json:
        """The trait's last value: by time, then by message id."""
        said = [one for one in self.history if one.event is None and name in one.values]
        return max(said, key=lambda one: (one.at, one.message_id)).values[name] if said else None

    def in_window(self, rule: Windowed, at: int) -> bool:
        if rule.within is not None:
            return self._age(at, rule.within.ms) < rule.within.ms
        if rule.between is not None:
            older, newer = rule.between
            return newer.ms <= self._age(at, older.ms) < older.ms
        return True

    def _age(self, at: int, reach: int) -> int:
        """How old, in whole buckets but said in ms: minutes up to a day of reach, hours up to 30 days, else days of the zone."""
        if reach <= DAY_MS:
            return (self.now // MINUTE_MS - at // MINUTE_MS) * MINUTE_MS
        if reach <= 30 * DAY_MS:
            return (self.now // HOUR_MS - at // HOUR_MS) * HOUR_MS
        dates = [datetime.fromtimestamp(instant // 1000, UTC).astimezone(ZoneInfo(self.zone)).date() for instant in (self.now, at)]
        return (dates[0] - dates[1]).days * DAY_MS

    def numbers(self, events: Sequence[Happening], of: str) -> list[Decimal]:
        """The property `of` of those events that have a number there."""
        return [number for one in events if (number := _number(one.values.get(of))) is not None]

    def within(self, bounds: Compare | CompareCount, value: Decimal | int) -> bool:
        return (
            (bounds.gte is None or value >= bounds.gte)
            and (bounds.gt is None or value > bounds.gt)
            and (bounds.lte is None or value <= bounds.lte)
            and (bounds.lt is None or value < bounds.lt)
            and (bounds.eq is None or value == bounds.eq)
        )

    def fulfils(self, condition: Condition, value: Json) -> bool:
        checks = []
        if condition.is_ is not None:
            checks.append(_equal(condition.is_, value))
        if condition.is_not is not None:
            checks.append(not _equal(condition.is_not, value))
        if condition.in_ is not None:
            checks.append(any(_equal(literal, value) for literal in condition.in_))
        if condition.exists is not None:
            checks.append((value is not None) is condition.exists)
        number = _number(value)
        if number is None:
            checks.extend(bound is None for bound in (condition.gt, condition.gte, condition.lt, condition.lte))
        else:
            checks.append(condition.gt is None or number > condition.gt)
            checks.append(condition.gte is None or number >= condition.gte)
            checks.append(condition.lt is None or number < condition.lt)
            checks.append(condition.lte is None or number <= condition.lte)
        return all(checks)


def _number(value: Json) -> Decimal | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | Decimal):
        return Decimal(value)
    try:
        return Decimal(value) if value and value[-1].isdigit() else None
    except ArithmeticError:
        return None


def _equal(literal: str | bool | Decimal, value: Json) -> bool:
    if isinstance(literal, bool) or isinstance(value, bool):
        return literal is value
    if isinstance(literal, str):
        return isinstance(value, str) and value == literal
    return _number(value) == literal
