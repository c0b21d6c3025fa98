"""A slow store stalls nobody who does not need it: its own threads, a bounded wait for them, 429 beyond, and looks that never wait long."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from services.query.adapters.pools import Glance, Pool
from services.query.app import build
from services.query.domain.questions import Question
from services.query.domain.reasons import Busy, HistoryAway
from tests.query_fakes import World


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """What a store that does not answer waits for."""
    event = threading.Event()
    yield event
    event.set()


async def test_beyond_threads_and_waiting_a_call_is_refused_and_other_pools_go_on(held: threading.Event) -> None:
    slow, other = Pool("slow", "ClickHouse", 2, 3), Pool("other", "Kafka", 1, 0)
    calls = [asyncio.create_task(slow.run(held.wait)) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await slow.run(held.wait)
    assert await other.run(lambda: "answered") == "answered"
    held.set()
    assert await asyncio.gather(*calls) == [True] * 5
    assert await slow.run(lambda: 1) == 1


async def test_who_goes_away_gives_a_place_to_wait_back_and_a_thread_only_when_it_is_free(held: threading.Event) -> None:
    pool = Pool("slow", "ClickHouse", 1, 1)
    running, waiting = asyncio.create_task(pool.run(held.wait)), asyncio.create_task(pool.run(held.wait))
    await asyncio.sleep(0.05)
    for call in (running, waiting):
        call.cancel()
    await asyncio.gather(running, waiting, return_exceptions=True)
    third = asyncio.create_task(pool.run(held.wait))
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await pool.run(held.wait)
    held.set()
    assert await third


async def test_what_fails_gives_its_thread_back() -> None:
    def fails() -> None:
        raise HistoryAway("gone")

    pool = Pool("slow", "ClickHouse", 1, 0)
    for _ in range(3):
        with pytest.raises(HistoryAway):
            await pool.run(fails)


async def test_a_glance_is_one_look_for_all_who_ask_and_gives_up_in_time() -> None:
    looks, answer = 0, asyncio.Event()

    async def look() -> str:
        nonlocal looks
        looks += 1
        await answer.wait()
        return "seen"

    glance = Glance(look)
    assert await asyncio.gather(*(glance() for _ in range(20))) == [None] * 20
    assert await glance() is None
    assert looks == 1, "who comes later waits for the look that is under way"
    answer.set()
    assert await glance() == "seen"
    assert await glance() == "seen"
    assert looks == 2


async def test_a_store_that_hangs_is_named_by_readiness_and_status_within_their_bound() -> None:
    world, hang = World(), asyncio.Event()

    async def rows(question: Question) -> list[dict[str, object]]:
        await hang.wait()
        return []

    async def answers() -> bool:
        await hang.wait()
        return True

    world.history.rows, world.history.answers = rows, answers  # type: ignore[method-assign]
    world.app = build(world.parts)
    async with world.client() as client:
        ready = await asyncio.wait_for(client.get("/readyz"), 5)
        status = await asyncio.wait_for(client.get("/api/v1/system/status"), 5)
    assert ready.json()["parts"]["clickhouse"] == "does not answer"
    assert status.json()["stores"] == {"redis": {"answers": True}, "kafka": {"answers": True}, "clickhouse": {"answers": False}}
    hang.set()


async def test_too_many_questions_to_a_store_are_answered_429_with_its_name() -> None:
    world = World()

    async def rows(question: Question) -> list[dict[str, object]]:
        raise Busy("clickhouse_series", "ClickHouse")

    world.history.rows = rows  # type: ignore[method-assign]
    answer = await world.get("messages")
    assert (answer.status_code, answer.json()["code"]) == (429, "too_busy")
    assert "ClickHouse" in answer.json()["message"]
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["content-type"] == "application/problem+json"
    told = [one for one in world.parts.metrics.registry.collectors.collect() if one.name == "rapport_query_busy"]
    assert [(one.labels["pool"], one.value) for one in told[0].samples if one.name.endswith("_total")] == [("clickhouse_series", 1.0)]


async def test_an_unknown_key_waits_for_a_silent_log_no_longer_than_its_bound(held: threading.Event) -> None:
    world = World()
    world.query_keys.caught_up = lambda seconds: held.wait(seconds)  # type: ignore[method-assign]
    began = time.monotonic()
    answers = await asyncio.gather(*(world.get("segments", f"qk_{n}") for n in range(30)))
    assert {(one.status_code, one.json()["code"]) for one in answers} == {(503, "keys_not_read")}
    assert time.monotonic() - began < 20, "they share their wait"
    assert (await world.get("segments")).status_code == 200, "a known key is looked up in memory"
