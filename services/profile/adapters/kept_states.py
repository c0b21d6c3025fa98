"""What stages keep under anonymous ids, in Redis: read only, page by page."""

from collections.abc import AsyncIterator, Sequence
from typing import Final, cast

import redis.asyncio as redis

from services.profile.sweep import Key
from shared.adapters.redis_store import answering
from shared.contracts.ids import anonymous
from shared.contracts.redis_keys import REBUILDING, TAGS, meta_key, state_key

SCANNED: Final = 500
"""Keys that one call looks at: those of every stage and of every kind."""


class RedisKept:
    """`KeptStates` over a Redis client."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    async def pages(self, stage: str) -> AsyncIterator[list[Key]]:
        tag = f"{{{TAGS[stage]}:"
        cursor = -1
        while cursor != 0:
            async with answering():
                following, found = await self._client.scan(max(cursor, 0), match=f"{tag}*}}:s:{anonymous('')}*", count=SCANNED)
            cursor = int(following)
            yield [_parsed(key.decode().removeprefix(tag)) for key in cast(list[bytes], found)]

    async def load(self, stage: str, ids: Sequence[str]) -> list[bytes | None]:
        async with answering(), self._client.pipeline(transaction=False) as pipe:
            for one in ids:
                pipe.get(state_key(stage, one))
            return cast(list[bytes | None], await pipe.execute())

    async def is_whole(self, stage: str, partition: int) -> bool:
        async with answering():
            return bool(await self._client.hget(meta_key(stage, partition), REBUILDING) == b"0")


def _parsed(rest: str) -> Key:
    """Of a key of a state what stands behind the tag: `3}:s:a:1`."""
    partition, _, one = rest.partition("}:s:")
    return Key(int(partition), one)
