"""The time rule: every row of the table, and what holds for all times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.domain.times import EARLIEST, LATEST, event_time, parse_time

NOON = 1_800_000_000_000
HOUR = 3_600_000
TIMES = st.integers(EARLIEST, LATEST)


@pytest.mark.parametrize(
    ("original", "sent_at", "counts", "expected"),
    [
        pytest.param(None, None, True, NOON, id="no time at all: when it was received"),
        pytest.param(None, NOON - HOUR, True, NOON, id="sentAt alone says nothing about the event"),
        pytest.param(NOON - HOUR, None, True, NOON - HOUR, id="without sentAt the original as it is"),
        pytest.param(NOON - HOUR, NOON, True, NOON - HOUR, id="a right clock changes nothing"),
        pytest.param(NOON + HOUR, NOON + 2 * HOUR, True, NOON - HOUR, id="a clock two hours fast is put right"),
        pytest.param(NOON - 9 * HOUR, NOON - 8 * HOUR, True, NOON - HOUR, id="a clock eight hours slow is put right"),
        pytest.param(NOON - HOUR, NOON - HOUR, False, NOON - HOUR, id="a retry keeps the original"),
        pytest.param(NOON + HOUR, None, True, NOON, id="the future is clamped"),
        pytest.param(NOON + 3 * HOUR, NOON, True, NOON, id="sent before it happened: clamped"),
        pytest.param(NOON + HOUR, NOON, False, NOON, id="a retry's future is clamped too"),
    ],
)
def test_the_corrected_time_follows_the_rule(original: int | None, sent_at: int | None, counts: bool, expected: int) -> None:
    assert event_time(NOON, original, sent_at, counts) == expected


@given(received=TIMES, original=st.none() | TIMES, sent_at=st.none() | TIMES, counts=st.booleans())
def test_no_event_lies_in_the_future_or_before_1900(received: int, original: int | None, sent_at: int | None, counts: bool) -> None:
    assert EARLIEST <= event_time(received, original, sent_at, counts) <= received


@given(received=st.integers(NOON, NOON + HOUR), age=st.integers(0, 30 * 24 * HOUR), skew=st.integers(-400 * HOUR, 400 * HOUR))
def test_a_clock_that_is_wrong_by_a_constant_does_not_matter(received: int, age: int, skew: int) -> None:
    assert event_time(received, received - age + skew, received + skew, True) == received - age


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-11-22T10:00:00Z", 1_795_341_600_000),
        ("2026-11-22T10:00:00.123Z", 1_795_341_600_123),
        ("2026-11-22T10:00:00.123456789Z", 1_795_341_600_123),
        ("2026-11-22T18:00:00.5+08:00", 1_795_341_600_500),
        ("2026-11-22T10:00:00", 1_795_341_600_000),
        ("2026-11-22", 1_795_305_600_000),
        (" 2026-11-22T10:00:00Z ", 1_795_341_600_000),
        (1_795_341_600_123, 1_795_341_600_123),
        (1_795_341_600, 1_795_341_600_000),
        (1_795_341_600.5, 1_795_341_600_500),
        ("2026-11-22T10:00:00+0000", 1_795_341_600_000),
        ("2026-11-22 10:00:00 UTC", 1_795_341_600_000),
        ("2026-1-2T3:04:05.678Z", 1_767_323_045_678),
        ("2026-1-2", 1_767_312_000_000),
        ("", None),
        (None, None),
        ("0001-01-01T00:00:00Z", None),
        ("1965-03-01T00:00:00Z", -152_668_800_000),
    ],
)
def test_times_are_read_in_every_form_that_sdks_send(text: str | int | float | None, ms: int | None) -> None:
    assert parse_time(text) == ms


@pytest.mark.parametrize("junk", ["yesterday", "2026-13-01", "12", True, 1e300, float("-1e300"), "1500-01-01", "9999-12-31T23:59:59Z"])
def test_what_is_no_time_is_refused(junk: str | float) -> None:
    with pytest.raises((ValueError, OverflowError)):
        parse_time(junk)


@given(st.text() | st.integers() | st.floats() | st.booleans() | st.none())
def test_junk_is_a_time_or_a_value_error(junk: str | float | None) -> None:
    try:
        ms = parse_time(junk)
    except (ValueError, OverflowError):
        return
    assert ms is None or EARLIEST <= ms <= LATEST
