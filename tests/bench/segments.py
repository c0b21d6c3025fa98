"""What an event and a timer cost in segmentation's stage alone, with 10, 100 and 1,000 segments, in this process and without servers."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from services.segmentation.rehearsal import Alone
from services.segmentation.stage import SeenEvent, SegmentationStage
from shared.contracts.membership_blob import Membership
from shared.contracts.topics import EVENT_RESOLVED
from shared.definitions.segment import Segment
from shared.rules.compiler import compile_plan

COUNTS: Final = (10, 100, 1_000)
PEOPLE: Final = 200
EVENTS: Final = 20
"""Of one person, spread over half a day, of the first ten names."""
NAMES: Final = 10
HOUR: Final = 3_600_000
NOON: Final = 1_780_000_000_000 // HOUR * HOUR

SHAPES: Final[dict[str, Callable[[int], dict[str, Any]]]] = {
    "different events": lambda n: {"did": f"Event {n}", "count": {"gte": 2}, "within": "7d"},
    "one event, different bounds": lambda n: {"did": "Event 0", "count": {"gte": n + 1}, "within": "7d"},
    "all true of everybody": lambda n: {"did_not": f"Never {n}", "within": "7d"},
}
BOUNDED: Final = frozenset(list(SHAPES)[:2])
"""Shapes of which a thousand segments may cost twice what ten do, an event and a timer."""


@dataclass(frozen=True)
class Cost:
    """CPU microseconds of an event (a person's first apart) and of a timer, 0 if none fired; bytes of a person's state."""

    event_us: float
    timer_us: float
    bytes: float


def measure() -> dict[str, dict[int, Cost]]:
    """Shape -> number of segments -> cost."""
    return {shape: {count: _cost([rule(n) for n in range(count)]) for count in COUNTS} for shape, rule in SHAPES.items()}


def _cost(rules: list[dict[str, Any]]) -> Cost:
    titles = {"zh": "测试", "en": "test"}
    segments = [Segment.model_validate({"segment": f"s{n:04}", "title": titles, "when": rule}) for n, rule in enumerate(rules)]
    stage = SegmentationStage(compile_plan(segments, "UTC"))
    people = [_after(stage, Membership(), 0) for _ in range(PEOPLE + 1)][1:]  # the first one pays for what is found once of a plan
    began = time.process_time()
    for place in range(1, EVENTS):
        people = [_after(stage, state, place) for state in people]
    event_us = (time.process_time() - began) * 1e6 / (PEOPLE * (EVENTS - 1))
    size = sum(len(stage.dump(state)) for state in people) / PEOPLE
    timers = 0
    began = time.process_time()
    for state in people:
        while state.due:
            state = stage.wake(state, _step(state.due))
            timers += 1
    timer_us = (time.process_time() - began) * 1e6 / timers if timers else 0.0
    return Cost(event_us, timer_us, size)


def _after(stage: SegmentationStage, state: Membership, place: int) -> Membership:
    at = NOON + place * HOUR
    return stage.fold(state, SeenEvent("track", f"m{place}", "web", at, at, f"Event {place % NAMES}"), _step(at))


def _step(now: int) -> Alone:
    step = Alone("segmentation", EVENT_RESOLVED, 0)
    step.key, step.now = "u:1", now
    return step
