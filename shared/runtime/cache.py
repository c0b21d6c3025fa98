"""Decoded states of one slot, kept while the token holds."""

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from shared.runtime.envelope import Entry, open_entry
from shared.runtime.ports import waiting_for_update

S = TypeVar("S")

ENTRY_BYTES: Final = 500
"""What an entry takes beside its state."""
WEIGHED_AGAIN: Final = 16
"""States are weighed when a part of so many of the bound may have come."""


class EntryCache(Generic[S]):
    """Two generations: what was used since the last turn, and what was used before it.

    It holds at most 2 * `size` entries and about `most_bytes`, beside those of the batch in hand; a state counts `weight` times its stored
    bytes.
    """

    def __init__(self, size: int, most_bytes: int, weight: int) -> None:
        self._size = size
        self._most_bytes = most_bytes
        self._weight = weight
        self._young: dict[str, Entry[S]] = {}
        self._old: dict[str, Entry[S]] = {}
        self._old_bytes = self._weighed = self._unweighed = 0

    @property
    def taken(self) -> int:
        """Bytes of memory, about; what has come since it was weighed last counts in full."""
        return self._weighed + self._unweighed * self._weight

    def get(self, key: str) -> Entry[S]:
        """The entry of a key that has been filled."""
        return self._young[key]

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Which of `keys` must be loaded; those at hand count as used."""
        out = []
        young, old = self._young, self._old
        for key in keys:
            if key in young:
                continue
            entry = old.get(key)
            if entry is None:
                out.append(key)
            else:
                young[key] = entry
                self._unweighed += entry.size + ENTRY_BYTES
        return out

    def fill(self, keys: Sequence[str], blobs: Sequence[bytes | None]) -> None:
        """Raises NewerRelease."""
        with waiting_for_update():
            for key, blob in zip(keys, blobs, strict=True):
                entry = self._young[key] = open_entry(blob)
                self._unweighed += entry.size + ENTRY_BYTES

    def rotate(self, changed: int) -> None:
        """Forget the older generation once the younger is full. Call between batches only; `changed`: bytes of the states of the last one.

        All are weighed only when what came or changed since might matter: else a small batch costs as much as the cache is large.
        """
        self._unweighed += changed
        if len(self._young) <= self._size and WEIGHED_AGAIN * self._unweighed * self._weight < self._most_bytes:
            return
        self._unweighed = 0
        young = sum(entry.size for entry in self._young.values()) * self._weight + ENTRY_BYTES * len(self._young)
        if len(self._young) > self._size or 2 * young > self._most_bytes:
            self._old, self._old_bytes, self._young, young = self._young, young, {}, 0
        self._weighed = young + self._old_bytes

    def clear(self) -> None:
        self._young, self._old = {}, {}
        self._old_bytes = self._weighed = self._unweighed = 0
