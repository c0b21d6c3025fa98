"""Whether a person has taken others in by merges, for readers of a stage's states."""

from collections.abc import Sequence
from typing import Any

import redis.asyncio as redis

from shared.adapters.redis_store import answering
from shared.contracts.redis_keys import index_key
from shared.contracts.slots import slot
from shared.runtime.absorbed import index_of
from shared.runtime.envelope import OTHERS, Entry


async def have_absorbed(client: redis.Redis, stage: str, key: str, entry: Entry[Any], ids: Sequence[str]) -> bool:
    """Whether the state of `key`, read as `entry`, has taken in all of `ids`. Raises StoreAway."""
    absorbed = entry.absorbed or set()
    missing = [one for one in ids if one not in absorbed]
    if not missing or OTHERS not in absorbed:
        return not missing
    async with answering():
        scores = await client.zmscore(index_key(stage, slot(key), index_of(key)), missing)
    return None not in scores
