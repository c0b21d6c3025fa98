"""Which partition a key lives in: one rule for every producer and every language.

The hash is Kafka's own default for keyed records (murmur2 as in `org.apache.kafka.common.utils.Utils.murmur2`, made
non-negative, modulo the partition count), so a record written by any Java client with the same key lands in the same slot.
"""

from functools import lru_cache
from typing import Final

PARTITIONS: Final = 8
"""Partitions of every data topic. A constant of the installation: changing it moves every person to another slot."""

_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Kafka's murmur2 of `data`, as an unsigned 32-bit integer."""
    length = len(data)
    h = (0x9747B28C ^ length) & _MASK
    whole = length & ~3
    for i in range(0, whole, 4):
        k = (int.from_bytes(data[i : i + 4], "little") * _M) & _MASK
        k = ((k ^ (k >> 24)) * _M) & _MASK
        h = ((h * _M) & _MASK) ^ k
    rest = data[whole:]
    if rest:
        h = ((h ^ int.from_bytes(rest, "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)


@lru_cache(maxsize=65_536)
def slot(key: str) -> int:
    """The partition, 0 <= p < PARTITIONS, in which everything about `key` lives."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % PARTITIONS
