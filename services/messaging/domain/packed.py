"""A set of 16-byte ids that costs about 30 bytes an id: short byte strings of ids, and no object for any of them."""

from struct import iter_unpack
from typing import Final

ID_BYTES: Final = 16
PER_SHARD: Final = 20
"""Ids of a shard on average. With these a shard stays in the size classes that Python allocates without a gap (512 bytes)."""
SHARD_OVERHEAD: Final = 33 + 8
"""Bytes of a `bytes` object's head and its place in the list."""
HOLES: Final = 1.5
"""What the process grows by, for each byte in use: shards that grow leave places behind which others fill later (measured)."""


class PackedIds:
    """Ids are added one by one and never taken out. A shard that is due is split with an addition (linear hashing), so no addition is slow.

    Shards go by Python's own hash, whose secret changes with each process: nobody can choose ids that fall into one shard.
    """

    __slots__ = ("_count", "_mask", "_shards", "_split")

    def __init__(self, expected: int = 0) -> None:
        """`expected`: how many ids are about to come."""
        shards = max(1, expected // PER_SHARD)
        self._mask = (1 << (shards.bit_length() - 1)) - 1
        self._split = shards - self._mask - 1
        self._shards = [b""] * shards
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, one: bytes) -> bool:
        return _holds(self._shards[self._shard(one)], one)

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        return int((self._count * ID_BYTES + len(self._shards) * SHARD_OVERHEAD) * HOLES)

    def add(self, one: bytes) -> bool:
        """False if it is there already."""
        at = self._shard(one)
        if _holds(self._shards[at], one):
            return False
        self._put(at, one)
        return True

    def extend(self, ids: bytes) -> None:
        """Add many, one behind the other, none of which is there."""
        for (one,) in iter_unpack("16s", ids):
            self._put(self._shard(one), one)

    def _shard(self, one: bytes) -> int:
        where = hash(one)
        at = where & self._mask
        return at if at >= self._split else where & (2 * self._mask + 1)

    def _put(self, at: int, one: bytes) -> None:
        self._shards[at] += one
        self._count += 1
        if self._count > len(self._shards) * PER_SHARD:
            self._split_next()

    def _split_next(self) -> None:
        bit = self._mask + 1
        stay: list[bytes] = []
        go: list[bytes] = []
        for (one,) in iter_unpack("16s", self._shards[self._split]):
            (go if hash(one) & bit else stay).append(one)
        self._shards[self._split] = b"".join(stay)
        self._shards.append(b"".join(go))
        self._split += 1
        if self._split == bit:
            self._mask, self._split = 2 * self._mask + 1, 0


def _holds(shard: bytes, one: bytes) -> bool:
    at = shard.find(one)
    while at > 0 and at % ID_BYTES:  # the end of an id and the beginning of the next may look like a third
        at = shard.find(one, at + 1)
    return at >= 0
