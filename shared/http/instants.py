"""Epoch milliseconds inside, RFC 3339 UTC outside."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)


def instant(epoch_ms: int) -> datetime:
    """The instant as an aware time in UTC; what no calendar reaches becomes its last or first day."""
    return _EPOCH + timedelta(milliseconds=min(max(epoch_ms, -62_135_596_800_000), _LATEST_MS))


def instant_or_none(epoch_ms: int | None) -> datetime | None:
    """As `instant`; 0 and None say that it never was."""
    return instant(epoch_ms) if epoch_ms else None


def rfc3339(at: datetime) -> str:
    """UTC with milliseconds and Z: `2026-06-01T01:00:00.000Z`."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def epoch_ms(at: datetime) -> int:
    """An aware time in epoch milliseconds, rounded down."""
    return (at - _EPOCH) // timedelta(milliseconds=1)
