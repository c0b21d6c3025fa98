"""What a batch needs of the store before it is folded: as much as fits its byte bound, and no more.

A batch ends at a byte bound. Outputs and touched states are weighed while records are folded; the batch ends behind the record that
exceeds the bound, and the rest of the chunk is the next batch. States are loaded up to the same bound (one Lua call that stops), timers
are fired up to it. A record that exceeds it alone passes alone. With 8 slots a stage holds at most, in MB:
- 24 + 4 + 24 fetched: 1 an input and slot in aiokafka (3 inputs), 4 chunks in Faust, 3 a slot queued and in hand
- 8 x 16 of batches in hand: outputs and states, their encoded copy, the command to Redis, librdkafka's queue (64 at most)
- 8 x (4 + 8) of decoded states kept (`RAPPORT_CACHED_BYTES_PER_SLOT`), and of those of the batch in hand
- 8 x 4 in plain readers, only while a slot is taken over: 2 queued, 2 in hand
All of it is full at once only for someone who fills all slots together. One record may have 8 MB, and comes on top.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

import msgspec

from shared.contracts.headers import KIND, KIND_MERGE, KIND_MOVED, MERGED_FROM, ORIGIN_KIND
from shared.contracts.versions import NewerVersion
from shared.runtime.absorbed import Beside, index_of
from shared.runtime.batch import CLOCK_KEY
from shared.runtime.cache import EntryCache
from shared.runtime.envelope import GONE, OTHERS, decode_moved
from shared.runtime.farther import words_of
from shared.runtime.ports import StateStore
from shared.runtime.stage import Record

S = TypeVar("S")

LEAVING_AT_ONCE: Final = 200
"""Keys that lose a merge in one batch: each has its second blob read, too."""


class Loading(Generic[S]):
    """Fills `cache` from `store`. `limit`: stored bytes that one call may load; the state with which they are exceeded still comes.

    `sided`: keys have second blobs.
    """

    def __init__(self, store: StateStore, cache: EntryCache[S], limit: int, sided: bool) -> None:
        self._store = store
        self._cache = cache
        self._limit = limit
        self._sided = sided

    async def records(self, records: Sequence[Record], start: int, stop: int) -> tuple[int, Beside]:
        """Load what records[start:stop] touch. Answers the index before which all is at hand, beyond `start`, and what else they need."""
        keys: dict[str, int] = {}
        leaving: list[str] = []
        asking: list[tuple[int, str, bytes | None]] = []
        for index in range(start, stop):
            record = records[index]
            if record.key is None or record.key.startswith(CLOCK_KEY):
                continue
            key = record.key.decode(errors="replace")
            keys.setdefault(key, index)
            for name, value in record.headers:
                if value == KIND_MERGE and name in (KIND, ORIGIN_KIND):
                    leaving.append(key)
                elif name == MERGED_FROM:
                    asking.append((index, key, value))
                elif value == KIND_MOVED and name in (KIND, ORIGIN_KIND):
                    asking.append((index, key, None))
            if len(leaving) == LEAVING_AT_ONCE:
                stop = index + 1
                break
        missing = await self._keys(list(keys))
        if missing:
            stop = keys[missing[0]]
        return stop, await self._beside(
            [key for key in dict.fromkeys(leaving) if keys[key] < stop],
            [(key, records[index], announced) for index, key, announced in asking if index < stop],
        )

    async def _beside(self, leaving: Sequence[str], asking: Sequence[tuple[str, Record, bytes | None]]) -> Beside:
        store = self._store
        sides = dict(zip(leaving, await store.sides(leaving), strict=True)) if leaving and self._sided else {}
        absorbed = await self._indexes([key for key in leaving if self._has_others(key)], index_of)
        coming = dict.fromkeys((*leaving, *(key for key, _, announced in asking if announced is None)))
        words = await self._indexes([key for key in coming if self._cache.get(key).winner is not None], words_of)
        asked = [
            (key, mark + one)
            for key, record, announced in asking
            if self._has_others(key)
            for one in _ids(record, announced)
            for mark in ("", GONE)
        ]
        known: set[tuple[str, str]] = set()
        if asked:
            found = await store.in_index([(index_of(key), one) for key, one in asked])
            known = {pair for pair, there in zip(asked, found, strict=True) if there}
        return Beside(sides, absorbed, known, words)

    async def _indexes(self, keys: Sequence[str], name: Callable[[str], str]) -> Mapping[str, Sequence[str]]:
        return dict(zip(keys, await self._store.indexes(list(map(name, keys))), strict=True)) if keys else {}

    def _has_others(self, key: str) -> bool:
        return OTHERS in (self._cache.get(key).absorbed or ())

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


def _ids(record: Record, announced: bytes | None) -> Sequence[str]:
    """Of whom a record makes it matter whether they are in: the one whom it announces, or all of whom a moved state speaks."""
    if announced is not None:
        return (announced.decode(errors="replace"),)
    try:
        moved = decode_moved(record.value or b"")
    except (NewerVersion, msgspec.DecodeError):
        return ()  # folding it says what is wrong
    return (moved.loser, *moved.awaiting)
