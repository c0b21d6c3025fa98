"""When a slot that fails its records must stand still, when not, and that it goes on."""

import asyncio

import pytest

from shared.contracts.failed import FAILED_DECODER
from shared.contracts.slots import slot
from shared.contracts.topics import RECORD_FAILED
from shared.runtime.brake import LEAST, LONGEST_PAUSE_S, WINDOW, Brake, FailedKey, masked
from shared.testing.counting import Counting
from tests.unit.counting_world import World

NAME = "stage folder, slot 3"


def failed(*keys: int, cause: str = "handler_failed (KeyError)") -> dict[str, FailedKey]:
    return {f"u:{key}": FailedKey(masked(f"u:{key}"), cause, f"events[3] offset {key}") for key in keys}


def passed(*keys: int) -> set[str]:
    return {f"u:{key}" for key in keys}


def test_few_failing_keys_never_catch() -> None:
    assert Brake(0.5, 30).check(LEAST - 1, set(), failed(*range(LEAST - 1)), NAME) is None


def test_whatever_one_person_sends_is_one_key() -> None:
    brake = Brake(0.5, 30)
    for _ in range(50):
        assert brake.check(2000, set(), failed(7), NAME) is None


def test_most_keys_failing_catches_and_says_what_to_do_and_names_nobody() -> None:
    caught = Brake(0.5, 30).check(500, passed(*range(1000, 1050)), failed(*range(LEAST)), NAME)
    assert caught is not None
    assert caught.pause_s == 30
    for words in ("slot 3 stands still for 30 s", "100 of the last 150 keys", "handler_failed (KeyError): 100 keys", "events[3] offset 99"):
        assert words in caught.words
    assert masked("u:99") in caught.words
    assert "u:99" not in caught.words


def test_as_many_keys_that_pass_do_not_catch() -> None:
    assert Brake(0.5, 30).check(500, passed(*range(1000, 1000 + LEAST)), failed(*range(LEAST)), NAME) is None


def test_what_lies_further_back_than_the_window_counts_no_more() -> None:
    brake = Brake(0.5, 30)
    assert brake.check(99, set(), failed(*range(LEAST - 1)), NAME) is None
    assert brake.check(WINDOW, passed(*range(5000, 6000)), {}, NAME) is None
    assert brake.check(50, set(), failed(*range(200, 250)), NAME) is None


def test_each_pause_in_a_row_is_twice_as_long_up_to_a_limit_and_calm_begins_anew() -> None:
    brake = Brake(0.5, 30)
    pauses = []
    for _ in range(7):
        caught = brake.check(LEAST, set(), failed(*range(LEAST)), NAME)
        assert caught is not None
        pauses.append(caught.pause_s)
    assert pauses == [30, 60, 120, 240, 480, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    assert brake.check(WINDOW + 1, passed(1, 2, 3), {}, NAME) is None
    caught = brake.check(LEAST, set(), failed(*range(LEAST)), NAME)
    assert caught is not None
    assert caught.pause_s == 30


def test_a_ratio_of_one_goes_on_whatever_fails() -> None:
    assert Brake(1.0, 30).check(WINDOW, set(), failed(*range(WINDOW)), NAME) is None


@pytest.mark.parametrize("chunk", [50, 400])
async def test_a_slot_stands_still_with_nothing_of_the_batch_committed_then_sets_aside_what_fails_and_goes_on(chunk: int) -> None:
    world = World(Counting(broken=True))
    keys = [key for n in range(5000) if slot(key := f"u:{n}") == 0][:250]
    for key in keys:
        world.put(key, boom=True)
    world.put(keys[0], add=5)
    mine = world.slot(0)
    mine._brake = Brake(0.5, 0.3)
    running = asyncio.create_task(world.run(rounds=1, chunk=chunk))
    async with asyncio.timeout(30):
        while mine.braked is None:  # noqa: ASYNC110 - nothing tells of it but the slot itself
            await asyncio.sleep(0.001)
    set_aside = len(world.log.records(RECORD_FAILED))
    assert set_aside < LEAST
    assert "stands still" in (mine.braked or "")
    await running
    letters = [FAILED_DECODER.decode(record.value or b"") for record in world.log.records(RECORD_FAILED)]
    assert [letter.key for letter in letters] == [key.encode() for key in keys]
    assert world.tally(keys[0]).total == 5
    assert mine.braked is None


async def test_what_was_passed_once_passes_a_refold_without_standing_still() -> None:
    world = World(Counting(broken=True))
    keys = [key for n in range(5000) if slot(key := f"u:{n}") == 0][:250]
    for key in keys:
        world.put(key, boom=True)
    world.slot(0)._brake = Brake(0.5, 0.0)
    await world.run(rounds=1)
    said = len(world.log.records(RECORD_FAILED))
    world.redis.flush()
    world.crash()
    world.slot(0)._brake = Brake(0.5, 3600.0)
    assert await asyncio.wait_for(world.slot(0).take_over(), 30)
    assert len(world.log.records(RECORD_FAILED)) == said == 250
