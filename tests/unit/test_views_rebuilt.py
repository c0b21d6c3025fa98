"""Each live view destroyed and rebuilt, over all stages on fakes: equal by digest, nothing said again, nobody mailed twice."""

from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import deploy
from services.messaging.domain.passages import Plan
from services.messaging.stage import Journeys
from services.profile.folder_stage import FolderStage
from services.profile.resolver_stage import ResolverStage
from services.segmentation.stage import SegmentationStage
from shared.contracts.events import ReceivedEvent
from shared.contracts.headers import KIND, KIND_EXPIRED, header
from shared.contracts.identity import Expiry
from shared.contracts.journey_blob import SendStep
from shared.contracts.rebuilds import STAGES, View
from shared.contracts.topics import EVENT_RECEIVED, EVENT_RESOLVED, MESSAGE_REQUESTED
from shared.definitions.folder import read_folder
from shared.definitions.segment import Segment
from shared.rules.compiler import compiled
from shared.testing.histories import encoded, histories, key_of
from shared.testing.scene import Scene

SEGMENTS = read_folder(Path(deploy.__file__).parent / "definitions", "en").of(Segment)
HOUR = 3_600_000
NAMES = [one.definition.segment for one in SEGMENTS]


def welcome(segment: str) -> Plan:
    return Plan(f"to_{segment}", 1, segment, HOUR, (SendStep("steps[0]", "email", "hello", "marketing", HOUR),))


def scene() -> Scene:
    stages = (ResolverStage(), FolderStage(), SegmentationStage(compiled(SEGMENTS, "UTC")))
    return Scene(*stages, Journeys(frozenset(), {name: [welcome(name)] for name in NAMES}))


def lived(events: list[ReceivedEvent], random: Random, forgetful: bool = True) -> Scene:
    """People's lives in bits: what one slot reads comes between what others read, time goes on, and who stays away may be forgotten."""
    told = scene()
    for event in events:
        told.log.append(EVENT_RECEIVED, key_of(event), encoded(event))
        told.log.now += random.randint(1, HOUR)
        if random.random() < 0.2:
            told.tick(told.log.now)
        if forgetful and random.random() < 0.3:
            told.log.now += 2 * HOUR
            expire(told, key_of(random.choice(events)))
        for _ in range(random.randint(0, 4)):
            if pending := told.pending():
                told.work(random.choice(pending), random.randint(1, 4))
    told.settle(random)
    told.tick(told.log.now + 2 * HOUR)
    told.settle(random)
    return told


def expire(told: Scene, typed: str) -> None:
    """As the sweep asks."""
    told.log.append(EVENT_RECEIVED, typed, msgspec.json.encode(Expiry(typed, HOUR)), [(KIND, KIND_EXPIRED)])


def destroy(told: Scene, stage: str, random: Random) -> None:
    """Single keys are deleted, which nothing notices: states, second blobs, members of indexes."""
    for (name, _), data in told.redis.slots.items():
        if name == stage:
            data.states = {key: blob for key, blob in data.states.items() if random.random() < 0.5}
            data.sides.clear()
            data.indexes.clear()


def written(told: Scene) -> dict[tuple[str, int], int]:
    """Records of each partition that stages write, but for turns: how often a slot turned, a refold may tell again."""
    return {where: len(records) for where, records in told.log.partitions.items() if records and "turn.recorded" not in where[0]}


def indexed(told: Scene) -> dict[tuple[str, int, str], dict[str, float]]:
    """Members of every index."""
    slots = told.redis.slots.items()
    return {(*where, name): dict(members) for where, data in slots for name, members in data.indexes.items() if members}


@pytest.mark.parametrize("view", STAGES)
@settings(max_examples=15, deadline=None)
@given(histories(), st.integers(0, 2**32))
def test_a_view_that_lost_keys_is_the_same_again_and_says_nothing_twice(view: View, events: list[ReceivedEvent], seed: int) -> None:
    random = Random(seed)
    told = lived(events, random)
    before, records = told.lines(), written(told)
    members = indexed(told)
    for stage in STAGES[view]:
        destroy(told, stage, random)
    for stage in STAGES[view]:
        told.rebuild(stage, 1)
    told.settle(random)
    assert told.lines() == before
    assert written(told) == records
    assert indexed(told) == members


def test_the_histories_ask_for_messages_and_forget_people_at_all() -> None:
    """Else the claims that nobody is mailed twice, and that the same people are forgotten, would be empty."""
    asked = forgotten = 0

    @settings(max_examples=15, deadline=None)
    @given(histories(), st.integers(0, 2**32))
    def count(events: list[ReceivedEvent], seed: int) -> None:
        nonlocal asked, forgotten
        log = lived(events, Random(seed)).log
        asked += len(log.records(MESSAGE_REQUESTED))
        forgotten += sum(header(record.headers, KIND) == KIND_EXPIRED for record in log.records(EVENT_RESOLVED))

    count()
    assert asked > 0
    assert forgotten > 0
