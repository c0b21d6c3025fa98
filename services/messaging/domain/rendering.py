"""A template and a person to a subject and bodies. Pure: the instant that `now` stands for is handed in, and so is what measures work.

Whatever Liquid or its filters raise, and text that cannot be made an e-mail, is `template_failed` of that message. Time is looked at
between steps of Liquid; one call of a filter is bounded by what it is given (traits of 512 bytes, numbers of some 40 digits, ranges of
2,000), loops and captures by python-liquid (2,000 rounds, 200 KB of variables). A filter is given lists of 2,000 values at most, and none
that makes a product of two lengths (`replace`, `join`) may make more than 1 MB.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
from liquid.exceptions import LiquidError, UndefinedError

from services.messaging.domain.reasons import Reason
from shared.definitions.liquid_limits import Bounds, OutOfBoundsError, render_within
from shared.definitions.template import Template

MOST_SECONDS: Final = 0.05
MOST_BYTES: Final = 200_000
"""Of one message: all its parts together."""
MOST_DIGITS: Final = 40


@dataclass(frozen=True)
class Rendered:
    """`fields`: those of the front matter that are Liquid. `html` stands beside the text if the template has it."""

    fields: Mapping[str, str]
    text: str
    html: str | None


@dataclass(frozen=True)
class NotRendered:
    """Why there is no message. `detail` names the place in the template, never a value."""

    reason: Reason
    detail: str


def render(
    template: Template, person: Mapping[str, msgspec.Raw], segment: str | None, now_ms: int, cpu_s: Callable[[], float]
) -> Rendered | NotRendered:
    """What the person is sent; a value that is missing and has no default makes no message. `cpu_s`: seconds of work, which have a bound.

    Whatever Liquid raises of a template and the values of a person concerns this message alone.
    """
    try:
        return _render(template, person, segment, now_ms, Bounds(MOST_SECONDS, MOST_BYTES, cpu_s))
    except UndefinedError as missing:
        return NotRendered(Reason.MISSING_VALUE, f"{template.file}: {_first_line(missing)}")
    except OutOfBoundsError as error:
        return NotRendered(Reason.TEMPLATE_FAILED, f"{template.file}: {error}")
    except Exception as error:  # filters raise what they like: TypeError, decimal's errors, RecursionError
        return NotRendered(Reason.TEMPLATE_FAILED, f"{template.file}: {type(error).__name__}")


def _render(
    template: Template, person: Mapping[str, msgspec.Raw], segment: str | None, now_ms: int, bounds: Bounds
) -> Rendered | NotRendered:
    values: dict[str, Any] = {
        "person": {name: _shown(value, template.head.value) for name, raw in person.items() if (value := _plain(raw)) is not None},
        "now": datetime.fromtimestamp(now_ms / 1000, UTC),
    }
    if segment is not None:
        values["segment"] = segment
    lines = template.head.one_line
    rendered = {name: render_within(field, values, bounds) for name, field in template.fields.items()}
    fields = {name: one_line(said) if name in lines else said for name, said in rendered.items()}
    text = render_within(template.text, values, bounds)
    html = None if template.html is None else render_within(template.html, values, bounds)
    if (empty := next((name for name in lines if not fields[name]), None)) is not None:
        return NotRendered(Reason.MISSING_VALUE, f"{template.file}: the {empty} is empty")
    return Rendered(fields, text, html)


def _plain(raw: msgspec.Raw) -> Any:
    """A trait as Liquid may use it; numbers stay exact. None: a value that cannot be read, or with an exponent that is no quantity."""
    try:
        return msgspec.json.Decoder(float_hook=_number).decode(raw)
    except (ValueError, ArithmeticError, RecursionError):  # ValueError: msgspec's own, and of bytes that are no UTF-8
        return None


def _shown(value: Any, shown: Callable[[str], str]) -> Any:
    match value:
        case str():
            return shown(value)
        case list():
            return [_shown(one, shown) for one in value]
        case dict():
            return {shown(name): _shown(one, shown) for name, one in value.items()}
        case _:
            return value


def _number(text: str) -> Decimal:
    """Raises OverflowError: 1e999999999 is short to write, and takes minutes to round."""
    number = Decimal(text)
    if abs(number.adjusted()) > MOST_DIGITS:
        raise OverflowError
    return number


def _first_line(error: LiquidError) -> str:
    return str(error).partition("\n")[0]


def one_line(text: str) -> str:
    """Text as a header may hold it: no line breaks, no control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
