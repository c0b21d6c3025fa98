"""Caps in Redis: per person and class a sorted set of the messages of the last month. The ledger can put it all back."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import redis.asyncio as redis
from redis.exceptions import NoScriptError

from services.messaging.dispatch.ports import Claim
from services.messaging.domain.ledger import packed
from shared.adapters.redis_store import answering
from shared.contracts.ledger import COUNTED, LedgerEntry
from shared.contracts.redis_keys import cap_key, meta_key
from shared.definitions.journey import LONGEST_CAP

STAGE: Final = "dispatcher"
KEPT: Final = "caps"
CAP_MEMORY_MS: Final = LONGEST_CAP.ms
_CLAIM: Final = (Path(__file__).parent / "caps.lua").read_text()


class RedisCaps:
    """A message has one place however often it is claimed, so a crash between claiming and sending costs nothing."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._sha = ""

    async def kept(self, partition: int) -> bool:
        async with answering():
            return await self._client.hget(meta_key(STAGE, partition), KEPT) == b"1"

    async def restore(self, partition: int, pages: AsyncIterator[Sequence[LedgerEntry]]) -> None:
        async for page in pages:
            async with answering(), self._client.pipeline(transaction=False) as pipe:
                for entry in page:
                    key = cap_key(entry.profile_id, entry.message_class)
                    pipe.zrem(key, packed(entry.dispatch_id), entry.dispatch_id)
                    if entry.status in COUNTED:
                        pipe.zadd(key, {packed(entry.dispatch_id): entry.at})
                        pipe.pexpire(key, CAP_MEMORY_MS)
                await pipe.execute()
        async with answering():
            await self._client.hset(meta_key(STAGE, partition), KEPT, "1")

    async def claim(self, wanted: Sequence[Claim]) -> list[bool]:
        async with answering():
            if not self._sha:
                self._sha = await self._client.script_load(_CLAIM)
            try:
                return await self._claim(wanted)
            except NoScriptError:  # Redis was restarted or its scripts were flushed
                self._sha = await self._client.script_load(_CLAIM)
                return await self._claim(wanted)

    async def _claim(self, wanted: Sequence[Claim]) -> list[bool]:
        async with self._client.pipeline(transaction=False) as pipe:
            for one in wanted:
                key = cap_key(one.profile_id, one.message_class)
                pipe.evalsha(self._sha, 1, key, packed(one.dispatch_id), one.dispatch_id, one.at, one.limit, one.per, CAP_MEMORY_MS)
            return [bool(granted) for granted in await pipe.execute()]

    async def release(self, places: Sequence[Claim]) -> None:
        async with answering(), self._client.pipeline(transaction=False) as pipe:
            for one in places:
                pipe.zrem(cap_key(one.profile_id, one.message_class), packed(one.dispatch_id), one.dispatch_id)
            await pipe.execute()
