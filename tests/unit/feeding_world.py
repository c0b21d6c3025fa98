"""One stage's worker over fake servers, fed by hand instead of by Faust."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from shared.contracts.slots import slot
from shared.runtime.observer import Observer
from shared.runtime.stage import Record
from shared.testing.counting import IN, Counting
from shared.testing.fakes import FakeLog
from shared.worker.settings import RuntimeSettings
from shared.worker.stage_worker import StageWorker
from tests.unit.counting_world import World

DEADLINE_S = 20.0
ONE = "u:1"
OTHER = next(f"u:{number}" for number in range(100) if slot(f"u:{number}") != slot(ONE))


class GatedLog(FakeLog):
    """Gives one record a time of the partitions of IN that are `shut`, each when it is let through."""

    def __init__(self) -> None:
        super().__init__()
        self.shut: dict[int, asyncio.Semaphore] = {}
        self.asked: set[int] = set()

    async def read(self, topic: str, partition: int, start: int, end: int) -> tuple[list[Record], int]:
        if topic == IN and partition in self.shut:
            self.asked.add(partition)
            await self.shut[partition].acquire()
            end = min(end, start + 1)
        return await super().read(topic, partition, start, end)


class Chunk:
    """What the transport hands over: records of one partition, to be acknowledged by hand."""

    def __init__(self, topic: str, partition: int, records: list[Any]) -> None:
        self.topic, self.partition, self.records = topic, partition, records

    def ack(self, consumer: Any) -> None:
        consumer.acked.append((self.partition, self.records[-1].offset))


def worker_over(world: World, observer: Observer | None = None, on_fatal: Callable[[BaseException], None] | None = None) -> StageWorker:
    """It has the slots of ONE and OTHER."""
    settings = RuntimeSettings(kafka_bootstrap="none:1", redis_url="redis://none")
    worker = StageWorker(Counting(), settings, world.log, world.redis.store, observer or Observer(), on_fatal or world_ended)
    worker.app = SimpleNamespace(consumer=SimpleNamespace(unacked=set(), acked=[]))
    for key in (ONE, OTHER):
        worker._open(slot(key))
    return worker


def world_ended(reason: BaseException) -> None:
    """Nothing may go wrong."""
    raise AssertionError(reason)


def chunk(world: World, key: str) -> Any:
    """The newest record of `key`, as a chunk."""
    record = world.log.partitions[IN, slot(key)][-1]
    return Chunk(topic=IN, partition=slot(key), records=[record])


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something `holds`."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110 - a slot tells nobody when it has moved
            await asyncio.sleep(0.01)


async def taken_over(worker: StageWorker) -> None:
    """All slots have been."""
    await until(lambda: all(one.token is not None for one in worker.slots.values()))


async def dropped(worker: StageWorker) -> None:
    """The worker has given all slots up."""
    for partition in list(worker.slots):
        await worker._drop(partition)
