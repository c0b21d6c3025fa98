"""A slow store stalls nobody who does not need it: its own threads, a bounded wait for them, 429 beyond, and looks that never wait long."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from shared.reading.away import Busy, HistoryAway
from shared.reading.pools import Glance, Pool, asker
from shared.reading.questions import Question
from tests.api_fakes import World
from tests.waiting import wait_for

T = TypeVar("T")


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


async def asked_by(key: str | None, pool: Pool, work: Callable[[], T]) -> T:
    """A call in a task of its own, as each request is."""
    asker.set(key)
    return await pool.run(work)


async def test_a_second_key_finds_a_thread_and_a_place_to_wait_however_much_the_first_asks(held: threading.Event) -> None:
    pool = Pool("slow", "ClickHouse", 4, 6)
    greedy = [asyncio.create_task(asked_by("greedy", pool, held.wait)) for _ in range(60)]
    await asyncio.sleep(0)
    assert sum(one.done() for one in greedy) == 60 - 2 - 3, "half of the threads and half of the places to wait are its"
    assert await asyncio.wait_for(asked_by("other", pool, lambda: "answered"), 10) == "answered"
    others = [asyncio.create_task(asked_by("other", pool, held.wait)) for _ in range(5)]
    await asyncio.sleep(0)
    assert not any(one.done() for one in others)
    held.set()
    told = await asyncio.gather(*greedy, *others, return_exceptions=True)
    assert [one for one in told if not isinstance(one, Busy)] == [True] * 10


async def test_a_key_that_has_had_its_answers_has_its_share_again() -> None:
    pool = Pool("slow", "ClickHouse", 1, 0)
    for n in range(20):
        assert await asked_by("one", pool, lambda n=n: n) == n  # type: ignore[misc]


async def test_a_key_that_goes_away_while_it_waits_frees_its_place(held: threading.Event) -> None:
    pool = Pool("slow", "ClickHouse", 1, 2)
    running, waiting = (asyncio.create_task(asked_by("one", pool, held.wait)) for _ in range(2))
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await asked_by("one", pool, held.wait)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    third = asyncio.create_task(asked_by("one", pool, held.wait))
    await asyncio.sleep(0)
    held.set()
    assert all(await asyncio.gather(running, third))


async def test_history_that_one_key_asks_for_all_the_time_is_there_for_another(held: threading.Event) -> None:
    world, pool = World(), Pool("clickhouse_page", "ClickHouse", 4, 16)
    world.query_keys.add("qk_other", "read")

    async def rows(question: Question) -> list[dict[str, object]]:
        return await pool.run(lambda: [] if held.wait() else [{}])

    world.history.rows = rows  # type: ignore[method-assign]
    greedy = [asyncio.create_task(world.get("messages")) for _ in range(60)]
    other = [asyncio.create_task(world.get("messages", "qk_other")) for _ in range(7)]
    await wait_for("refusals of the greedy key", lambda: sum(one.done() for one in greedy) == 60 - 2 - 8)
    held.set()
    assert {one.status_code for one in await asyncio.gather(*other)} == {200}
    assert Counter(one.status_code for one in await asyncio.gather(*greedy)) == {429: 50, 200: 10}


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
    world.start()
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
    told = [one for one in world.query_parts.metrics.registry.collectors.collect() if one.name == "rapport_api_busy"]
    assert [(one.labels["pool"], one.value) for one in told[0].samples if one.name.endswith("_total")] == [("clickhouse_series", 1.0)]


async def test_an_unknown_key_waits_for_a_silent_log_no_longer_than_its_bound(held: threading.Event) -> None:
    world = World()
    world.query_keys.caught_up = lambda seconds: held.wait(seconds)  # type: ignore[method-assign]
    began = time.monotonic()
    answers = await asyncio.gather(*(world.get("segments", f"qk_{n}") for n in range(30)))
    assert {(one.status_code, one.json()["code"]) for one in answers} == {(503, "keys_not_read")}
    assert time.monotonic() - began < 20, "they share their wait"
    assert (await world.get("segments")).status_code == 200, "a known key is looked up in memory"
