"""What a rebuild brings into a view that had never seen it: the past of a new segment, and what left the log before its stage read it."""

import pytest

from services.profile.resolver_stage import ResolverStage
from services.segmentation.stage import SegmentationStage
from shared.contracts.topics import EVENT_RECEIVED
from shared.rules.compiler import compiled
from shared.testing.archive import FakeArchive
from shared.testing.histories import encoded, event, key_of
from shared.testing.scene import Scene
from tests.unit.test_views_rebuilt import HOUR, SEGMENTS, indexed, scene

NEW = "new_customer"


def order(told: Scene, number: int, behind: str = "") -> None:
    """One of three people orders; all stages but the one that is `behind` read of it."""
    one = event("track", f"m{number}", user_id=f"u{number % 3}", event="Order Completed")
    told.log.append(EVENT_RECEIVED, key_of(one), encoded(one))
    told.log.now += HOUR
    told.tick(told.log.now)
    while due := [where for where in told.pending() if where.stage != behind]:
        told.work(due[0])


def shorten(told: Scene, hours: int) -> None:
    """The log keeps the last `hours`, ClickHouse everything."""
    until = told.log.now - hours * HOUR
    for where, records in told.log.partitions.items():
        told.log.starts[where] = next((one.offset for one in records if one.timestamp >= until), len(records))
    told.archive = FakeArchive(told.log)
    told.restart()


def members(told: Scene) -> set[str]:
    return {person for (_, _, name), found in indexed(told).items() if name == f"members:{NEW}" for person in found}


@pytest.mark.parametrize("is_short", [False, True], ids=["whole log", "log shorter than history"])
def test_a_new_segment_begins_empty_and_has_its_past_after_a_rebuild(is_short: bool) -> None:
    others = [one for one in SEGMENTS if one.definition.segment != NEW]
    told = Scene(ResolverStage(), SegmentationStage(compiled(others, "UTC")))
    for number in range(12):
        order(told, number)
    if is_short:
        shorten(told, 5)
    told.redefine(SegmentationStage(compiled(SEGMENTS, "UTC")))
    told.tick(told.log.now + HOUR)
    told.settle()
    assert members(told) == set()
    told.rebuild("segmentation", 1)
    told.settle()
    assert members(told) == {"u:u0", "u:u1", "u:u2"}


@pytest.mark.parametrize("stage", ["folder", "segmentation"])
def test_what_left_the_log_unread_comes_in_by_a_rebuild(stage: str) -> None:
    whole, lacking = scene(), scene()
    for number in range(14):
        order(whole, number)
    for number in range(12):
        order(lacking, number, behind=stage if number >= 6 else "")
    shorten(lacking, 2)
    for number in range(12, 14):
        order(lacking, number)
    assert lacking.lines() != whole.lines()
    lacking.rebuild(stage, 1)
    lacking.settle()
    assert lacking.lines() == whole.lines()
    assert indexed(lacking) == indexed(whole)
