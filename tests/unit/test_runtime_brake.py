"""When a worker that fails its records must stop, and when not."""

import pytest

from shared.runtime.brake import LEAST, WINDOW, Brake
from shared.runtime.ports import Halted


def counts(folded: int, failed: int) -> dict[str, int]:
    return {"folded": folded, "failed": failed}


def test_few_failures_never_halt() -> None:
    brake = Brake(0.5)
    brake.check(counts(0, LEAST - 1), "folder")


def test_most_of_the_last_records_failing_halts_and_says_what_to_do() -> None:
    brake = Brake(0.5)
    with pytest.raises(Halted, match=r"one of them: events\[3\] offset 7: handler_failed \(KeyError\).*rapport\.record\.failed\.v1"):
        brake.check(counts(0, LEAST), "folder", "events[3] offset 7: handler_failed (KeyError)")


def test_what_lies_further_back_than_the_window_counts_no_more() -> None:
    brake = Brake(0.5)
    for _ in range(20):
        brake.check(counts(0, LEAST // 25), "folder")
    brake.check(counts(WINDOW, 0), "folder")
    brake.check(counts(10, LEAST - 1), "folder")


def test_a_ratio_of_one_goes_on_whatever_fails() -> None:
    brake = Brake(1.0)
    for _ in range(5):
        brake.check(counts(0, WINDOW), "folder")
