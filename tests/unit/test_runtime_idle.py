"""What an idle slot keeps, and what a silent Kafka looks like."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from shared.contracts.slots import slot
from shared.runtime import slot as slots
from shared.runtime.observer import Observer
from shared.runtime.ports import TopicPartition
from shared.testing.counting import OUT
from shared.worker.watchdog import Watchdog
from tests.unit.counting_world import World


async def test_an_idle_slot_gives_up_its_outbox_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    for _ in range(2):
        world.put("u:1", add=1)
        await world.run()
    mine = world.slot(slot("u:1"))
    data = world.redis.slots["folder", mine.partition]
    assert data.outbox
    await mine.forget_outbox()
    assert data.outbox, "it has not been idle for long"
    monkeypatch.setattr(slots, "OUTBOX_IDLE_S", 0.0)
    commits = world.redis.commits
    for _ in range(5):
        await mine.forget_outbox()
    assert not data.outbox
    assert world.redis.commits == commits + 1, "an idle system must not be woken again and again"
    world.put("u:1", add=1)
    await world.run()
    world.crash()
    await world.run()
    assert [value for _, value in world.out(OUT)] == [b"1", b"2", b"3"]


class Silent:
    """A log that does not answer until it is told to."""

    def __init__(self) -> None:
        self.answer = asyncio.Event()

    async def ends(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        await self.answer.wait()
        return dict.fromkeys(partitions, 0)


async def test_a_log_that_is_asked_and_says_nothing_is_noticed_and_forgotten_when_it_answers() -> None:
    async def ping() -> None:
        return

    log: Any = Silent()
    watchdog = Watchdog([], log, ping, Observer(), 60.0)
    assert watchdog.silent_s() == 0.0
    asked = asyncio.create_task(watchdog._ends([("t", 0)]))
    await asyncio.sleep(0.01)
    assert watchdog.silent_s() > 0.0
    log.answer.set()
    await asked
    assert watchdog.silent_s() == 0.0
