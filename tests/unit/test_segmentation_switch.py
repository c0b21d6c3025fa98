"""A plan that the log has applied takes the place of another: who is decided again, for which segments, and why it is said."""

from shared.contracts.changes import ChangeReason
from tests.unit.test_segmentation_stage import BOUGHT, DAY, ENTERED, HOUR, LEFT, NOON, ORDER, QUIET, VIEW, World, segment

BUYERS, SILENT = segment("buyers", BOUGHT), segment("silent", {"did_not": ORDER, "within": "7d"})
EVER = segment("ever", {"last": ORDER, "within": "60d"})


def said(world: World, since: int = 0) -> list[tuple[str, object, ChangeReason | None]]:
    return [(one.segment, one.transition, one.reason) for one in world.changes()[since:]]


async def buyer() -> World:
    """Somebody who bought at noon and was decided under `buyers`, applied at 5."""
    world = World()
    world.restart(BUYERS, since={"buyers": 5})
    world.tick(NOON)
    world.event("u:1", ORDER, NOON)
    await world.run()
    assert said(world) == [("buyers", ENTERED, ChangeReason.EVENT)]
    assert world.state("u:1").version == 5
    return world


async def test_a_window_that_passes_is_the_reason_time_and_a_merge_is_the_reason_merge() -> None:
    world = World(segment("buyers", BOUGHT), segment("twice", {"did": ORDER, "count": {"gte": 2}}))
    world.tick(NOON)
    for key in ("u:1", "u:2"):
        world.event(key, ORDER, NOON)
    await world.run()
    world.merge("u:2", "u:1")
    world.event("u:1", VIEW, NOON, merged_from="u:2")
    await world.run()
    assert [one for one in said(world) if one[0] == "twice"] == [("twice", ENTERED, ChangeReason.MERGE)]
    world.tick(NOON + 31 * DAY)
    await world.run()
    assert [one for one in said(world) if one[1] is LEFT] == [("buyers", LEFT, ChangeReason.TIME)]


async def test_only_the_segment_that_was_applied_since_is_decided_again() -> None:
    world = await buyer()
    world.restart(BUYERS, EVER, since={"buyers": 5, "ever": 9})
    world.event("u:1", "Unasked", NOON)
    await world.run()
    assert said(world, 1) == [("ever", ENTERED, ChangeReason.DEFINITION)]
    assert world.state("u:1").version == 9
    world.restart(BUYERS, EVER, since={"buyers": 5, "ever": 9})
    world.event("u:1", "Unasked", NOON)
    await world.run()
    assert len(world.changes()) == 2


async def test_who_enters_a_new_segment_by_the_event_itself_enters_by_an_event() -> None:
    world = await buyer()
    viewers = segment("viewers", {"did": VIEW, "within": "1d"})
    world.restart(BUYERS, EVER, viewers, since={"buyers": 5, "ever": 9, "viewers": 9})
    world.event("u:1", VIEW, NOON, message_id="view")
    await world.run()
    assert said(world, 1) == [("viewers", ENTERED, ChangeReason.EVENT), ("ever", ENTERED, ChangeReason.DEFINITION)]
    assert [one.by_event for one in world.changes()[1:]] == ["view", None]


async def test_a_segment_with_a_new_rule_that_holds_anyway_is_entered_by_its_definition_though_an_event_touches_it() -> None:
    world = await buyer()
    world.restart(BUYERS, EVER, since={"buyers": 5, "ever": 9})
    world.event("u:1", ORDER, NOON)
    await world.run()
    assert said(world, 1) == [("ever", ENTERED, ChangeReason.DEFINITION)]


async def test_a_border_that_passed_before_the_switch_is_still_a_border_for_what_did_not_change() -> None:
    world = await buyer()
    world.restart(BUYERS, EVER, since={"buyers": 5, "ever": 9})
    border = NOON + 30 * DAY
    world.tick(border + 3 * HOUR)
    await world.run()
    assert [(one.segment, one.transition, one.at, one.reason) for one in world.changes()[1:]] == [
        ("buyers", LEFT, border, ChangeReason.TIME),
        ("ever", ENTERED, border + 3 * HOUR, ChangeReason.DEFINITION),
    ]


async def test_a_removed_segment_is_left_for_its_definition() -> None:
    world = await buyer()
    world.restart(EVER, since={"buyers": 9, "ever": 4})
    world.event("u:1", "Unasked", NOON)
    await world.run()
    assert said(world, 1) == [("buyers", LEFT, ChangeReason.DEFINITION)]
    assert world.changes()[1].version == 0


async def test_a_state_of_a_plan_without_instants_is_decided_anew_once() -> None:
    world = World(BUYERS)
    world.tick(NOON)
    world.event("u:1", ORDER, NOON)
    await world.run()
    assert 0 < world.state("u:1").version < 2**32
    applied = {"buyers": NOON, "ever": NOON}
    world.restart(BUYERS, EVER, since=applied)
    world.event("u:1", "Unasked", NOON)
    await world.run()
    assert said(world, 1) == [("ever", ENTERED, ChangeReason.DEFINITION)]
    assert world.state("u:1").version == NOON


async def test_who_has_no_state_is_woken_into_what_holds_of_everybody_by_its_definition_and_else_leaves_none() -> None:
    world = World()
    world.restart(BUYERS, since={"buyers": 5})
    step, state = world.step("u:9", NOON), world.stage.empty("u:9")
    assert world.stage.wake(state, step).blank
    assert step.unchanged
    world.restart(SILENT, segment("quiet", QUIET), since={"silent": 5, "quiet": 5})
    step = world.step("u:9", NOON)
    state = world.stage.wake(world.stage.empty("u:9"), step)
    assert set(state.members) == {"silent", "quiet"}
    assert {one.reason for one in world.outputs(step)} == {ChangeReason.DEFINITION}
