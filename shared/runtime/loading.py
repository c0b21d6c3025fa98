"""What a batch needs of the store before it is folded: as much as fits its byte bound, and no more."""

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from shared.contracts.headers import KIND, KIND_MERGE, header
from shared.runtime.batch import CLOCK_KEY
from shared.runtime.cache import EntryCache
from shared.runtime.ports import StateStore
from shared.runtime.stage import Record

S = TypeVar("S")

Sides = dict[str, list[tuple[float, bytes]]]

LEAVING_AT_ONCE: Final = 200
"""Keys that lose a merge in one batch: each has its second blob read, too."""


class Loading(Generic[S]):
    """Fills `cache` from `store`. `limit`: stored bytes that one call may load; the state with which they are exceeded still comes."""

    def __init__(self, store: StateStore, cache: EntryCache[S], limit: int) -> None:
        self._store = store
        self._cache = cache
        self._limit = limit

    async def records(self, records: Sequence[Record], start: int, stop: int) -> tuple[int, Sides]:
        """Load what records[start:stop] touch. Answers the index before which all is at hand, beyond `start`, and second blobs."""
        keys: dict[str, int] = {}
        leaving: list[str] = []
        for index in range(start, stop):
            record = records[index]
            if record.key is None or record.key.startswith(CLOCK_KEY):
                continue
            key = record.key.decode(errors="replace")
            keys.setdefault(key, index)
            if header(record.headers, KIND) == KIND_MERGE:
                leaving.append(key)
                if len(leaving) == LEAVING_AT_ONCE:
                    stop = index + 1
                    break
        missing = await self._keys(list(keys))
        if missing:
            stop = keys[missing[0]]
            leaving = [key for key in leaving if keys[key] < stop]
        if not leaving:
            return stop, {}
        return stop, dict(zip(leaving, await self._store.sides(leaving), strict=True))

    async def timers(self, keys: Sequence[str]) -> Sequence[str]:
        """Load the states of `keys`; answers those at hand, the first of them at least."""
        missing = await self._keys(keys)
        return keys[: keys.index(missing[0])] if missing else keys

    async def _keys(self, keys: Sequence[str]) -> list[str]:
        """Those that did not find room, in order."""
        missing = self._cache.missing(keys)
        if not missing:
            return missing
        blobs = await self._store.load(missing, self._limit)
        self._cache.fill(missing[: len(blobs)], blobs)
        return missing[len(blobs) :]
