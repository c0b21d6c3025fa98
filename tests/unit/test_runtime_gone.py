"""A key that is forgotten takes its timer and its second blob along; one that took part in a merge stays; a refold forgets the same."""

import json
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contracts.failed import FAILED_DECODER, FailureReason
from shared.contracts.headers import KIND, KIND_EXPIRED
from shared.contracts.identity import Expiry, MergeRecord
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import RECORD_FAILED
from shared.testing.counting import IN, MOVED, OUT, Counting
from shared.testing.scene import Scene
from tests.unit.counting_world import World

ANN, BOB = "a:ann", "u:bob"
LATER = 1_800_000_000_000


def expire(world: World | Scene, key: str) -> None:
    world.log.append(IN, key, msgspec.json.encode(Expiry(key, 1, 2)), [(KIND, KIND_EXPIRED)])


def kept(world: World, key: str) -> tuple[bool, bool, bool]:
    """Whether there are a state, a timer, a second blob."""
    data = world.redis.slots["folder", slot(key)]
    return key in data.states, key in data.timers, bool(data.sides.get(key))


@pytest.mark.parametrize("chunk", [1, 100])
@pytest.mark.parametrize("by", ["an expiry", "its own fold"])
async def test_a_forgotten_key_leaves_nothing_and_what_comes_later_begins_anew(by: str, chunk: int) -> None:
    world = World()
    world.put(ANN, add=5, sleep_until=LATER)
    await world.run()
    assert kept(world, ANN) == (True, True, True)
    if by == "an expiry":
        expire(world, ANN)
    else:
        world.put(ANN, gone=True)
    await world.run(chunk=chunk)
    assert kept(world, ANN) == (False, False, False)
    world.tick(LATER + 1)
    await world.run(chunk=chunk)
    assert kept(world, ANN) == (False, False, False), "its timer does not fire"
    world.put(ANN, add=1)
    await world.run(chunk=chunk)
    assert (world.tally(ANN).count, world.tally(ANN).total, world.tally(ANN).woken) == (1, 1, 0)


async def test_a_key_that_comes_back_in_the_same_batch_keeps_what_is_new_and_nothing_else() -> None:
    world = World()
    world.put(ANN, add=5, sleep_until=LATER)
    await world.run()
    world.put(ANN, add=7)
    expire(world, ANN)
    world.put(ANN, add=1)
    await world.run()
    assert (world.tally(ANN).count, world.tally(ANN).total) == (1, 1)
    assert kept(world, ANN) == (True, False, True)
    assert len(world.redis.slots["folder", slot(ANN)].sides[ANN]) == 1
    world.crash()
    world.put(ANN, add=1)
    await world.run()
    assert world.tally(ANN).count == 2, "as the store has it"


async def test_a_key_that_came_and_went_in_one_batch_is_not_stored() -> None:
    world = World()
    world.put(ANN, add=5, sleep_until=LATER)
    expire(world, ANN)
    await world.run()
    assert kept(world, ANN) == (False, False, False)


async def test_an_expiry_is_not_sent_after_a_key_that_was_merged() -> None:
    world = World()
    world.put(ANN, add=5)
    world.put(BOB, add=1)
    world.merge(ANN, BOB)
    await world.run()
    expire(world, ANN)
    before = len(world.log.records(MOVED))
    await world.run()
    assert len(world.log.records(MOVED)) == before
    assert world.tally(BOB).total == 6
    world.put(ANN, add=1)
    await world.run()
    assert world.tally(BOB).total == 7, "the marker stands"


async def test_who_has_taken_others_in_stays_and_so_does_who_waits_for_one() -> None:
    world = World()
    world.put(ANN, add=5)
    world.merge(ANN, BOB)
    await world.run()
    expire(world, BOB)
    world.log.append(IN, "u:waits", json.dumps({"add": 1}).encode(), [("merged_from", b"a:late")])
    expire(world, "u:waits")
    await world.run()
    assert (world.tally(BOB).total, world.tally("u:waits").total) == (5, 1)


async def test_an_expiry_that_cannot_be_read_is_a_dead_letter_and_forgets_nobody() -> None:
    world = World()
    world.put(ANN, add=5)
    world.log.append(IN, ANN, b'{"id": 7}', [(KIND, KIND_EXPIRED)])
    await world.run()
    (letter,) = [FAILED_DECODER.decode(record.value or b"") for record in world.log.records(RECORD_FAILED)]
    assert letter.reason is FailureReason.UNDECODABLE
    assert world.tally(ANN).total == 5


def timers_of(told: Scene) -> dict[str, int]:
    return {key: due for data in told.redis.slots.values() for key, due in data.timers.items()}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(("add", "sleep", "expire", "merge", "nothing")), min_size=1, max_size=25), st.integers(0, 2**32))
def test_a_refold_forgets_whom_the_first_fold_forgot_and_says_nothing_again(story: list[str], seed: int) -> None:
    random = Random(seed)
    told = Scene(Counting())
    keys = ("a:1", "a:2", "u:3")
    for n, what in enumerate(story):
        key = random.choice(keys)
        told.log.now += 1000
        match what:
            case "expire":
                expire(told, key)
            case "merge":
                value = msgspec.json.encode(MergeRecord("a:1", "u:3", 0))
                told.log.append(IN, "a:1", value, [("kind", b"merge")])
            case "nothing":
                told.log.append(IN, key, json.dumps({"nothing": True}).encode())
            case _:
                item = {"add": n, "sleep_until": told.log.now + 5000 if what == "sleep" else 0}
                told.log.append(IN, key, json.dumps(item).encode())
        while random.random() < 0.5 and (pending := told.pending()):
            told.work(random.choice(pending), random.randint(1, 4))
    told.settle(random)
    states, said = told.redis.states("folder"), len(told.log.records(OUT))
    timers = timers_of(told)
    told.redis.flush()
    told.restart()
    for partition in range(partition_count()):
        told.take_over(partition)
    told.settle()
    assert told.redis.states("folder") == states
    assert timers_of(told) == timers
    assert len(told.log.records(OUT)) == said
