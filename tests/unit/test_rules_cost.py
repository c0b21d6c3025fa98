"""What an event and a timer look at: it grows with what they change, not with the number of segments. Counts, never times."""

from typing import Any

import pytest

from services.segmentation import stage as stage_module
from services.segmentation.stage import SeenEvent, SegmentationStage
from shared.contracts.membership_blob import Membership
from shared.contracts.topics import EVENT_RESOLVED
from shared.rules import gauges
from shared.rules.compiler import compile_plan
from shared.rules.plan import Answers
from shared.runtime.stage import Step
from tests.unit.test_segmentation_stage import DAY, HOUR, NOON, segment

Rules = list[dict[str, Any]]

DIFFERENT = [{"did": f"Event {n}", "count": {"gte": 2}, "within": "7d"} for n in range(1000)]
BOUNDS = [{"did": "Event 0", "count": {"gte": n + 1}, "within": "7d"} for n in range(1000)]
WINDOWS = [{"did": "Event 0", "within": f"{n + 31}d"} for n in range(1000)]


class Counted:
    """A stage of which it is counted how often gauges are read, and which segments are decided."""

    def __init__(self, rules: Rules, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stage = SegmentationStage(compile_plan([segment(f"s{n:04}", rule) for n, rule in enumerate(rules)], "UTC"))
        assert self.stage.compile(None).holding_of_nothing is not None  # looked at once of a plan
        self.state = Membership()
        self.read = 0
        self.decided = 0
        for kind in (gauges.Ever, gauges.Total, gauges.Between, gauges.Age):
            for name in ("read", "border"):
                monkeypatch.setattr(kind, name, self._counting(getattr(kind, name)))
        monkeypatch.setattr(stage_module, "Answers", self._answers())

    def _counting(self, method: Any) -> Any:
        def counted(*arguments: Any) -> Any:
            self.read += 1
            return method(*arguments)

        return counted

    def _answers(self) -> type[Answers]:
        outer = self

        class Counting(Answers):
            __slots__ = ()

            def segment(self, place: int) -> bool:
                outer.decided += 1
                return super().segment(place)

        return Counting

    def event(self, name: str, now: int) -> tuple[int, int]:
        """Take an event in; answers how many gauges were read and segments decided."""
        self.read = self.decided = 0
        self.state = self.stage.fold(self.state, SeenEvent("track", "m", "web", now, now, name), self._step(now))
        return self.read, self.decided

    def timer(self) -> tuple[int, int]:
        """Let the next timer fire; answers as `event`."""
        self.read = self.decided = 0
        self.state = self.stage.wake(self.state, self._step(self.state.due))
        return self.read, self.decided

    def _step(self, now: int) -> Step:
        step = Step("segmentation", EVENT_RESOLVED, 0)
        step.plan = self.stage.compile(None)
        step.key, step.now = "u:1", now
        return step


def costs(rules: Rules, events: list[str], monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    with monkeypatch.context() as patched:
        counted = Counted(rules, patched)
        found = [counted.event(name, NOON + place * HOUR) for place, name in enumerate(events)]
        while counted.state.due:
            found.append(counted.timer())
    return found


@pytest.mark.parametrize("rules", [DIFFERENT, BOUNDS, WINDOWS], ids=["different events", "different bounds", "different windows"])
def test_a_thousand_segments_ask_no_more_of_an_event_than_ten_do(rules: Rules, monkeypatch: pytest.MonkeyPatch) -> None:
    events = ["Event 0", "Event 3", "Event 0", "Event 0"]
    few, many = (costs(rules[:number], events, monkeypatch)[: len(events)] for number in (10, 1000))
    if rules is WINDOWS:
        few, many = few[1:], many[1:]  # the first event enters each of a thousand windows
    assert many == few


@pytest.mark.parametrize("rules", [DIFFERENT, BOUNDS], ids=["different events", "different bounds"])
def test_a_timer_asks_only_what_the_person_has_and_decides_only_what_changes(rules: Rules, monkeypatch: pytest.MonkeyPatch) -> None:
    events = ["Event 0", "Event 3", "Event 0", "Event 3"]
    few, many = (costs(rules[:number], events, monkeypatch) for number in (10, 1000))
    assert many == few
    assert sum(decided for _, decided in many[len(events) :]) == sum(decided for _, decided in many[: len(events)])


def test_what_holds_of_everybody_is_looked_at_once_of_each_person(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        counted = Counted([{"did_not": f"Event {n}", "within": "30d"} for n in range(100)], patched)
        assert counted.event("Event 5", NOON)[1] == 99 + 1
        assert counted.event("Event 5", NOON + DAY) == (4 - 1, 0)
        assert counted.event("Event 6", NOON + DAY)[1] == 1
