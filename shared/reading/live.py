"""The live view: what the stages keep in Redis, read only. Other owners' keys are never written here.

`KeySpace` is the little of Redis that is needed; tests hand in one in memory.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol, cast

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, ResponseError, TimeoutError

from shared.adapters.redis_client import redis_client
from shared.adapters.store_settings import Address
from shared.reading.away import Busy, LiveAway

CALLS: Final = 64
"""Calls to Redis under way at a time, each on a connection."""
WAITING: Final = 256


class KeySpace(Protocol):
    """Reads in one round trip each. Every call may raise LiveAway."""

    async def texts(self, keys: Sequence[str]) -> list[bytes | None]:
        """The strings at `keys`."""

    async def fields(self, key: str, names: Sequence[str]) -> list[bytes | None]:
        """Some fields of one hash."""

    async def hashes(self, keys: Sequence[str]) -> list[dict[str, str]]:
        """Whole hashes; empty where there is none."""

    async def sizes(self, keys: Sequence[str]) -> list[int]:
        """How many members each sorted set has."""

    async def slices(self, asked: Sequence[tuple[str, int, int]]) -> list[list[tuple[bytes, float]]]:
        """Members with scores by rank: (key, first, last), ordered by (score, member)."""

    async def answers(self) -> bool:
        """Whether Redis answers now."""


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    try:
        yield
    except (ConnectionError, TimeoutError, BusyLoadingError, OSError) as error:
        raise LiveAway(f"Redis does not answer: {type(error).__name__}") from error
    except ResponseError as error:
        if str(error).startswith(("LOADING", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN")):
            raise LiveAway(f"Redis cannot answer now: {error}") from error
        raise


class RedisSpace:
    """`KeySpace` over a Redis client."""

    def __init__(self, where: Address, seconds: float) -> None:
        """No connection is made yet. A call that gets no answer in `seconds` fails."""
        self._places = asyncio.Semaphore(CALLS)
        self._inside = 0
        once_more = Retry(NoBackoff(), 1)  # a pooled connection may have died with the server's last restart
        self._client = redis_client(where, seconds, max_connections=CALLS, retry=once_more)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """One of CALLS. Raises Busy if WAITING wait for one already."""
        if self._inside >= CALLS + WAITING:
            raise Busy("redis", "Redis")
        self._inside += 1
        try:
            async with self._places:
                yield
        finally:
            self._inside -= 1

    async def texts(self, keys: Sequence[str]) -> list[bytes | None]:
        async with self._place(), _answering(), self._client.pipeline(transaction=False) as pipe:  # the keys lie in different slots
            for key in keys:
                pipe.get(key)
            return cast(list[bytes | None], await pipe.execute())

    async def fields(self, key: str, names: Sequence[str]) -> list[bytes | None]:
        async with self._place(), _answering(), self._client.pipeline(transaction=False) as pipe:
            pipe.hmget(key, list(names))
            return cast(list[bytes | None], (await pipe.execute())[0])

    async def hashes(self, keys: Sequence[str]) -> list[dict[str, str]]:
        async with self._place(), _answering(), self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hgetall(key)
            found = cast(list[dict[bytes, bytes]], await pipe.execute())
        return [{name.decode(): value.decode() for name, value in one.items()} for one in found]

    async def sizes(self, keys: Sequence[str]) -> list[int]:
        async with self._place(), _answering(), self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.zcard(key)
            return cast(list[int], await pipe.execute())

    async def slices(self, asked: Sequence[tuple[str, int, int]]) -> list[list[tuple[bytes, float]]]:
        async with self._place(), _answering(), self._client.pipeline(transaction=False) as pipe:
            for key, first, last in asked:
                pipe.zrange(key, first, last, withscores=True)
            found = await pipe.execute()
        return [[(bytes(member), float(score)) for member, score in one] for one in found]

    async def answers(self) -> bool:
        try:
            async with self._place(), _answering(), self._client.pipeline(transaction=False) as pipe:
                pipe.ping()
                await pipe.execute()
        except LiveAway:
            return False
        return True

    async def close(self) -> None:
        await self._client.aclose()
