"""The gate while several slots look at the stages upstream at a time (on a real Redis: tests/integration/test_dispatcher_redis.py)."""

import asyncio
from typing import Any

from services.messaging.adapters.gate import UPSTREAM, RedisGate
from services.messaging.domain.standing import Standing
from shared.contracts.slots import partition_count
from tests.waiting import wait_for

Answer = list[list[bytes]]


class Asked:
    """A pipeline of a Redis that answers each question when the test wants it to."""

    def __init__(self) -> None:
        self.answers: list[asyncio.Future[Answer]] = []

    def pipeline(self, **_: object) -> "Asked":
        return self

    async def __aenter__(self) -> "Asked":
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def hmget(self, *_: object) -> None: ...

    async def execute(self) -> Answer:
        self.answers.append(asyncio.get_running_loop().create_future())
        return await self.answers[-1]


def all_at(commit: int) -> Answer:
    """Every slot of every stage upstream has caught up, and has made so many commits of its first life."""
    return [[b"0", str(commit).encode(), b"1"] for _ in UPSTREAM for _ in range(partition_count())]


async def looking(gate: RedisGate, store: Asked) -> asyncio.Task[str | None]:
    """Somebody who has asked, and has no answer yet."""
    before = len(store.answers)
    task = asyncio.create_task(gate.closed())
    await wait_for("the question", lambda: len(store.answers) > before)
    return task


async def test_an_answer_that_comes_late_is_no_redis_that_went_back() -> None:
    store, standing = Asked(), Standing()
    standing.is_whole = True
    client: Any = store
    gate = RedisGate(client, standing)
    first, second = await looking(gate, store), await looking(gate, store)
    store.answers[1].set_result(all_at(8))
    assert await second is None
    store.answers[0].set_result(all_at(7))
    assert await first is None
    third = await looking(gate, store)
    store.answers[2].set_result(all_at(7))
    assert "Redis was rolled back" in (await third or ""), "asked after 8 was seen"
