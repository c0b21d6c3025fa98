"""The slot, on fakes and on real servers: stores emptied while nobody looked, deaths in the middle of a refold, records that resist."""

import json

import pytest

from shared.contracts.failed import FAILED_DECODER
from shared.contracts.slots import slot
from shared.contracts.topics import RECORD_FAILED
from shared.testing.fakes import Crash
from tests.contract.conftest import Worlds


async def test_an_idle_slot_notices_that_the_store_was_emptied(worlds: Worlds) -> None:
    world = await worlds()
    world.put("u:1", add=5)
    await world.run()
    await world.flush()
    await world.slot(slot("u:1")).check()
    assert (await world.tally("u:1")).total == 5
    assert len(await world.out()) == 1


async def test_dying_in_the_middle_of_a_refold_does_not_double_the_log(worlds: Worlds) -> None:
    world = await worlds()
    for n in range(40):
        world.put("u:1", add=n)
    await world.run()
    for survive in worlds.some(range(1, 18, 3)):
        await world.flush()
        world.crash()
        world.log.page = 4
        world.log.read_limit = survive
        with pytest.raises(Crash):
            await world.slot(slot("u:1")).take_over()
        world.log.read_limit = None
        world.crash()
        await world.slot(slot("u:1")).take_over()
        await world.run()
        assert (await world.tally("u:1")).count == 40
        assert len(await world.out()) == 40, survive


async def test_a_record_whose_cause_cannot_be_read_is_set_aside(worlds: Worlds) -> None:
    world = await worlds()
    world.append(world.stage.inputs[0], "u:1", b'{"add":1}', [("cause", b"garbage")])
    world.append(world.stage.inputs[0], "u:1", b'{"add":1}', [("cause", b"\xff|1|2")])
    world.put("u:1", add=2)
    await world.run()
    assert ((await world.tally("u:1")).count, (await world.tally("u:1")).total) == (1, 2)
    assert len(await world.records(RECORD_FAILED)) == 2


async def test_a_record_too_large_for_a_dead_letter_is_named_in_one(worlds: Worlds) -> None:
    world = await worlds(broken=True)
    world.append(world.stage.inputs[0], "u:1", json.dumps({"boom": True, "pad": "x" * 8_388_000}).encode())
    world.put("u:1", add=2)
    await world.run()
    assert (await world.tally("u:1")).count == 1
    (letter,) = [FAILED_DECODER.decode(record.value or b"") for record in await world.records(RECORD_FAILED)]
    assert (letter.offset, letter.value) == (0, None)
