"""Whether a person has taken others in by merges, for readers of a stage's states."""

from collections.abc import Sequence
from typing import Any

import redis.asyncio as redis

from shared.adapters.redis_store import answering
from shared.contracts.redis_keys import index_key
from shared.contracts.slots import slot
from shared.runtime.absorbed import index_of
from shared.runtime.envelope import GONE, OTHERS, Entry


async def have_absorbed(client: redis.Redis, stage: str, key: str, entry: Entry[Any], ids: Sequence[str]) -> bool:
    """Whether the state of `key`, read as `entry`, waits for none of `ids`: it has taken them in, or they do not come. Raises StoreAway."""
    absorbed = entry.absorbed or set()
    missing = [one for one in ids if one not in absorbed and GONE + one not in absorbed]
    if not missing or OTHERS not in absorbed:
        return not missing
    async with answering():
        scores = await client.zmscore(index_key(stage, slot(key), index_of(key)), [mark + one for one in missing for mark in ("", GONE)])
    return all(taken_in is not None or gone is not None for taken_in, gone in zip(scores[::2], scores[1::2], strict=True))
