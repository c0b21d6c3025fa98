"""Decoded states of one slot, kept while the token holds."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from shared.runtime.envelope import Entry, open_entry

S = TypeVar("S")


class EntryCache(Generic[S]):
    """Two generations: what was used since the last turn, and what was used before it. Between `size` and 2 * `size` entries."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[str, Entry[S]] = {}
        self._old: dict[str, Entry[S]] = {}

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
        for key, blob in zip(keys, blobs, strict=True):
            self._young[key] = open_entry(blob)

    def rotate(self) -> None:
        """Forget the older generation once the younger is full. Call between batches only."""
        if len(self._young) > self._size:
            self._old, self._young = self._young, {}

    def clear(self) -> None:
        self._young, self._old = {}, {}
