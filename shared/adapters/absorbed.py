"""Whom a person has taken in by merges, for readers of a stage's states. Calls raise StoreAway."""

from collections.abc import Sequence
from typing import Any, cast

import redis.asyncio as redis

from shared.adapters.redis_store import answering
from shared.contracts.redis_keys import index_key, state_key
from shared.contracts.slots import slot
from shared.runtime.absorbed import MOST_ABSORBED, index_of
from shared.runtime.envelope import OTHERS, Entry, open_entry


def _index(stage: str, key: str) -> str:
    return index_key(stage, slot(key), index_of(key))


async def have_absorbed(client: redis.Redis, stage: str, key: str, entry: Entry[Any], ids: Sequence[str]) -> bool:
    """Whether the state of `key`, read as `entry`, has taken in all of `ids`."""
    absorbed = entry.absorbed or set()
    missing = [one for one in ids if one not in absorbed]
    if not missing or OTHERS not in absorbed:
        return not missing
    async with answering():
        scores = await client.zmscore(_index(stage, key), missing)
    return None not in scores


async def absorbed_ids(client: redis.Redis, stage: str, key: str, most: int = MOST_ABSORBED) -> list[str]:
    """The ids, at most `most` of them, whose state `key` holds beside its own: all that were ever merged into it. None of a marker."""
    async with answering():
        raw = cast(bytes | None, await client.get(state_key(stage, key)))
        entry: Entry[bytes] = open_entry(raw)
        found = sorted((entry.absorbed or set()) - {OTHERS})
        if OTHERS in (entry.absorbed or ()):
            found += [one.decode() for one in cast(list[bytes], await client.zrange(_index(stage, key), 0, most - 1))]
    return found[:most]
