"""States that cannot be dumped: the record or timer that made them so is set aside, and everything else goes on."""

from shared.contracts.failed import FAILED_DECODER, FailedRecord, FailureReason
from shared.contracts.slots import slot
from shared.contracts.topics import RECORD_FAILED
from shared.runtime.stage import Step
from shared.testing.counting import Counting, Item, Tally
from tests.unit.counting_world import World

BEYOND = 1 << 70
"""A total that msgpack cannot hold."""


class Sleepy(Counting):
    """Whoever is woken grows beyond what can be stored, if it had slept until 2,000."""

    def wake(self, state: Tally, step: Step) -> Tally:
        if state.due == 2_000:
            state.total = BEYOND
        return super().wake(state, step)


class Growing(Counting):
    """`add` 13 makes a state that cannot be stored."""

    def fold(self, state: Tally, item: Item, step: Step) -> Tally:
        state = super().fold(state, item, step)
        if item.add == 13:
            state.total = BEYOND
        return state


class Frozen(Counting):
    """A state that is to sleep until 77 cannot be stored, whatever else it holds."""

    def dump(self, state: Tally) -> bytes:
        if state.due == 77:
            raise ValueError("a state of no known form")
        return super().dump(state)


def letters(world: World) -> list[FailedRecord]:
    return [FAILED_DECODER.decode(record.value or b"") for record in world.log.records(RECORD_FAILED)]


def neighbour(key: str) -> str:
    """Another key of the same slot."""
    return next(other for other in (f"u:n{n}" for n in range(1000)) if slot(other) == slot(key))


async def test_the_record_that_makes_a_state_unstorable_is_set_aside_alone() -> None:
    world, other = World(Growing()), neighbour("u:1")
    for add in (1, 2, 13, 4, 5):
        world.put("u:1", add=add)
        world.put(other, add=add if add != 13 else 3)
    await world.run()
    assert (world.tally("u:1").count, world.tally("u:1").total) == (4, 12)
    assert (world.tally(other).count, world.tally(other).total) == (5, 15)
    assert [(letter.offset, letter.reason) for letter in letters(world)] == [(4, FailureReason.HANDLER_FAILED)]
    assert "cannot be stored" in letters(world)[0].detail
    assert [value for key, value in world.out() if key == "u:1"] == [b"1", b"3", b"7", b"12"]


async def test_two_records_that_make_states_unstorable_are_both_set_aside() -> None:
    world, other = World(Growing()), neighbour("u:1")
    for add in (1, 13, 13, 4):
        world.put("u:1", add=add)
        world.put(other, add=add)
    await world.run()
    assert [world.tally(key).total for key in ("u:1", other)] == [5, 5]
    assert sorted(letter.offset for letter in letters(world)) == [2, 3, 4, 5]


async def test_a_key_whose_state_can_never_be_stored_does_not_stop_the_others() -> None:
    world, other = World(Frozen()), neighbour("u:1")
    for _ in range(3):
        world.put(other, add=1)
        world.put(other, add=1)
        world.put("u:1", add=1, sleep_until=77)
    await world.run()
    assert (world.tally("u:1").count, world.tally(other).count) == (0, 6)
    assert [letter.key for letter in letters(world)] == [b"u:1"] * 3
    world.crash()
    world.log.commits.clear()
    await world.run()
    assert len(letters(world)) == 3, "neither does a restart meet them again"


async def test_a_timer_that_makes_a_state_unstorable_is_set_aside_and_the_others_fire() -> None:
    world, other = World(Sleepy()), neighbour("u:1")
    world.put("u:1", add=1, sleep_until=2_000)
    world.put(other, add=1, sleep_until=1_500)
    await world.run()
    world.tick(3_000)
    await world.run()
    assert (world.tally("u:1").woken, world.tally("u:1").total) == (0, 1)
    assert world.tally(other).woken == 1
    assert [(letter.key, letter.reason) for letter in letters(world)] == [(b"u:1", FailureReason.TIMER_FAILED)]
    world.put("u:1", add=5)
    await world.run()
    assert world.tally("u:1").total == 6


async def test_what_is_set_aside_is_the_same_after_the_store_was_emptied() -> None:
    world = World(Growing())
    for add in (1, 13, 4, 2, 6, 7):
        world.put("u:1", add=add)
    await world.run(chunk=2)
    before = world.redis.states("folder")
    world.redis.flush()
    world.crash()
    await world.slot(slot("u:1")).take_over()
    assert world.redis.states("folder") == before
    assert len(letters(world)) == 1
    assert len(world.out()) == 5
