"""Decoded states of one slot, kept while the token holds."""

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from shared.runtime.envelope import Entry, open_entry
from shared.runtime.ports import waiting_for_update

S = TypeVar("S")

ENTRY_BYTES: Final = 500
"""What an entry takes beside its state."""


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
        self._old_bytes = 0
        self.bytes = 0

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
        return out

    def fill(self, keys: Sequence[str], blobs: Sequence[bytes | None]) -> None:
        """Raises NewerRelease."""
        with waiting_for_update():
            for key, blob in zip(keys, blobs, strict=True):
                self._young[key] = open_entry(blob)

    def rotate(self) -> None:
        """Forget the older generation once the younger is full. Call between batches only."""
        young = sum(entry.size for entry in self._young.values()) * self._weight + ENTRY_BYTES * len(self._young)
        if len(self._young) > self._size or 2 * young > self._most_bytes:
            self._old, self._old_bytes, self._young, young = self._young, young, {}, 0
        self.bytes = young + self._old_bytes

    def clear(self) -> None:
        self._young, self._old = {}, {}
        self.bytes = self._old_bytes = 0
