"""Conditions on values, and bounds, as functions. Rules are checked and answered by these same ones."""

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

from shared.contracts.membership_blob import Value
from shared.definitions.numbers import scaled, scaled_text

if TYPE_CHECKING:
    from shared.definitions.rules import Condition

Test = Callable[[Value], bool]


def number_of(value: Value) -> int | None:
    """A value as a number in ten-thousandths, None if it is none. Decimal text counts."""
    if isinstance(value, str):
        return scaled_text(value)
    return None if isinstance(value, bool) else value


def condition_test(condition: "Condition") -> Test:
    """The condition as a function."""
    tests = _tests(condition)
    if len(tests) == 1:
        return tests[0]
    return lambda value: all(test(value) for test in tests)


def can_hold(condition: "Condition") -> bool:
    """Whether any value, or an absent one, fulfils the condition."""
    candidates = _candidates(condition)
    others = _tests(condition.model_copy(update={"in_": None}))
    return candidates is None or any(all(test(value) for test in others) for value in candidates)


def _candidates(condition: "Condition") -> list[Value] | None:
    """Values that fulfil `in`: if none of them fulfils the rest, nothing does. None: no need to look."""
    literals = list(condition.in_ or ())
    if condition.is_ is not None and (not literals or any(_equals(literal)(_value(condition.is_)) for literal in literals)):
        literals.append(condition.is_)
    if literals or condition.in_ is not None:
        return [_value(literal) for literal in literals]
    low, high = interval(condition.gte, condition.gt, condition.lte, condition.lt, None)
    if low is not None:
        return [low, low + 1]  # of two numbers `is_not` leaves one
    return None if high is None else [high, high - 1]


def _value(literal: str | bool | Decimal) -> Value:
    return exactly(literal) if isinstance(literal, Decimal) else literal


def _tests(condition: "Condition") -> list[Test]:
    found: list[Test] = []
    if condition.is_ is not None:
        found.append(_equals(condition.is_))
    if condition.is_not is not None:
        equals = _equals(condition.is_not)
        found.append(lambda value: not equals(value))
    if condition.in_ is not None:
        one_of = [_equals(literal) for literal in condition.in_]
        found.append(lambda value: any(equal(value) for equal in one_of))
    if condition.exists is not None:
        wanted = condition.exists
        found.append(lambda value: (value is not None) == wanted)
    found.extend(_bounds(condition))
    return found


def _equals(literal: str | bool | Decimal) -> Test:
    match literal:
        case bool():
            return lambda value: value is literal
        case str():
            return lambda value: isinstance(value, str) and value == literal
        case Decimal():
            number = exactly(literal)
            return lambda value: number_of(value) == number


def _bounds(condition: "Condition") -> list[Test]:
    low, high = interval(condition.gte, condition.gt, condition.lte, condition.lt, None)
    if low is None and high is None:
        return []

    def within(value: Value) -> bool:
        number = number_of(value)
        return number is not None and (low is None or low <= number) and (high is None or number <= high)

    return [within]


def exactly(literal: Decimal) -> int:
    """A number of a definition in ten-thousandths; the models have checked that it fits."""
    number = scaled(literal)
    assert number is not None, "the model checks that numbers fit"
    return number


def interval(
    gte: Decimal | None, gt: Decimal | None, lte: Decimal | None, lt: Decimal | None, eq: Decimal | None
) -> tuple[int | None, int | None]:
    """Bounds as one closed interval of ten-thousandths; None where it is open."""
    bounds = [None if bound is None else exactly(bound) for bound in (gte, gt, lte, lt, eq)]
    return whole_interval(*bounds)


def whole_interval(gte: int | None, gt: int | None, lte: int | None, lt: int | None, eq: int | None) -> tuple[int | None, int | None]:
    """Bounds of a whole number as one closed interval; None where it is open."""
    lows = [gte, None if gt is None else gt + 1, eq]
    highs = [lte, None if lt is None else lt - 1, eq]
    return (
        max((low for low in lows if low is not None), default=None),
        min((high for high in highs if high is not None), default=None),
    )
