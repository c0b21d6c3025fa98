"""Segment rules answered the slow way, over raw events with dates and decimals: what features and buckets are held to in tests."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import assert_never
from zoneinfo import ZoneInfo

from shared.definitions.durations import DAY_MS, HOUR_MS, MINUTE_MS
from shared.definitions.rules import All, AnyOf, Compare, CompareCount, Condition, Did, DidNot, First, Last, NoneOf, Rule, Trait, Windowed

Json = str | bool | int | Decimal | None


@dataclass(frozen=True)
class Happening:
    """A track of `event` with `values` as properties, or, without a name, an identify with `values` as traits. `at`: epoch ms."""

    at: int
    message_id: str
    event: str | None
    values: dict[str, Json] = field(default_factory=dict)


def holds(rule: Rule, history: Sequence[Happening], now: int, zone: str) -> bool:
    """Whether somebody with this history is in at `now`."""
    match rule:
        case All():
            return all(holds(part, history, now, zone) for part in rule.all)
        case AnyOf():
            return any(holds(part, history, now, zone) for part in rule.any)
        case NoneOf():
            return not any(holds(part, history, now, zone) for part in rule.none)
        case Trait():
            return _fulfils(rule, trait(history, rule.trait))
        case First():
            times = [one.at for one in _matching(rule.first, rule.where, history)]
            return bool(times) and _in_window(rule, min(times), now, zone)
        case Last():
            times = [one.at for one in _matching(rule.last, rule.where, history)]
            return bool(times) and _in_window(rule, max(times), now, zone)
        case Did():
            return _did(rule, rule.did, history, now, zone)
        case DidNot():
            return not _did(rule, rule.did_not, history, now, zone)
        case _:
            assert_never(rule)


def trait(history: Sequence[Happening], name: str) -> Json:
    """The trait's last value: by time, then by message id."""
    said = [one for one in history if one.event is None and name in one.values]
    return max(said, key=lambda one: (one.at, one.message_id)).values[name] if said else None


def _did(rule: Did | DidNot, event: str, history: Sequence[Happening], now: int, zone: str) -> bool:
    happened = [one for one in _matching(event, rule.where, history) if _in_window(rule, one.at, now, zone)]
    if rule.count is not None:
        return _within_bounds(rule.count, Decimal(len(happened)))
    for aggregate, function in ((rule.sum, sum), (rule.min, min), (rule.max, max)):
        if aggregate is not None:
            numbers = [number for one in happened if (number := _number(one.values.get(aggregate.of))) is not None]
            if not numbers and function is not sum:
                return False
            return _within_bounds(aggregate, Decimal(function(numbers)))
    return bool(happened)


def _matching(event: str, where: dict[str, Condition], history: Sequence[Happening]) -> list[Happening]:
    return [
        one for one in history if one.event == event and all(_fulfils(condition, one.values.get(name)) for name, condition in where.items())
    ]


def _in_window(rule: Windowed, at: int, now: int, zone: str) -> bool:
    if rule.within is not None:
        return _age(at, now, rule.within.ms, zone) < rule.within.ms
    if rule.between is not None:
        older, newer = rule.between
        return newer.ms <= _age(at, now, older.ms, zone) < older.ms
    return True


def _age(at: int, now: int, reach: int, zone: str) -> int:
    """How old, in whole buckets but said in ms: minutes up to a day of reach, hours up to 30 days, else days of the zone."""
    if reach <= DAY_MS:
        return (now // MINUTE_MS - at // MINUTE_MS) * MINUTE_MS
    if reach <= 30 * DAY_MS:
        return (now // HOUR_MS - at // HOUR_MS) * HOUR_MS
    dates = [datetime.fromtimestamp(instant // 1000, UTC).astimezone(ZoneInfo(zone)).date() for instant in (now, at)]
    return (dates[0] - dates[1]).days * DAY_MS


def _number(value: Json) -> Decimal | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | Decimal):
        return Decimal(value)
    try:
        return Decimal(value) if value and value[-1].isdigit() else None
    except ArithmeticError:
        return None


def _within_bounds(bounds: Compare | CompareCount, value: Decimal) -> bool:
    return (
        (bounds.gte is None or value >= bounds.gte)
        and (bounds.gt is None or value > bounds.gt)
        and (bounds.lte is None or value <= bounds.lte)
        and (bounds.lt is None or value < bounds.lt)
        and (bounds.eq is None or value == bounds.eq)
    )


def _fulfils(condition: Condition, value: Json) -> bool:
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


def _equal(literal: str | bool | Decimal, value: Json) -> bool:
    if isinstance(literal, bool) or isinstance(value, bool):
        return literal is value
    if isinstance(literal, str):
        return isinstance(value, str) and value == literal
    return _number(value) == literal
