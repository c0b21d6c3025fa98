"""The rate of a key, and the circuit before Kafka."""

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.domain.circuit import Circuit
from services.ingest.domain.limits import TokenBucket


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 50)), max_size=60))
def test_no_more_passes_than_rate_and_burst_allow(asks: list[tuple[float, int]]) -> None:
    bucket = TokenBucket(rate=10, burst=100, now=0)
    now, passed = 0.0, 0
    for pause, count in asks:
        now += pause
        if bucket.take(count, now) == 0:
            passed += count
    assert passed <= 100 + 10 * now + 1e-6


def test_waiting_as_long_as_told_is_enough() -> None:
    bucket = TokenBucket(rate=10, burst=20, now=0)
    assert bucket.take(20, 0) == 0
    wait = bucket.take(5, 0)
    assert wait == 0.5
    assert bucket.take(5, wait) == 0


def test_a_batch_above_the_burst_passes_once_and_is_paid_for() -> None:
    bucket = TokenBucket(rate=10, burst=20, now=0)
    assert bucket.take(50, 0) == 0
    assert bucket.take(1, 0) == 3.1


def test_a_failure_opens_the_circuit_and_a_delivery_closes_it() -> None:
    circuit = Circuit(stall_seconds=1)
    circuit.failed("timed out")
    assert (circuit.is_open, circuit.why) == (True, "timed out")
    assert circuit.delivered()
    assert not circuit.is_open
    assert not circuit.delivered()


def test_silence_opens_the_circuit_only_when_it_lasts() -> None:
    circuit = Circuit(stall_seconds=1)
    circuit.waiting(0.9)
    assert not circuit.is_open
    circuit.waiting(1.0)
    assert circuit.is_open


def test_an_answered_probe_closes_the_circuit_unless_records_hang() -> None:
    circuit = Circuit(stall_seconds=1)
    circuit.probed(False, 0)
    assert circuit.is_open
    circuit.probed(True, 2)
    assert circuit.is_open
    circuit.probed(True, 0)
    assert not circuit.is_open
