"""From a write key to its source. 401 is said only for a key that certainly does not exist."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from services.ingest.domain.limits import TokenBucket
from services.ingest.domain.reasons import Refusal, Refused
from shared.contracts.control import KeyChanged, key_hash
from shared.http.certainty import Certainty

RETRY_SECONDS: Final = 2
CONFIRM_SECONDS: Final = 1.0
CACHE: Final = 4096


class KeyStore(Protocol):
    """shared.adapters.key_topic.KeyTopic, or a fake of it."""

    @property
    def keys(self) -> Mapping[str, KeyChanged]:
        """By hash."""

    @property
    def read_to_end(self) -> bool:
        """Whether the topic has been read to its end once."""

    def caught_up(self, seconds: float) -> bool:
        """Whether all that was in the topic at the call has been read. Blocks up to `seconds`."""


class Source:
    """Where events of one write key come from, and the rate it has left."""

    __slots__ = ("bucket", "expires_at", "source_id")

    def __init__(self, source_id: str, expires_at: int | None, bucket: TokenBucket) -> None:
        self.source_id, self.expires_at, self.bucket = source_id, expires_at, bucket


class Keyring:
    """Looks write keys up; `forget` must be called after any key has changed (any thread may)."""

    def __init__(self, store: KeyStore, rate_per_key: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._rate = rate_per_key
        self._clock = clock
        self._known: dict[str, Source] = {}
        self._buckets: dict[str, TokenBucket] = {}
        self._certainty = Certainty(lambda: asyncio.to_thread(store.caught_up, CONFIRM_SECONDS), clock)

    def forget(self) -> None:
        """Look every key up anew: some key was made or revoked."""
        self._known = {}
        self._certainty.forget()

    async def source(self, secret: str) -> Source:
        """The source of a write key. Raises Refused: 401 if there is none, 503 if that is not certain."""
        source = self._known.get(secret) or self._look_up(secret)
        if source is None:
            await self._make_certain(key_hash(secret))
            source = self._look_up(secret)
        if source is None or (source.expires_at is not None and source.expires_at <= time.time_ns() // 1_000_000):
            raise Refused(401, Refusal.UNKNOWN_WRITE_KEY, "there is no such write key, or it was revoked")
        return source

    def _look_up(self, secret: str) -> Source | None:
        known = self._known  # the dict that forget() may replace meanwhile
        hashed = key_hash(secret)
        record = self._store.keys.get(hashed)
        if record is None or record.revoked_at is not None or record.source_id is None:
            return None
        bucket = self._buckets.get(hashed)
        if bucket is None:
            bucket = self._buckets[hashed] = TokenBucket(self._rate, self._rate, self._clock())
        source = Source(record.source_id, record.expires_at, bucket)
        if len(known) < CACHE:
            known[secret] = source
        return source

    async def _make_certain(self, hashed: str) -> None:
        """Return when the key is certainly not valid, or may have become valid. Raises Refused (503) if the topic cannot be read."""
        if not self._store.read_to_end:
            raise Refused(503, Refusal.KEYS_NOT_READ, "the write keys have not been read yet", retry_after=RETRY_SECONDS)
        if not await self._certainty.reached(hashed):
            raise Refused(503, Refusal.KEYS_NOT_READ, "the write keys cannot be read now", retry_after=RETRY_SECONDS)
