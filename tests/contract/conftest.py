"""Worlds for the suite of the slot."""

from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

import pytest

from deploy.local.process import Process
from shared.contracts.slots import partition_count
from shared.testing.counting import Counting
from shared.testing.installation import partitions
from tests.contract.slot_worlds import FakeWorld, RealWorld, World

DATABASE = 9
"""Of the Redis that all tests share."""
REAL_FIRST, REAL_EVERY = 4, 7
"""Where real servers see a death: well inside a publication or a refold, and again later where there are many points."""


class Worlds:
    """Makes worlds, each with a kind of counting stage, and closes them."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request
        self._real = request.param == "real"
        self._made: list[World] = []

    async def __call__(self, *, pass_on: bool = False, broken: bool = False) -> World:
        stage = Counting(pass_on, broken, prefix=f"slot-{uuid4().hex[:8]}")
        self._made.append(await self._real_world(stage) if self._real else FakeWorld(stage))
        return self._made[-1]

    async def _real_world(self, stage: Counting) -> World:
        kafka: Process = self._request.getfixturevalue("kafka")
        redis: Process = self._request.getfixturevalue("redis_server")
        bootstrap: str = kafka.bootstrap  # type: ignore[attr-defined]
        url: str = redis.url  # type: ignore[attr-defined]
        return await RealWorld(stage, bootstrap, f"{url.rpartition('/')[0]}/{DATABASE}").open()

    def some(self, points: Sequence[int]) -> Sequence[int]:
        """Points at which to die: all of them in memory, some on real servers, which take seconds for each."""
        return points[REAL_FIRST::REAL_EVERY] if self._real else points

    async def close(self) -> None:
        """Give back what the worlds hold."""
        for world in self._made:
            await world.close()


COUNTS = {"fakes, 3 partitions": 3, "fakes, 24 partitions": 24}


async def _worlds(request: pytest.FixtureRequest) -> AsyncIterator[Worlds]:
    with partitions(COUNTS.get(request.param, partition_count())):
        made = Worlds(request)
        yield made
        await made.close()


@pytest.fixture(params=["fakes", *COUNTS, pytest.param("real", marks=pytest.mark.real)])
async def worlds(request: pytest.FixtureRequest) -> AsyncIterator[Worlds]:
    """In memory with few, the usual and many partitions, and on real Kafka and Redis."""
    async for made in _worlds(request):
        yield made


@pytest.fixture(params=["fakes", *COUNTS])
async def worlds_in_memory(request: pytest.FixtureRequest) -> AsyncIterator[Worlds]:
    """For claims that need many takeovers, which take real servers a minute."""
    async for made in _worlds(request):
        yield made
