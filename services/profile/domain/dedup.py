"""Which messages have come before: hashes of (source, message id), in buckets by hour of log-append time."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from shared.contracts.link_blob import HASH_BYTES

HOUR_MS: Final = 3_600_000
KEPT_HOURS: Final = 24
"""Whole hours beside the one that runs: a message is remembered for 24 to 25 hours."""
MAX_SEEN: Final = 20_000
"""Messages remembered for one id. One that sends more in a day is no person; the oldest are forgotten first."""


def short_hash(one: str, two: str) -> bytes:
    """A hash of both, of HASH_BYTES."""
    return blake2b(f"{one}\0{two}".encode(), digest_size=HASH_BYTES).digest()


class Seen:
    """The messages that came under one typed id. Hashes are bytes in the blob, and a set from the first question on."""

    __slots__ = ("_hours", "_known")

    def __init__(self, hours: Iterable[tuple[int, bytes]] = ()) -> None:
        self._hours = [(hour, bytearray(hashes)) for hour, hashes in hours]
        self._known: set[bytes] | None = None

    def hours(self) -> list[tuple[int, bytes]]:
        """What the blob keeps."""
        return [(hour, bytes(hashes)) for hour, hashes in self._hours]

    @property
    def until(self) -> int:
        """The end of the hour in which the last message was appended, epoch ms; 0 if none was."""
        return (self._hours[-1][0] + 1) * HOUR_MS if self._hours else 0

    def add(self, message: bytes, at: int) -> bool:
        """Remember `message`, which was appended to the log at `at` (epoch ms); False if it had been seen."""
        known = self._known
        if known is None:
            known = self._known = {h for _, hashes in self._hours for h in _split(hashes)}
        hour = at // HOUR_MS
        hours = self._hours
        if not hours or hours[-1][0] < hour:
            if hours and hours[0][0] < hour - KEPT_HOURS:
                known = self._forget(hour - KEPT_HOURS)
            self._hours.append((hour, bytearray()))
        if message in known:
            return False
        known.add(message)
        self._hours[-1][1].extend(message)
        if len(known) > MAX_SEEN:
            self._make_room()
        return True

    def _forget(self, before: int) -> set[bytes]:
        self._hours = [(hour, hashes) for hour, hashes in self._hours if hour >= before]
        self._known = {h for _, hashes in self._hours for h in _split(hashes)}
        return self._known

    def _make_room(self) -> None:
        """Forget the older half, so that this happens once in many messages."""
        excess = MAX_SEEN // 2 * HASH_BYTES
        while excess:
            hashes = self._hours[0][1]
            if len(hashes) > excess:
                del hashes[:excess]
                break
            excess -= len(hashes)
            del self._hours[0]
        self._known = None


def _split(hashes: bytearray) -> list[bytes]:
    raw = bytes(hashes)
    return [raw[start : start + HASH_BYTES] for start in range(0, len(raw), HASH_BYTES)]
