"""The words that leaves of rules are made of: conditions, bounds, windows, names. The leaves are in shared/rules/leaves."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from shared.definitions.conditions import can_hold, interval, whole_interval
from shared.definitions.durations import DAY_MS, HOUR_MS, MINUTE_MS, Duration
from shared.definitions.models import Part, wrong
from shared.definitions.numbers import MAX_AMOUNT, fits

MAX_TEXT: Final = 250
"""Longest text, in characters, that a rule compares with."""
MAX_VALUES: Final = 1000


def _number(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise wrong(f"expected a number (found {value!r})")
    exact = Decimal(value)
    if not fits(exact):
        raise wrong(f"expected a number of at most 14 digits and four decimal places (found {value})")
    return exact


def _scalar(value: Any) -> str | bool | Decimal:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise wrong(f"expected at most {MAX_TEXT} characters")
        return value
    if isinstance(value, int | Decimal):
        return _number(value)
    raise wrong(f"expected text, a number, true or false (found {value!r})")


Number = Annotated[Decimal, PlainValidator(_number), WithJsonSchema({"type": "number"})]
Scalar = Annotated[str | bool | Decimal, PlainValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Count = Annotated[int, Field(ge=0, le=1_000_000_000, strict=True)]
EventName = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, strict=True)]
FieldName = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, strict=True, pattern=r'^[^.\[\]"\\\x00-\x1f]+$')]
"""A property or trait at the top level. What JSON writes with a backslash is no name: the reader of events (rules/values.py) takes none."""


NOT_EMPTY: Final = Field(json_schema_extra={"minItems": 1})
"""For the schema; the validators say it better."""


def _some_values(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_VALUES:
        raise wrong(f"expected a list of 1 to {MAX_VALUES} values")
    return value


class Condition(Part):
    """What one value must be; all that is said must hold. An absent value fulfils only `is_not` and `exists: false`.

    Numbers compare as numbers, also where the client sent them as decimal text; text compares exactly.
    """

    is_: Scalar | None = Field(None, alias="is")
    is_not: Scalar | None = None
    in_: Annotated[tuple[Scalar, ...], BeforeValidator(_some_values), NOT_EMPTY] | None = Field(None, alias="in")
    exists: Annotated[bool, Field(strict=True)] | None = None
    gt: Number | None = None
    gte: Number | None = None
    lt: Number | None = None
    lte: Number | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        said = [field.alias or name for name, field in Condition.model_fields.items() if getattr(self, name) is not None]
        if not said:
            raise wrong("expected at least one of is, is_not, in, exists, gt, gte, lt, lte")
        if not can_hold(self):
            raise never("value", said)
        return self


def _condition(value: Any) -> Any:
    """`coupon: SUMMER` says `coupon: {is: SUMMER}`."""
    return {"is": value} if isinstance(value, str | bool | int | Decimal) else value


Where = dict[
    FieldName,
    Annotated[Condition, BeforeValidator(_condition, json_schema_input_type=Condition | str | bool | int | float)],
]


_BOUNDS: Final = ("gte", "lte", "gt", "lt", "eq")


def never(what: str, words: Sequence[str]) -> PydanticCustomError:
    """The mistake of asking for what nothing fulfils."""
    return wrong(f"can never hold: no {what} fulfils {' and '.join(words)}{' together' if len(words) > 1 else ''}")


class _Bounds(Part):
    def said(self) -> list[str]:
        """Each bound that is given, as `gte 5`."""
        return [f"{name} {getattr(self, name)}" for name in _BOUNDS if getattr(self, name) is not None]

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.said():
            raise wrong(f"expected at least one of {', '.join(_BOUNDS)}")
        return self


class Compare(_Bounds):
    """Bounds of an aggregate; all that is said must hold."""

    gte: Number | None = None
    lte: Number | None = None
    gt: Number | None = None
    lt: Number | None = None
    eq: Number | None = None

    @model_validator(mode="after")
    def _can_hold(self) -> Self:
        low, high = interval(self.gte, self.gt, self.lte, self.lt, self.eq)
        if low is not None and high is not None and low > high:
            raise never("number", self.said())
        return self


class CompareCount(_Bounds):
    """Bounds of a count; all that is said must hold."""

    gte: Count | None = None
    lte: Count | None = None
    gt: Count | None = None
    lt: Count | None = None
    eq: Count | None = None

    @property
    def interval(self) -> tuple[int, int | None]:
        """The least and the greatest count within the bounds; None: there is no greatest."""
        low, high = whole_interval(self.gte, self.gt, self.lte, self.lt, self.eq)
        return max(low or 0, 0), high

    @model_validator(mode="after")
    def _can_hold(self) -> Self:
        low, high = self.interval
        if high is not None and low > high:
            raise never("count", self.said())
        return self


class Aggregate(Compare):
    """Bounds of an aggregate over the property `of`; events without a number there are left out."""

    of: FieldName

    @property
    def is_out_of_range(self) -> bool:
        """Whether no single value within MAX_AMOUNT lies within the bounds."""
        low, high = interval(self.gte, self.gt, self.lte, self.lt, self.eq)
        return (low is not None and low > MAX_AMOUNT) or (high is not None and high < -MAX_AMOUNT)


class Windowed(Part):
    """When the events must have happened: any time, less than `within` ago, or `between` (at least the second, less than the first) ago.

    Age is counted in whole buckets: minutes for a reach up to a day, hours up to 30 days, days of the installation's zone beyond.
    """

    within: Duration | None = None
    between: tuple[Duration, Duration] | None = None

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        if self.within is not None and self.between is not None:
            raise wrong("expected `within` or `between`, not both")
        if self.between is not None and self.between[0] <= self.between[1]:
            raise wrong("expected `between: [older, newer]`, such as [60d, 30d]")
        edges: tuple[Duration, ...] = self.between or ((self.within,) if self.within is not None else ())
        for edge in edges:
            unit = bucket_ms(edges[0])
            if edge.ms % unit:
                word = {MINUTE_MS: "minutes", HOUR_MS: "hours", DAY_MS: "days"}[unit]
                raise wrong(f"expected whole {word} in a window that reaches back {edges[0]} (found {edge})")
        return self


def bucket_ms(reach: Duration) -> int:
    """The nominal length of the buckets of a window that reaches `reach` back."""
    if reach.ms <= DAY_MS:
        return MINUTE_MS
    return HOUR_MS if reach.ms <= 30 * DAY_MS else DAY_MS
