"""What leaves gather of a person's rows, and what they say of it. Each leaf's own part stands in its file (`Leaf.sql`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from shared.definitions.conditions import interval
from shared.definitions.durations import DAY_MS, HOUR_MS, MINUTE_MS
from shared.definitions.numbers import MAX_AMOUNT
from shared.definitions.rules import Aggregate, Condition, Windowed
from shared.rules.buckets import Calendar, Unit
from shared.rules.pairs import MAX_TOTAL
from shared.rules.sql.conditions import condition, every, some, within
from shared.rules.sql.reading import Reading, Section
from shared.rules.sql.windows import Window, day_anchors, window_of

_LENGTHS: Final = {Unit.MINUTE: MINUTE_MS, Unit.HOUR: HOUR_MS}


@dataclass(frozen=True)
class Happened:
    """The events that a leaf asks for: of one name, fulfilling a filter, in a window."""

    event: str
    where: Mapping[str, Condition]
    window: Windowed


@dataclass(frozen=True)
class Gathering:
    """What a leaf is said in SQL with, at one instant. Each answer is an expression over a person's row, never NULL.

    What it needs of events is left with `reading`. `segments`: the answers of those segments that come before.
    """

    reading: Reading
    calendar: Calendar
    now: int
    segments: dict[str, str] = field(default_factory=dict)

    def count(self, of: Happened, low: int | None, high: int | None) -> str:
        """How many there were."""
        count = self.reading.aggregate(f"countIf({every(self._rows(of))})")
        return within(count, low, high, self.reading.parameters)

    def extreme(self, name: str, of: Happened, bounds: Aggregate) -> str:
        """The `min` or `max` of a property: over no number it holds for nothing."""
        number, rows = self._numbers(of, bounds.of)
        found = self.reading.aggregate(f"{name}OrNullIf({number}, {rows})")
        return f"ifNull({self._within(found, bounds)}, false)"

    def sum(self, of: Happened, bounds: Aggregate) -> str:
        """The sum of a property: a bucket whose sum does not fit 64 bits counts as absent (shared/rules/sums.py)."""
        number, rows = self._numbers(of, bounds.of)
        bucket = self._bucket(window_of(of.window, self.calendar, self.now))
        sums = self.reading.aggregate(f"sumMapIf([{bucket}], [toInt128(ifNull({number}, 0))], {rows}).2")
        return self._within(f"arraySum(arrayFilter(x -> x BETWEEN -{MAX_TOTAL} AND {MAX_TOTAL}, {sums}))", bounds)

    def first(self, of: Happened) -> str:
        """Whether the first there ever was is in the window."""
        return self._aged("min", of, None)

    def last(self, of: Happened) -> str:
        """Whether the last one is in the window."""
        return self._aged("max", of, window_of(of.window, self.calendar, self.now).start)

    def trait(self, name: str, asked: Condition) -> str:
        """Whether what was said last of a trait fulfils a condition."""
        return condition(asked, self.reading.value(Section.TRAITS, name), self.reading.parameters)

    def last_word(self, events: Sequence[str], name: str, value: str, others: Sequence[str]) -> str:
        """Of the events whose property `name` is the text `value`, the last: a tuple of its event's name and the texts of `others`.

        Texts that are not there are empty; all are, if there was none.
        """
        read = [self.reading.value(Section.PROPERTIES, other).text for other in others]
        what = ", ".join(["event_name", *(f"ifNull({text}, '')" for text in read)])
        named = some([self.reading.event(event, None) for event in events])
        is_it = f"ifNull({self.reading.value(Section.PROPERTIES, name).text} = {self.reading.parameters.text(value)}, false)"
        return self.reading.aggregate(f"argMaxIf(({what}), (at, message_id, source_id), {every([named, is_it])})")

    def _aged(self, extreme: str, of: Happened, since: int | None) -> str:
        rows = every([self.reading.event(of.event, since), *self._where(of)])
        at = self.reading.aggregate(f"{extreme}OrNullIf(at, {rows})")
        return f"ifNull({every(self._times(window_of(of.window, self.calendar, self.now), at))}, false)"

    def _rows(self, of: Happened) -> list[str]:
        """What must hold of a row to count."""
        window = window_of(of.window, self.calendar, self.now)
        return [self.reading.event(of.event, window.start), *self._times(window, "at"), *self._where(of)]

    def _where(self, of: Happened) -> Sequence[str]:
        value, parameters = self.reading.value, self.reading.parameters
        return [condition(asked, value(Section.PROPERTIES, name), parameters) for name, asked in of.where.items()]

    def _numbers(self, of: Happened, name: str) -> tuple[str, str]:
        """The number that is measured, and which rows have one that counts."""
        number = self.reading.value(Section.PROPERTIES, name).number
        return number, every([*self._rows(of), f"ifNull({number} BETWEEN -{MAX_AMOUNT} AND {MAX_AMOUNT}, false)"])

    def _bucket(self, window: Window) -> str:
        """A number that the rows of one bucket have in common."""
        if window.unit is Unit.EVER:
            return "toInt64(0)"
        if window.unit is Unit.DAY:
            anchor = f"roundDown(at, {self.reading.parameters.bind('Array(Int64)', day_anchors(window, self.calendar, self.now))})"
            return f"{anchor} + intDiv(at - {anchor}, {DAY_MS}) * {DAY_MS}"
        return f"intDiv(at, {_LENGTHS[window.unit]})"

    def _times(self, window: Window, at: str) -> list[str]:
        found = [] if window.start is None else [f"{at} >= {self.reading.parameters.number(window.start)}"]
        if window.end is not None:
            found.append(f"{at} < {self.reading.parameters.number(window.end)}")
        return found

    def _within(self, number: str, bounds: Aggregate) -> str:
        return within(number, *interval(bounds.gte, bounds.gt, bounds.lte, bounds.lt, bounds.eq), self.reading.parameters)
