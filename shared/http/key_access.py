"""From a bearer key to what it may do. 401 is said only for a key that certainly does not exist (or is revoked, or has expired)."""

import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from shared.contracts.control import KeyChanged, key_hash
from shared.http.access import Access, access
from shared.http.certainty import Certainty
from shared.http.reasons import RETRY_SECONDS, Code, Refused
from shared.reading.pools import WAITING, Pool

CONFIRM_SECONDS: Final = 0.8
THREADS: Final = 2


class KeyStore(Protocol):
    """shared.adapters.key_topic.KeyTopic, or a fake of it."""

    @property
    def keys(self) -> Mapping[str, KeyChanged]:
        """By hash."""

    @property
    def trouble(self) -> str | None:
        """Why the keys cannot be relied on (not read to the end yet, no longer followed); None if they can."""

    def caught_up(self, seconds: float) -> bool:
        """Whether all that was in the topic at the call has been read. Blocks up to `seconds`."""


class KeyAccess:
    """Looks query keys up in memory; `now_ms` tells the wall clock, by which keys expire."""

    def __init__(self, store: KeyStore, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000, waiting: int = WAITING) -> None:
        self._store = store
        self._now_ms = now_ms
        self._pool = Pool("kafka_keys", "Kafka", THREADS, waiting)
        self._certainty = Certainty(lambda: self.read_up(store, CONFIRM_SECONDS))

    async def access(self, secret: str) -> Access:
        """What the key may do. Raises Refused: 401 if it is certainly not good, 503 if that is not certain."""
        trouble = self._store.trouble
        if trouble is not None:
            raise _not_read(trouble)
        hashed = key_hash(secret)
        record = self._store.keys.get(hashed)
        if record is None:
            if not await self._certainty.reached(hashed):
                raise _not_read("the query keys cannot be read now")
            record = self._store.keys.get(hashed)
        if record is None or record.revoked_at is not None:
            raise Refused(401, Code.UNKNOWN_KEY, "there is no such query key, or it was revoked")
        if record.expires_at is not None and record.expires_at <= self._now_ms():
            raise Refused(401, Code.EXPIRED_KEY, "the query key has expired")
        return access(record)

    async def read_up(self, store: KeyStore, seconds: float) -> bool:
        """Whether all that `store`'s topic holds now has been read within `seconds`. Raises Busy."""
        return await self._pool.run(store.caught_up, seconds)


def _not_read(message: str) -> Refused:
    return Refused(503, Code.KEYS_NOT_READ, message, retry_after=RETRY_SECONDS)
