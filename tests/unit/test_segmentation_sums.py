"""Numbers out of range: absent and counted, never the end of an event, and exact again once they fit."""

from collections.abc import Mapping

from shared.contracts.slots import partition_count
from shared.contracts.topics import RECORD_FAILED
from shared.runtime.observer import Observer
from tests.unit.test_segmentation_stage import MINUTE, NOON, ORDER, World, segment


async def test_a_sum_beyond_64_bits_counts_as_absent_and_is_itself_again_once_it_fits() -> None:
    rich = {"did": ORDER, "within": "30d", "sum": {"of": "revenue", "gte": 1}}
    world = World(segment("rich", rich), segment("buyers", {"did": ORDER, "within": "30d"}))
    world.tick(NOON)
    for number in range(1000):
        world.event("u:1", ORDER, NOON, message_id=str(number), revenue="1000000000000")
    world.event("u:2", ORDER, NOON, revenue=5)
    await world.run()
    assert world.log.records(RECORD_FAILED) == []
    assert set(world.members("rich")) == {"u:2"}
    assert set(world.members("buyers")) == {"u:1", "u:2"}
    for number in range(100):
        world.event("u:1", ORDER, NOON, message_id=f"back {number}", revenue="-1000000000000")
    await world.run()
    assert set(world.members("rich")) == {"u:1", "u:2"}
    assert world.state("u:1").beyond == {}
    assert sum(pairs[1] for pairs in world.state("u:1").series.values()) >= 900 * 10**16


async def test_a_sum_out_of_range_is_dropped_when_no_window_reaches_it() -> None:
    world = World(segment("rich", {"did": ORDER, "within": "24h", "sum": {"of": "revenue", "gte": 1}}))
    world.tick(NOON)
    for number in range(1000):
        world.event("u:1", ORDER, NOON, message_id=str(number), revenue="1000000000000")
    await world.run()
    assert world.state("u:1").beyond
    world.tick(NOON + 50 * 60 * MINUTE)
    await world.run()
    assert world.state("u:1").beyond == {}


async def test_numbers_out_of_range_are_counted() -> None:
    world = World(segment("rich", {"did": ORDER, "sum": {"of": "revenue", "gte": 1}}))
    counted = Counted()
    for partition in range(partition_count()):
        world._slot(partition).observer = counted
    world.tick(NOON)
    for revenue in (10**13, "9" * 40, 10**30, "a lot", None, 5):
        world.event("u:1", ORDER, NOON, message_id=str(revenue), revenue=revenue)
    for number in range(925):
        world.event("u:1", ORDER, NOON, message_id=str(number), revenue="1000000000000")
    await world.run()
    assert counted.ignored == 3 + 3


class Counted(Observer):
    """Adds up what is ignored."""

    ignored = 0

    def folded(self, stage: str, topic: str, counts: Mapping[str, int]) -> None:
        self.ignored += counts["ignored"]
