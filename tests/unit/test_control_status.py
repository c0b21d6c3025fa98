"""system/status: how far each stage is, and what cannot be known while a store is away."""

from typing import Any

import pytest

from shared.contracts.redis_keys import meta_key
from shared.contracts.slots import partition_count
from shared.contracts.topics import EVENT_RECEIVED, EVENT_RESOLVED, FOLDER_REPLAYED
from shared.testing.installation import partitions
from tests.api_fakes import World

NOW = 1_780_000_000_000


def started(world: World, fence: int, **extra: str) -> None:
    """The folder's slots, each with `fence` of event.resolved applied, and ten records in every partition."""
    clocks = {f"k|{slot}": str(NOW) for slot in range(partition_count())}
    for p in range(partition_count()):
        world.space.hash[meta_key("folder", p)] = {"seq": "4", f"f|{EVENT_RESOLVED}": str(fence), "rb": "0"} | clocks | extra
        for _ in range(10):
            world.log.put(EVENT_RESOLVED, p, b"", NOW)


async def stage(world: World, name: str) -> Any:
    return next(one for one in (await world.get("system/status")).json()["stages"] if one["stage"] == name)


@pytest.mark.parametrize("count", [3, 8, 24])
async def test_lag_is_what_lies_behind_the_fence(count: int) -> None:
    world = World()
    with partitions(count):
        started(world, fence=7)
        world.log.put(EVENT_RECEIVED, 0, b"", NOW)
        folder = await stage(world, "folder")
        resolver = await stage(world, "resolver")
    assert (folder["lag_records"], folder["started"], folder["clock"]) == (3 * count, True, "2026-05-28T20:26:40.000Z")
    assert len(folder["slots"]) == count
    assert folder["slots"][0]["fences"] == {EVENT_RESOLVED: 7}
    assert (resolver["lag_records"], resolver["started"], resolver["clock"]) == (1, False, None)


async def test_before_the_number_of_partitions_is_known_what_needs_it_answers_503_and_the_status_what_it_can() -> None:
    world = World()
    with partitions(0):
        refused = await world.get("profiles/u:ada")
        status = await world.get("system/status")
    assert (refused.status_code, refused.json()["code"]) == (503, "log_unavailable")
    assert "number of partitions" in refused.json()["message"]
    assert (status.status_code, status.json()["stages"], status.json()["rebuilding"]) == (200, None, None)


async def test_clock_records_that_were_acknowledged_are_no_lag() -> None:
    world = World()
    started(world, fence=7)
    for p in range(partition_count()):
        world.log.acked["rapport-folder", (EVENT_RESOLVED, p)] = 10
    assert (await stage(world, "folder"))["lag_records"] == 0


async def test_while_a_slot_rebuilds_only_its_fence_counts() -> None:
    world = World()
    started(world, fence=2, rb="1")
    for p in range(partition_count()):
        world.log.acked["rapport-folder", (EVENT_RESOLVED, p)] = 10
    folder = await stage(world, "folder")
    assert (folder["lag_records"], folder["rebuilding"]) == (8 * partition_count(), True)
    assert (await world.get("system/status")).json()["rebuilding"] is True


async def test_the_warehouse_tells_its_last_flush() -> None:
    world = World()
    world.history.canned["flushed"] = [{"flushed_ms": NOW, "events": 12}]
    found = (await world.get("system/status")).json()["warehouse"]
    assert found == {"state": "whole", "detail": None, "lag_records": 0, "last_flush": "2026-05-28T20:26:40.000Z", "events": 12}


async def test_whatever_is_away_is_said_and_the_rest_is_answered() -> None:
    world = World()
    started(world, fence=7)
    world.history.away = True
    answer = (await world.get("system/status")).json()
    assert (answer["stores"]["clickhouse"]["answers"], len(answer["stages"])) == (False, 5)
    world.space.away = world.log.away = True
    answer = (await world.get("system/status")).json()
    assert (answer["rebuilding"], answer["stages"], answer["warehouse"]["lag_records"]) == (None, None, None)
    assert not any(store["answers"] for store in answer["stores"].values())


@pytest.mark.parametrize("away", ["space", "log"])
async def test_nothing_is_said_of_stages_while_either_store_that_knows_them_is_away(away: str) -> None:
    world = World()
    started(world, fence=7)
    getattr(world, away).away = True
    answer = (await world.get("system/status")).json()
    assert (answer["rebuilding"], answer["stages"], answer["warehouse"]["lag_records"] is None) == (None, None, away == "log")


async def test_a_slot_that_is_known_to_be_rebuilt_is_said_without_kafka_too() -> None:
    world = World()
    started(world, fence=2, rb="1")
    world.log.away = True
    answer = (await world.get("system/status")).json()
    assert (answer["rebuilding"], answer["stages"]) == (True, None)


async def test_a_topic_that_no_slot_has_a_fence_for_is_not_waited_for() -> None:
    world = World()
    started(world, fence=10)
    world.log.put(FOLDER_REPLAYED, 0, b"", NOW)
    assert [one["topic"] for one in (await stage(world, "folder"))["inputs"]] == [EVENT_RESOLVED]
    assert (await stage(world, "folder"))["lag_records"] == 0
    world.space.hash[meta_key("folder", 0)][f"f|{FOLDER_REPLAYED}"] = "0"
    assert (await stage(world, "folder"))["lag_records"] == 1
