"""The members of a segment, page by page, in the order (since, profile id) over all slots.

Each slot keeps its members as a sorted set scored by since when; one segment's first evaluation gives thousands the same score. A page
begins after a given member even if that one has left: its place is found by bisection over the ranks of each slot.
"""

import heapq
from collections.abc import Sequence
from typing import NamedTuple

from shared.contracts.membership_blob import members_index
from shared.contracts.redis_keys import index_key
from shared.contracts.slots import partition_count
from shared.reading.live import KeySpace

STAGE = "segmentation"


class Member(NamedTuple):
    """`since`: epoch ms. Sorts by (since, profile id)."""

    since: int
    profile_id: bytes


def _keys(segment: str) -> list[str]:
    return [index_key(STAGE, partition, members_index(segment)) for partition in range(partition_count())]


async def sizes(space: KeySpace, segments: Sequence[str]) -> list[int]:
    """How many members each segment has. Raises LiveAway."""
    found = await space.sizes([key for segment in segments for key in _keys(segment)])
    return [sum(found[at : at + partition_count()]) for at in range(0, len(found), partition_count())]


async def page(space: KeySpace, segment: str, after: Member | None, limit: int) -> list[Member]:
    """At most `limit` members behind `after`. Raises LiveAway."""
    keys = _keys(segment)
    starts = [0] * partition_count() if after is None else await _ranks_behind(space, keys, after)
    found = await space.slices([(key, start, start + limit - 1) for key, start in zip(keys, starts, strict=True)])
    slots = [[Member(int(score), member) for member, score in one] for one in found]
    return list(heapq.merge(*slots))[:limit]


async def _ranks_behind(space: KeySpace, keys: Sequence[str], after: Member) -> list[int]:
    """For each slot the rank of its first member behind `after`; all slots are bisected side by side."""
    low = [0] * len(keys)
    high = await space.sizes(keys)
    while open_slots := [at for at in range(len(keys)) if low[at] < high[at]]:
        middles = {at: (low[at] + high[at]) // 2 for at in open_slots}
        found = await space.slices([(keys[at], middle, middle) for at, middle in middles.items()])
        for (at, middle), one in zip(middles.items(), found, strict=True):
            if one and Member(int(one[0][1]), one[0][0]) <= after:
                low[at] = middle + 1
            else:  # behind it, or the set has become smaller meanwhile
                high[at] = middle
    return low
