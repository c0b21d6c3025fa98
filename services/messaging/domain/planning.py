"""From journey files to plans: steps laid out in order, each with the id that its messages' ids are made of."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, assert_never

from services.messaging.domain.passages import Plan
from shared.contracts.journey_blob import SendStep, Step, WaitStep
from shared.definitions.files import Defined
from shared.definitions.journey import Exit, Journey, JourneyStep, Send, Wait
from shared.definitions.template import Templates

EarlierJourney = Callable[[str, int], Journey | None]
"""Name and version -> the journey as it was written then; None: no set of definitions is known that has it."""
_STRICTEST: Final = "marketing"


def plans(journeys: Iterable[Defined[Journey]], templates: Templates, versions: Mapping[str, int] | None = None) -> dict[str, list[Plan]]:
    """Segment -> the journeys that its entering starts. Their templates are there: who read the folder has looked.

    `versions`: of journeys, as their set names them, so that a later release finds them by the same; else as they are read.
    """
    found: dict[str, list[Plan]] = {}
    for one in journeys:
        journey = one.definition
        guard = journey.once_per.ms if journey.once_per else 0
        version = (versions or {}).get(journey.name, journey.version)
        plan = Plan(journey.name, version, journey.enter.segment, guard, laid_out(journey, templates), journey.enter.existing)
        found.setdefault(journey.enter.segment, []).append(plan)
    return found


class KnownSteps:
    """The steps of every version of every journey that people may be inside of, under one set of definitions.

    Those of older versions are laid out once somebody is found inside. What a message is of (its class) is said by the template that
    holds now, as its text is; a template that is gone is taken for the strictest.
    """

    def __init__(self, plans: Iterable[Plan], earlier: EarlierJourney, templates: Templates) -> None:
        self._known: dict[tuple[str, int], Sequence[Step]] = {(one.journey, one.version): one.steps for one in plans}
        self._earlier = earlier
        self._templates = templates

    def __call__(self, journey: str, version: int) -> Sequence[Step] | None:
        known = self._known.get((journey, version))
        if known is None and (written := self._earlier(journey, version)) is not None:
            known = self._known[journey, version] = laid_out(written, self._templates)
        return known


def laid_out(journey: Journey, templates: Templates) -> tuple[Step, ...]:
    """The steps of a journey up to its exit.

    A step that has no id is named by its place, as all were before ids could be written: so a person who entered then and is folded
    again gets the same messages under the same ids. No written id looks like a place. Content needs no part in it: a passage never leaves
    its version, and within one version a place has one content.
    """
    steps: list[Step] = []
    for number, step in enumerate(_up_to_exit(journey.steps)):
        place = f"steps[{number}]"
        match step:
            case Send(send=what):
                message_class = _class_of(what.template, templates)
                caps = journey.caps if journey.caps and journey.caps.class_ == message_class else None
                cap = (caps.messages, caps.per.ms) if caps else (0, 0)
                steps.append(SendStep(step.id or place, what.channel, what.template, message_class, what.expires.ms, *cap))
            case Wait(wait=duration):
                steps.append(WaitStep(step.id or place, duration.ms))
            case Exit():
                break
            case _:
                assert_never(step)
    return tuple(steps)


def _class_of(template: str, templates: Templates) -> str:
    return next((one.head.class_ for one in templates.of(template).values()), _STRICTEST)


def _up_to_exit(steps: Sequence[JourneyStep]) -> Sequence[JourneyStep]:
    end = next((number for number, step in enumerate(steps) if isinstance(step, Exit)), len(steps))
    return steps[:end]
