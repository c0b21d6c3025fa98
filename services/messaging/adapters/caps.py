"""Caps in Redis: per person and class a sorted set of the messages of late. The ledger can put it all back.

A place's score is `claimed_at` of the ledger, when the message was last let go: also when the counts are put back after hours. Who was
put off for longer than the window asks anew, and ends `capped` if others came meanwhile. Each claim compares, in the script that makes
it, a mark that this slot left with its last claim. If the mark is another, Redis forgot: no place is granted until the ledger's entries
since the mark's position are counted again. A message takes 16 bytes (24 with all, measured with 50 of one person) for as long as the
longest cap of a definition looks back, one day at least.
"""

import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, cast

import redis.asyncio as redis
from redis.exceptions import NoScriptError

from services.messaging.dispatch.ports import Claim
from services.messaging.domain.ledger import packed
from shared.adapters.redis_store import answering
from shared.contracts.ledger import LedgerEntry
from shared.contracts.redis_keys import cap_key, meta_key
from shared.contracts.slots import partition_count, slot
from shared.definitions.durations import DAY_MS
from shared.definitions.journey import LONGEST_CAP
from shared.runtime.ports import StoreAway

STAGE: Final = "dispatcher"
LEAST_MEMORY_MS: Final = DAY_MS
"""So long messages count even if no definition has a cap: the first that gets one finds the last day."""
_NOTE: Final = "if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) return 1"
_CLAIM: Final = (Path(__file__).parent / "caps.lua").read_text()


class _Left(NamedTuple):
    """What a slot of the dispatcher has left in a slot of Redis: every place that the ledger knows below `position` is there.

    `memory`: for so long, ms. `token` is new with each restoring and `claims` counts from then: an older copy never says the same.
    """

    position: int
    memory: int
    token: str
    claims: int

    def encode(self) -> bytes:
        return f"{self.position}|{self.memory}|{self.token}|{self.claims}".encode()

    @classmethod
    def decode(cls, raw: bytes | None) -> "_Left":
        """Nothing is there if `raw` was not written by `encode`."""
        parts = (raw or b"").decode().split("|")
        return cls(int(parts[0]), int(parts[1]), parts[2], int(parts[3])) if len(parts) == 4 else _NOTHING


_NOTHING: Final = _Left(0, 0, "", 0)


class RedisCaps:
    """The places that one slot of the dispatcher takes. `memory_ms`: the longest window of any cap.

    A message has one place however often it is claimed, so a crash between claiming and sending costs nothing. Each claim sees, in the
    script that makes it, that Redis still holds what this object wrote last: an older copy put back under it is noticed before a place is
    granted. The mark stands in the same slot of Redis as the places that it speaks of.
    """

    def __init__(self, client: redis.Redis, partition: int, memory_ms: int = LONGEST_CAP.ms) -> None:
        self._client, self._field = client, f"caps|{partition}"
        self._memory = max(memory_ms, LEAST_MEMORY_MS)
        self._left: dict[int, _Left] = {}
        self._sha = ""

    async def missing(self) -> int | None:
        """The ledger's offset from which places may be missing; None: none are."""
        async with answering(), self._client.pipeline(transaction=False) as pipe:
            for where in range(partition_count()):
                pipe.hget(meta_key(STAGE, where), self._field)
            found = [_Left.decode(raw) for raw in await pipe.execute()]
        if found == [self._left.get(where) for where in range(partition_count())]:
            return None
        return min(one.position if one.memory >= self._memory else 0 for one in found)

    async def restore(self, pages: AsyncIterator[Sequence[LedgerEntry]], end: int) -> None:
        """Put back the places of all entries of `pages`: those from `missing` up to `end`."""
        async for page in pages:
            async with answering(), self._client.pipeline(transaction=False) as pipe:
                for entry in page:
                    key = cap_key(entry.profile_id, entry.message_class)
                    pipe.zrem(key, packed(entry.dispatch_id), entry.dispatch_id)
                    if (counts_from := entry.counts_from) is not None:
                        pipe.zadd(key, {packed(entry.dispatch_id): counts_from})
                        pipe.pexpire(key, self._memory)
                await pipe.execute()
        left = _Left(end, self._memory, secrets.token_hex(4), 0)
        self._left.clear()
        async with answering(), self._client.pipeline(transaction=False) as pipe:
            for where in range(partition_count()):
                pipe.hset(meta_key(STAGE, where), self._field, left.encode())
            await pipe.execute()
        self._left = dict.fromkeys(range(partition_count()), left)

    async def noted(self, end: int) -> None:
        """Every entry below offset `end` was claimed before it was recorded: a restoring need not go back behind it."""
        before, self._left = self._left, {}
        after = {where: left._replace(position=end, claims=left.claims + 1) for where, left in before.items()}
        async with answering(), self._client.pipeline(transaction=False) as pipe:
            for where, left in before.items():
                pipe.eval(_NOTE, 1, meta_key(STAGE, where), self._field, left.encode(), after[where].encode())
            if all(await pipe.execute()):
                self._left = after

    async def claim(self, wanted: Sequence[Claim]) -> list[bool]:
        async with answering():
            if not self._sha:
                self._sha = await self._client.script_load(_CLAIM)
            before = self._left
            try:
                return await self._claim(wanted)
            except NoScriptError:  # Redis was restarted or its scripts were flushed; none has run
                self._left, self._sha = before, await self._client.script_load(_CLAIM)
                return await self._claim(wanted)

    async def _claim(self, wanted: Sequence[Claim]) -> list[bool]:
        left, self._left = dict(self._left), {}  # if no answer comes nobody knows how many claims were made
        async with self._client.pipeline(transaction=False) as pipe:
            for one in wanted:
                where = slot(one.profile_id)
                before = left.get(where, _NOTHING)
                left[where] = before._replace(claims=before.claims + 1)
                keys = (cap_key(one.profile_id, one.message_class), meta_key(STAGE, where))
                mark = (self._field, before.encode(), left[where].encode())
                memory = max(self._memory, one.per)
                pipe.evalsha(self._sha, 2, *keys, packed(one.dispatch_id), one.dispatch_id, one.at, one.limit, one.per, memory, *mark)
            answers = cast(list[int], await pipe.execute())
        if -1 in answers:
            raise StoreAway("Redis has lost places under caps: they are put back from the ledger first")
        self._left = left
        return [answer == 1 for answer in answers]

    async def release(self, places: Sequence[Claim]) -> None:
        async with answering(), self._client.pipeline(transaction=False) as pipe:
            for one in places:
                pipe.zrem(cap_key(one.profile_id, one.message_class), packed(one.dispatch_id), one.dispatch_id)
            await pipe.execute()
