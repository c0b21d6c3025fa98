"""How long fetches wait for company."""

from shared.runtime.linger import CALM_RATE, IDLE_WAIT_MS, LINGER_BYTES, LONGEST_MS, MORE_MS, Fetch, Linger


def fetched(linger: Linger, rate: int, seconds: int, start: float, every: float = 0.05) -> Fetch:
    """The last answer after `seconds` of a stream of `rate` records a second."""
    answer = Fetch(0, 0)
    for step in range(int(seconds / every)):
        answer = linger.next(int(rate * every), start + (step + 1) * every)
    return answer


def test_the_first_record_after_a_pause_is_served_at_once() -> None:
    linger = Linger(50, 0.0)
    assert linger.next(1, 10.0) == Fetch(1, IDLE_WAIT_MS)


def test_a_calm_stream_waits_as_long_as_its_stage_says() -> None:
    assert fetched(Linger(50, 0.0), CALM_RATE - 50, 3, 10.0) == Fetch(LINGER_BYTES, 50)


def test_a_fast_stream_waits_longer_in_proportion_but_never_longer_than_the_limit() -> None:
    assert abs(fetched(Linger(30, 0.0), 3 * CALM_RATE, 3, 10.0).max_wait_ms - (30 + 2 * MORE_MS)) <= 5
    assert fetched(Linger(50, 0.0), 100 * CALM_RATE, 3, 10.0).max_wait_ms == LONGEST_MS


def test_a_stage_that_wants_to_linger_longer_than_the_limit_does() -> None:
    assert fetched(Linger(LONGEST_MS + 100, 0.0), 100 * CALM_RATE, 3, 10.0).max_wait_ms == LONGEST_MS + 100


def test_a_stream_that_calms_down_waits_less_again() -> None:
    linger = Linger(50, 0.0)
    fetched(linger, 6 * CALM_RATE, 3, 0.0)
    assert fetched(linger, CALM_RATE // 2, 3, 3.0).max_wait_ms == 50


def test_a_stage_that_does_not_linger_is_served_as_records_come() -> None:
    assert fetched(Linger(0, 0.0), 6 * CALM_RATE, 3, 10.0) == Fetch(1, IDLE_WAIT_MS)
