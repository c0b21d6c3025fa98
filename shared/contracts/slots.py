"""Which partition a key lives in: one rule for every producer and every language.

The hash is Kafka's own default for keyed records (murmur2 as in `org.apache.kafka.common.utils.Utils.murmur2`, made
non-negative, modulo the partition count), so a record written by any Java client with the same key lands in the same slot.

How many partitions the data topics have is chosen when they are made (deploy/local/topics.py). A process reads the count from Kafka at its
start (shared/adapters/partitions.py) and settles it here once; nothing may ask before, and so nothing may ask at import time.
"""

from functools import lru_cache
from typing import Final

MOST_PARTITIONS: Final = 100
"""No installation may have more: clock records cost with the square of the count (README.md, Limits), and what the warehouse commits
beside an offset names every lane in 4,000 bytes (services/warehouse/domain/packed.py)."""

_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


class NotSettled(RuntimeError):
    """The number of partitions was asked for before it was read from Kafka."""


class _Installation:
    """What holds for the whole installation. `partitions`: 0 until it is settled."""

    partitions = 0


def settle(count: int) -> None:
    """Say how many partitions every data topic has. Once a process: changing it would move every person to another slot."""
    if _Installation.partitions not in (0, count):
        raise RuntimeError(f"this process works with {_Installation.partitions} partitions, it cannot change to {count}")
    _Installation.partitions = count


def partition_count() -> int:
    """Partitions of every data topic of this installation. Raises NotSettled."""
    if not _Installation.partitions:
        raise NotSettled("the number of partitions has not been read from Kafka yet")
    return _Installation.partitions


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
    """The partition, 0 <= p < partition_count(), in which everything about `key` lives. Raises NotSettled."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partition_count()
