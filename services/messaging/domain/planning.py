"""From journey files to plans: steps laid out in order, each with the key that its messages' ids are made of."""

from collections.abc import Iterable, Sequence
from typing import assert_never

from services.messaging.domain.passages import Plan
from shared.contracts.journey_blob import SendStep, Step, WaitStep
from shared.definitions.files import Defined
from shared.definitions.journey import Exit, Journey, JourneyStep, Send, Wait
from shared.definitions.template import Templates


def plans(journeys: Iterable[Defined[Journey]], templates: Templates) -> dict[str, list[Plan]]:
    """Segment -> the journeys that its entering starts. Their templates are there: who read the folder has looked."""
    found: dict[str, list[Plan]] = {}
    for one in journeys:
        journey = one.definition
        guard = journey.once_per.ms if journey.once_per else 0
        plan = Plan(journey.name, journey.version, journey.enter.segment, guard, _laid_out(journey, templates), journey.enter.existing)
        found.setdefault(journey.enter.segment, []).append(plan)
    return found


def _laid_out(journey: Journey, templates: Templates) -> tuple[Step, ...]:
    steps: list[Step] = []
    for number, step in enumerate(_up_to_exit(journey.steps)):
        key = f"steps[{number}]"
        match step:
            case Send(send=what):
                message_class = next(iter(templates.of(what.template).values())).head.class_
                caps = journey.caps if journey.caps and journey.caps.class_ == message_class else None
                cap = (caps.messages, caps.per.ms) if caps else (0, 0)
                steps.append(SendStep(key, what.channel, what.template, message_class, what.expires.ms, *cap))
            case Wait(wait=duration):
                steps.append(WaitStep(key, duration.ms))
            case Exit():
                break
            case _:
                assert_never(step)
    return tuple(steps)


def _up_to_exit(steps: Sequence[JourneyStep]) -> Sequence[JourneyStep]:
    end = next((number for number, step in enumerate(steps) if isinstance(step, Exit)), len(steps))
    return steps[:end]
