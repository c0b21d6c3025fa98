"""A journey file: what a person enters on, how often, and the steps that follow."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from shared.definitions.durations import DAY_MS, Duration, at_most
from shared.definitions.models import Definition, Part, Reference, canonical, short_hash, wrong
from shared.definitions.segment import Name, Titles

MAX_STEPS: Final = 50
DEFAULT_EXPIRY: Final = Duration(DAY_MS)
LONGEST_EXPIRY: Final = Duration(31 * DAY_MS)
"""The dispatcher remembers so long which messages are settled."""
LONGEST_CAP: Final = Duration(31 * DAY_MS)
LONGEST_WAIT: Final = Duration(366 * DAY_MS)
LONGEST_GUARD: Final = Duration(3_660 * DAY_MS)

Expiry = Annotated[
    Duration,
    AfterValidator(at_most(LONGEST_EXPIRY, "what became of a message is remembered so long; to send later, put a `wait` before the step")),
]
CapWindow = Annotated[Duration, AfterValidator(at_most(LONGEST_CAP, "sent messages are counted so long; `once_per` reaches further"))]
WaitTime = Annotated[Duration, AfterValidator(at_most(LONGEST_WAIT, "a passage stays in memory while it waits; write several waits"))]
Guard = Annotated[Duration, AfterValidator(at_most(LONGEST_GUARD, "that is ten years; entries are remembered so long"))]


class Enter(Part):
    """Who enters, and when: everybody who comes into `segment`, at the instant at which that becomes true.

    `existing`: also those whom a new or changed definition of the segment finds in it when it is applied.
    """

    on: Literal["segment.entered"]
    segment: Name
    existing: Annotated[bool, Field(strict=True)] = False


class SendWhat(Part):
    """One message by a template. `expires`: how long after its step fell due it is still worth sending, 31d at most.

    Later the message is recorded as expired. `id`: a name of the step, unique in the journey; without one it is named by its place.
    """

    id: Name | None = None
    channel: Name
    template: Name
    expires: Expiry = DEFAULT_EXPIRY


class Send(Part):
    """Ask for a message."""

    send: SendWhat

    @property
    def id(self) -> str | None:
        return self.send.id


class Wait(Part):
    """Let time pass before the next step, 366d at most. `id`, beside `wait`: as of a step that sends."""

    id: Name | None = None
    wait: WaitTime


class Exit(Part):
    """End the journey here. Written `exit`."""

    exit: Literal[True]


class Caps(Part):
    """At most `messages` of class `class` to one person within any `per` (31d at most), whichever journeys they came from."""

    per: CapWindow
    messages: Annotated[int, Field(ge=1, le=1000, strict=True)]
    class_: Literal["marketing"] = Field("marketing", alias="class")


_HEADS: Final = ("send", "wait", "exit")


def _tag(value: Any) -> str | None:
    if isinstance(value, Part):
        heads = [head for head in _HEADS if head in type(value).model_fields]
    else:
        heads = [head for head in _HEADS if head in value] if isinstance(value, dict) else []
    return f"<{heads[0]}>" if len(heads) == 1 else None


def _word(value: Any) -> Any:
    """`- exit` says `- exit: true`."""
    return {"exit": True} if value == "exit" else value


JourneyStep = Annotated[
    Annotated[Send, Tag("<send>")] | Annotated[Wait, Tag("<wait>")] | Annotated[Exit, Tag("<exit>")],
    Discriminator(_tag, custom_error_type="wrong", custom_error_message=f"expected a step that is one of {', '.join(_HEADS)}"),
    BeforeValidator(_word),
]


def _some_steps(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_STEPS:
        raise wrong(f"expected a list of 1 to {MAX_STEPS} steps")
    return value


class Journey(Definition):
    """What happens to a person who enters. Those inside go on by the version they entered, whatever is published meanwhile.

    `once_per`: nobody enters a second time within it, 3660d at most.
    """

    kind: ClassVar[str] = "journey"

    journey: Name
    title: Titles
    description: Annotated[str, Field(max_length=2000)] | None = None
    enter: Enter
    once_per: Guard | None = None
    caps: Caps | None = None
    steps: Annotated[tuple[JourneyStep, ...], BeforeValidator(_some_steps)]

    def references(self) -> Sequence[Reference]:
        sends = ((number, step.send) for number, step in enumerate(self.steps) if isinstance(step, Send))
        return [
            Reference(("enter", "segment"), "segment", self.enter.segment),
            *(Reference(("steps", number, "send", "template"), "template", send.template) for number, send in sends),
        ]

    @property
    def version(self) -> int:
        """32 bits of the hash of what the journey does: titles and comments do not make a new version."""
        says = [canonical(part) for part in (self.enter, *self.steps, *([self.caps] if self.caps else []))]
        text = "|".join([*says, str(self.once_per)])
        return short_hash(text)
