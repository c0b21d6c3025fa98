"""Running the `tests` of a segment file: the production stage on a virtual clock, without servers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from services.segmentation.stage import SeenEvent, SegmentationStage
from shared.contracts.changes import SEGMENT_CHANGED_DECODER, SegmentChanged
from shared.contracts.membership_blob import Membership
from shared.contracts.topics import EVENT_RESOLVED
from shared.definitions.order import with_spoken_of
from shared.definitions.segment import Expected, Given, Segment, SegmentTest, epoch_ms
from shared.rules.compiler import compile_plan
from shared.runtime.stage import Step

PERSON = "u:test"


@dataclass(frozen=True)
class Outcome:
    """How one test went. `changes`: every entering and leaving on the way, in order."""

    segment: str
    test: str
    expected: Expected
    found: Expected
    changes: tuple[SegmentChanged, ...]

    @property
    def passed(self) -> bool:
        return self.expected is self.found


class Alone(Step):
    """A step that belongs to no installation: all it publishes is in partition 0, since no Kafka says how many there are."""

    __slots__ = ()

    def emit(self, topic: str, key: str, value: bytes | None, *headers: tuple[str, bytes], partition: int | None = None) -> None:
        super().emit(topic, key, value, *headers, partition=0)


def rehearse(segment: Segment, zone: str, others: Mapping[str, Segment]) -> list[Outcome]:
    """Run every test of one segment, with days in time zone `zone`. `others`: by name, all of which its rule may speak."""
    stage = SegmentationStage(compile_plan(with_spoken_of([segment], others), zone))
    return [_run(stage, segment, test) for test in segment.tests]


def _run(stage: SegmentationStage, segment: Segment, test: SegmentTest) -> Outcome:
    step = Alone(stage.name, EVENT_RESOLVED, 0)
    step.plan = stage.compile(None)
    step.key = PERSON
    state = stage.empty(PERSON)
    for number, given in enumerate(sorted(segment.history(test), key=lambda one: one.at)):
        state = advance(stage, state, step, epoch_ms(given.at))
        state = stage.fold(state, event_of(given, f"given-{number:06}"), step)
    state = advance(stage, state, step, epoch_ms(test.now))
    found = Expected.IN if segment.segment in state.members else Expected.OUT
    return Outcome(segment.segment, test.name, test.expect, found, tuple(one for one in _changes(step) if one.segment == segment.name))


def advance(stage: SegmentationStage, state: Membership, step: Step, now: int) -> Membership:
    """Let time pass up to `now`, waking the person at every timer on the way, as the runtime would."""
    while (due := stage.due(state)) is not None and due <= now:
        step.now = max(step.now, due)
        state = stage.wake(state, step)
    step.now = now
    return state


def event_of(given: Given, message_id: str) -> SeenEvent:
    """What is given in a test as the event that ingest would publish."""
    at = epoch_ms(given.at)
    encode = msgspec.json.Encoder(decimal_format="number").encode
    return SeenEvent(
        type=_type(given),
        message_id=message_id,
        source_id="test",
        timestamp=at,
        received_at=at,
        event=given.track,
        properties=msgspec.Raw(encode(given.properties)),
        traits=msgspec.Raw(encode(given.identify or {})),
    )


def _type(given: Given) -> str:
    if given.track is not None:
        return "track"
    if given.identify is not None:
        return "identify"
    return "page" if given.page is not None else "screen"


def _changes(step: Step) -> tuple[SegmentChanged, ...]:
    values: Sequence[bytes | None] = [output.value for output in step.outputs]
    return tuple(SEGMENT_CHANGED_DECODER.decode(value) for value in values if value is not None)
