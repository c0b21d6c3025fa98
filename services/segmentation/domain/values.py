"""Client JSON as values that rules compare, and conditions on them."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Final

import msgspec

from shared.contracts.membership_blob import Value
from shared.definitions.numbers import scaled, scaled_text
from shared.definitions.rules import Condition

ABSENT: Final = msgspec.Raw(b"null")

Test = Callable[[Value], bool]
Where = Callable[[tuple[Value, ...]], bool]

MAX_KEPT: Final = 256
"""Characters of a text that are kept: more than any rule compares with (rules.MAX_TEXT), so that a cut one equals none."""


def value_of(raw: bytes) -> Value:
    """One JSON value. A number too large to be exact, an object and an array become their text: they exist, and equal nothing."""
    first = raw[:1]
    if first == b'"':
        text: str = msgspec.json.decode(raw, type=str)
        return text[:MAX_KEPT]
    if first == b"n":
        return None
    if first in (b"t", b"f"):
        return first == b"t"
    text = raw[:MAX_KEPT].decode(errors="replace")
    if first in (b"{", b"["):
        return text
    number = scaled_text(text)
    return text if number is None else number


def number_of(value: Value) -> int | None:
    """A value as a number in ten-thousandths, None if it is none. Decimal text counts."""
    if isinstance(value, str):
        return scaled_text(value)
    return None if isinstance(value, bool) else value


def condition_test(condition: Condition) -> Test:
    """The condition as a function."""
    tests = _tests(condition)
    if len(tests) == 1:
        return tests[0]
    return lambda value: all(test(value) for test in tests)


def where_test(where: Mapping[str, Condition], places: Mapping[str, int]) -> Where | None:
    """All conditions of a `where` as one function over an event's values; `places` says where each property stands. None: always."""
    parts = [(places[name], condition_test(condition)) for name, condition in where.items()]
    if not parts:
        return None
    if len(parts) == 1:
        place, test = parts[0]
        return lambda values: test(values[place])
    return lambda values: all(test(values[place]) for place, test in parts)


def _tests(condition: Condition) -> list[Test]:
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


def _bounds(condition: Condition) -> list[Test]:
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


def properties_reader(names: Sequence[str]) -> Callable[[msgspec.Raw], tuple[Value, ...]]:
    """A function that reads the named properties, and only those, from an event's JSON; absent ones are None.

    What is no JSON object has no properties.
    """
    fields = [(f"p{place}", msgspec.Raw, msgspec.field(default=ABSENT, name=name)) for place, name in enumerate(names)]
    decode = msgspec.json.Decoder(msgspec.defstruct("Properties", fields, gc=False)).decode
    get = attrgetter(*(name for name, _, _ in fields))
    single = len(names) == 1

    def read(raw: msgspec.Raw) -> tuple[Value, ...]:
        try:
            found = decode(raw)
        except msgspec.ValidationError:
            return (None,) * len(names)
        if single:
            return (value_of(bytes(get(found))),)
        return tuple([value_of(bytes(one)) for one in get(found)])

    return read


def traits_reader(names: Sequence[str]) -> Callable[[msgspec.Raw], list[tuple[str, bytes]]]:
    """A function that finds the named traits, and only those, in an identify's JSON: (name, JSON) of each that is there, null too."""
    fields = [
        (f"t{place}", msgspec.Raw | msgspec.UnsetType, msgspec.field(default=msgspec.UNSET, name=name)) for place, name in enumerate(names)
    ]
    decode = msgspec.json.Decoder(msgspec.defstruct("Traits", fields, gc=False)).decode
    places = [(name, field) for name, (field, _, _) in zip(names, fields, strict=True)]

    def read(raw: msgspec.Raw) -> list[tuple[str, bytes]]:
        try:
            found = decode(raw)
        except msgspec.ValidationError:
            return []
        return [(name, bytes(value)) for name, field in places if (value := getattr(found, field)) is not msgspec.UNSET]

    return read
