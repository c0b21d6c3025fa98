"""From journey files to plans: steps laid out in order, each with the key that its messages' ids are made of."""

from collections.abc import Container, Iterable, Sequence
from typing import assert_never

from services.messaging.domain.passages import Plan
from shared.contracts.journey_blob import SendStep, Step, WaitStep
from shared.definitions.files import Defined
from shared.definitions.journey import Exit, Journey, JourneyStep, Send, Wait
from shared.definitions.template import Templates
from shared.definitions.yaml_text import DefinitionError, Problem


def plans(journeys: Iterable[Defined[Journey]], templates: Templates, segments: Container[str]) -> dict[str, list[Plan]]:
    """Segment -> the journeys that its entering starts. Raises DefinitionError where one names what is not there."""
    found: dict[str, list[Plan]] = {}
    problems: list[Problem] = []
    for one in journeys:
        journey = one.definition
        problems += _unknown_templates(one, templates)
        if journey.enter.segment not in segments:
            problems.append(one.document.problem(("enter", "segment"), f"there is no segment {journey.enter.segment!r}"))
        if not problems:
            guard = journey.once_per.ms if journey.once_per else 0
            plan = Plan(journey.name, journey.version, journey.enter.segment, guard, _laid_out(journey, templates))
            found.setdefault(journey.enter.segment, []).append(plan)
    if problems:
        raise DefinitionError(problems)
    return found


def _unknown_templates(one: Defined[Journey], templates: Templates) -> list[Problem]:
    problems = []
    for number, step in enumerate(one.definition.steps):
        if isinstance(step, Send):
            what, path = step.send, ("steps", number, "send", "template")
            locales = templates.of(what.template)
            if not locales:
                problems.append(one.document.problem(path, f"there is no template {what.template!r}"))
            elif any(template.head.channel != what.channel for template in locales.values()):
                problems.append(one.document.problem(path, f"template {what.template!r} is not for {what.channel}"))
    return problems


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
