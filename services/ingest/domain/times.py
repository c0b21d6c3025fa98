"""The corrected time of an event. Everything in epoch milliseconds, UTC."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
EARLIEST: Final = -2_208_988_800_000
"""1900-01-01: what is older cannot be kept by the warehouse, and is no behaviour of a living customer."""
LATEST: Final = 7_258_118_400_000
"""2200-01-01."""
_SECONDS_BELOW: Final = 100_000_000_000
"""A number below this is in seconds: as milliseconds it would lie before March 1973."""
_NEAR_ISO: Final = re.compile(r"(\d{4})-(\d\d?)-(\d\d?)(?:[T ](\d\d?):(\d\d)(:[\d.]+)?)? ?(?:Z|UTC|GMT|[+]00:?00)?").fullmatch
"""Only times in UTC are guessed at."""
_ZERO_YEAR: Final = "0001-"
"""Go's zero time: the field was never set."""


def parse_time(value: str | int | float | bool | None) -> int | None:
    """Epoch ms of an ISO 8601 text (UTC if it names no zone) or a number of ms or s; None if there is none.

    Raises ValueError for anything else, and for times outside EARLIEST..LATEST.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        text = value.strip()
        if text.startswith(_ZERO_YEAR):
            return None
        when = _read(text)
        ms = ((when if when.tzinfo is not None else when.replace(tzinfo=UTC)) - _EPOCH) // _MS
    elif isinstance(value, bool):
        raise ValueError("true and false are no times")
    else:
        if not -1e15 < value < 1e15:
            raise ValueError("out of range")
        ms = int(value * 1000) if abs(value) < _SECONDS_BELOW else int(value)
    if not EARLIEST <= ms <= LATEST:
        raise ValueError("out of range")
    return ms


def _read(text: str) -> datetime:
    """ISO 8601, and its near misses that documentation and clients are full of: 2015-2-02T0:30:08Z, 2015-02-02 00:30 UTC."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        near = _NEAR_ISO(text)
        if near is None:
            raise
        year, month, day, hour, minute, rest = near.groups()
        clock = f"T{hour:0>2}:{minute}{rest or ''}" if hour else ""
        return datetime.fromisoformat(f"{year}-{month:0>2}-{day:0>2}{clock}")


def event_time(received_at: int, original: int | None, sent_at: int | None, sent_at_counts: bool) -> int:
    """When it happened on our clock: receivedAt - (sentAt - original); never later than `received_at`.

    Without an original: when it was received. Without `sent_at`, or where it does not tell when the request left
    (`sent_at_counts` false: a retry, or a library that stamps it earlier): the original as it is.
    """
    if original is None:
        return received_at
    if sent_at is None or not sent_at_counts:
        return min(original, received_at)
    return max(EARLIEST, min(received_at - (sent_at - original), received_at))
