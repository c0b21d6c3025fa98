"""Waits between attempts."""

from shared.runtime.backoff import Backoff


def test_waits_double_up_to_the_longest_and_begin_anew_after_a_success() -> None:
    waits = Backoff(0.5, 3.0, lambda: 1.0)
    assert [waits.next() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    waits.reset()
    assert waits.next() == 0.5


def test_those_who_wait_for_one_server_do_not_come_back_in_step() -> None:
    one, other = Backoff(1.0, 8.0, lambda: 0.0), Backoff(1.0, 8.0, lambda: 0.5)
    assert [one.next() for _ in range(3)] == [0.5, 1.0, 2.0], "never less than half"
    assert [other.next() for _ in range(3)] == [0.75, 1.5, 3.0]
