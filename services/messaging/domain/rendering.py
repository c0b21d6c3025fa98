"""A template and a person to a subject and bodies. Pure: the instant that `now` stands for is handed in."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from liquid.exceptions import LiquidError, UndefinedError

from services.messaging.domain.reasons import Reason
from shared.definitions.template import Template


@dataclass(frozen=True)
class Rendered:
    """The subject is one line; `html` stands beside the text if the template has it."""

    subject: str
    text: str
    html: str | None


@dataclass(frozen=True)
class NotRendered:
    """Why there is no message. `detail` names the place in the template, never a value."""

    reason: Reason
    detail: str


def render(template: Template, person: Mapping[str, msgspec.Raw], segment: str | None, now_ms: int) -> Rendered | NotRendered:
    """What the person is sent; a value that is missing and has no default makes no message."""
    values: dict[str, Any] = {
        "person": {name: value for name, raw in person.items() if (value := _plain(raw)) is not None},
        "now": datetime.fromtimestamp(now_ms / 1000, UTC),
    }
    if segment is not None:
        values["segment"] = segment
    try:
        subject = one_line(template.subject.render(**values))
        text = template.text.render(**values)
        html = None if template.html is None else template.html.render(**values)
    except UndefinedError as missing:
        return NotRendered(Reason.MISSING_VALUE, f"{template.file}: {_first_line(missing)}")
    except LiquidError as error:
        return NotRendered(Reason.TEMPLATE_FAILED, f"{template.file}: {type(error).__name__}")
    if not subject:
        return NotRendered(Reason.MISSING_VALUE, f"{template.file}: the subject is empty")
    return Rendered(subject, text, html)


def _plain(raw: msgspec.Raw) -> Any:
    """A trait as Liquid may use it; numbers stay exact."""
    try:
        return msgspec.json.Decoder(float_hook=Decimal).decode(raw)
    except msgspec.DecodeError:
        return None


def _first_line(error: LiquidError) -> str:
    return str(error).partition("\n")[0]


def one_line(text: str) -> str:
    """Text as a header may hold it: no line breaks, no control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
