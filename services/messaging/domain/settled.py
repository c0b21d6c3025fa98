"""Ids of settled messages in one bucket a day of expiry: what is forgotten is forgotten by the day, and what is new can be saved.

In memory a settled message is a packed id (31 bytes with all that an allocator wastes) in the bucket of the day on which it expires, and
nothing else is kept of it. An expired request whose id is gone is told from one that was never seen by its cause (watermark.py): such a
repeat is dropped and counted (`rapport_dispatcher_dropped_repeats_total`). A bucket waits for an older message that is not settled yet,
since until then causes cannot tell.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from services.messaging.domain.packed import ID_BYTES, PackedIds
from shared.contracts.ledger import SavedIds
from shared.definitions.durations import DAY_MS

REMEMBERED_DAYS: Final = 1
"""Whole days after its day of expiry that a bucket is still kept: hosts' clocks differ, and a request may be read again late."""


class _Bucket:
    __slots__ = ("begun", "ids", "last", "unsaved")

    def __init__(self, begun: int, expected: int = 0) -> None:
        """`begun`: number of the first checkpoint that may hold its ids."""
        self.begun = begun
        self.ids = PackedIds(expected)
        self.last = -1
        self.unsaved = bytearray()

    @property
    def saved(self) -> int:
        return len(self.ids) - len(self.unsaved) // ID_BYTES


def day_of(expires_at: int) -> int:
    """The day (UTC, counted from 1970) on which a message expires."""
    return expires_at // DAY_MS


class Settled:
    """`number`: of the last checkpoint. `expected`: day -> how many ids it says that there are; `load` brings them in. `begun`: day -> the
    checkpoint with which they begin, if it is none of the first.
    """

    def __init__(self, number: int = 0, expected: Mapping[int, int] | None = None, begun: Mapping[int, int] | None = None) -> None:
        begun = begun or {}
        self._buckets = {day: _Bucket(begun.get(day, 0), count) for day, count in (expected or {}).items()}
        self._number = number
        self.unsaved = 0

    def __len__(self) -> int:
        return sum(len(bucket.ids) for bucket in self._buckets.values())

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        return sum(bucket.ids.size for bucket in self._buckets.values()) + self.unsaved * ID_BYTES

    def add(self, day: int, one: bytes, position: int) -> None:
        """`position`: offset of the request. An id that is there already changes nothing."""
        bucket = self._buckets.get(day)
        if bucket is None:
            bucket = self._buckets[day] = _Bucket(self._number + 1)  # ids of the day that were saved before it were forgotten
        bucket.last = max(bucket.last, position)
        if bucket.ids.add(one):
            bucket.unsaved += one
            self.unsaved += 1

    def has(self, day: int, one: bytes) -> bool:
        bucket = self._buckets.get(day)
        return bucket is not None and one in bucket.ids

    def anywhere(self, one: bytes) -> bool:
        """Whether it is there, whatever day it was said to expire."""
        return any(one in bucket.ids for bucket in self._buckets.values())

    def forget(self, today: int, settled_to: int) -> int:
        """Drop the buckets whose day is over, and the day after it; answers how many ids went.

        A bucket with a request at `settled_to` or above stays: until all before it is settled, nothing else tells that it has been here.
        """
        gone = [day for day, bucket in self._buckets.items() if day + REMEMBERED_DAYS < today and bucket.last < settled_to]
        before = len(self)
        for day in gone:
            self.unsaved -= len(self._buckets.pop(day).unsaved) // ID_BYTES
        return before - len(self)

    def save(self, most: int) -> list[SavedIds]:
        """For the next checkpoint: at most `most` ids that none holds yet; from now on they count as saved."""
        self._number += 1
        found: list[SavedIds] = []
        left = most * ID_BYTES
        for day, bucket in sorted(self._buckets.items()):
            taken = bytes(bucket.unsaved[:left])
            if taken:
                left -= len(taken)
                del bucket.unsaved[: len(taken)]
                self.unsaved -= len(taken) // ID_BYTES
                found.append(SavedIds(day, bucket.last, taken))
        return found

    def saved(self) -> dict[int, int]:
        """Day -> how many ids all checkpoints together hold; days that are forgotten are not named."""
        return {day: bucket.saved for day, bucket in self._buckets.items() if bucket.saved}

    def begun(self) -> dict[int, int]:
        """Day -> number of the checkpoint with which its ids begin, of the days that `saved` names."""
        return {day: bucket.begun for day, bucket in self._buckets.items() if bucket.saved}

    def load(self, number: int, parts: Iterable[SavedIds]) -> None:
        """Take in what checkpoint `number` holds, for days that are still remembered."""
        for part in parts:
            bucket = self._buckets.get(part.day)
            if bucket is not None and number >= bucket.begun:
                bucket.ids.extend(part.ids)
                bucket.last = max(bucket.last, part.last)
