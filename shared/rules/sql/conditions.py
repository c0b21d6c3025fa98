"""Conditions on values, as shared/definitions/conditions.py answers them, said in SQL. No expression here is ever NULL."""

from collections.abc import Sequence
from decimal import Decimal

from shared.definitions.conditions import exactly, interval
from shared.definitions.rules import Condition
from shared.rules.sql.query import Parameters
from shared.rules.sql.reading import Value

Literal = str | bool | Decimal


def condition(asked: Condition, value: Value, parameters: Parameters) -> str:
    """Whether `value` fulfils `asked`."""
    found = []
    if asked.is_ is not None:
        found.append(_one_of([asked.is_], value, parameters))
    if asked.is_not is not None:
        found.append(f"NOT {_one_of([asked.is_not], value, parameters)}")
    if asked.in_ is not None:
        found.append(_one_of(asked.in_, value, parameters))
    if asked.exists is not None:
        found.append(value.is_there if asked.exists else f"NOT ({value.is_there})")
    low, high = interval(asked.gte, asked.gt, asked.lte, asked.lt, None)
    if low is not None or high is not None:
        found.append(f"ifNull({within(value.number, low, high, parameters)}, false)")
    return every(found)


def within(number: str, low: int | None, high: int | None, parameters: Parameters) -> str:
    """Whether a number lies within bounds; NULL if there is none."""
    bounds = [] if low is None else [f"{number} >= {parameters.number(low)}"]
    if high is not None:
        bounds.append(f"{number} <= {parameters.number(high)}")
    return every(bounds)


def every(parts: Sequence[str]) -> str:
    """All parts hold."""
    return f"({' AND '.join(parts)})" if parts else "true"


def some(parts: Sequence[str]) -> str:
    """At least one part holds."""
    return f"({' OR '.join(parts)})"


def _one_of(literals: Sequence[Literal], value: Value, parameters: Parameters) -> str:
    texts = tuple(one for one in literals if isinstance(one, str))
    numbers = tuple(exactly(one) for one in literals if isinstance(one, Decimal))
    found = [f"{value.token} = '{'true' if one else 'false'}'" for one in literals if isinstance(one, bool)]
    if texts:
        found.append(f"ifNull(has({parameters.bind('Array(String)', texts)}, {value.text}), false)")
    if numbers:
        found.append(f"ifNull(has({parameters.bind('Array(Int64)', numbers)}, {value.number}), false)")
    return some(found)
