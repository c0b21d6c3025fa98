"""The highest rate at which no stage falls behind: ramp, then halve, then hold."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.contracts.slots import partition_count
from tests.bench.generator import Generator, sending
from tests.bench.lag import Gauge, Sample, growing
from tests.bench.system import NotMeasuredError, System
from tests.bench.usage import Usage, cpu_us, usage

SHORT_SECONDS = 15.0
WARM_UP_SECONDS, GLANCE_WARM_UP_SECONDS = 25.0, 8.0
"""Of the load come before what counts: a steady lag must first build up, such as the rows that wait for the warehouse's next insert."""
SETTLE_SECONDS = 600.0
SAMPLE_SECONDS = 0.5
SETTLED_SECONDS = 4.7
"""Clock records and rows that wait for the next insert are always there."""
HOPELESS_SECONDS = 20.0
"""Lag of so many seconds of the load ends a trial: more of it would only take long to work off."""
TAKEN = 0.99
"""Share of the wished events that must have been answered 200; the last requests may come too late to be sent."""
LAST_REQUESTS = 3
LOWEST_RATE, FIRST_RATE, RAMP = 100.0, 1_000.0, 1.5
FINE, STEP_DOWN, MOST_STEPS = 1.1, 0.9, 8


@dataclass(frozen=True)
class Trial:
    """One run of the load. `grew`: stages that fell behind, and by how many seconds; `lag_s`: the highest lag of each, both in seconds of
    the load. `cpu_us`: CPU an event, by part, until all was applied; `load_cpu_us`: the generator's own. `rss`: bytes at the load's end.
    """

    rate: float
    batch: int
    seconds: float
    accepted: int
    refused: Mapping[str, int]
    owed: int
    grew: Mapping[str, float]
    lag_s: Mapping[str, float]
    cpu_us: Mapping[str, float]
    rss: Mapping[str, int]
    load_cpu_us: float

    @property
    def achieved(self) -> float:
        """Events a second answered 200."""
        return self.accepted / self.seconds

    @property
    def held(self) -> bool:
        return not self.grew and not self.refused and self.took

    @property
    def took(self) -> bool:
        """Whether ingest took what was to be sent."""
        return self.accepted >= TAKEN * self.rate * self.seconds - LAST_REQUESTS * self.batch

    def why(self) -> str:
        """In words, why it was not held; empty when it was."""
        told = [f"{stage} fell behind by {seconds:.1f} s" for stage, seconds in self.grew.items()]
        told += [f"{number} requests answered {status}" for status, number in self.refused.items()]
        if not self.took:
            told.append(f"ingest took {self.achieved:,.0f}/s")
        return ", ".join(told)


def clocks_a_second() -> int:
    """Records that every stage reads beside the events: each resolver slot tells each partition the time once a second."""
    return partition_count() ** 2


def run_trial(system: System, gauge: Gauge, made: Path, rate: float, batch: int, seconds: float, glance: bool = False) -> Trial:
    """Send to warm up and then for `seconds`, watch the lag, wait until everything is applied. Raises NotMeasuredError.

    `glance`: only to find the rate that may hold.
    """
    warm_up = GLANCE_WARM_UP_SECONDS if glance else WARM_UP_SECONDS
    before, records = usage(system), rate + clocks_a_second()
    samples: list[Sample] = []
    with sending(system, made, rate, batch, warm_up + seconds) as generator:
        rss = _watch(system, gauge, generator, samples, records)
    told = generator.stop()
    settle(system, gauge)
    spent = cpu_us(before, usage(system), told.accepted)
    top = {stage: max(sample.lags[stage] for sample in samples) / records for stage in samples[0].lags}
    grew = {stage: lag for stage, lag in top.items() if lag > HOPELESS_SECONDS}
    warm = [sample for sample in samples if sample.seconds >= warm_up]
    if not grew:
        grew = growing(warm, records, glance)
    own = 1e6 * told.cpu_s / max(1, told.accepted)
    return Trial(rate, batch, told.seconds, told.accepted, told.refused, told.owed, grew, top, spent, rss.rss, own)


def _watch(system: System, gauge: Gauge, generator: Generator, samples: list[Sample], records: float) -> Usage:
    """Sample the lag while the load goes on, at most until it is hopeless; answers what was used then."""
    began = time.monotonic()
    while generator.sending:
        samples.append(Sample(time.monotonic() - began, gauge.lags()))
        system.check_alive()
        if max(samples[-1].lags.values()) > HOPELESS_SECONDS * records:
            break
        time.sleep(SAMPLE_SECONDS)
    return usage(system)


def settle(system: System, gauge: Gauge) -> None:
    """Return once nothing waits in any stage. Raises NotMeasuredError."""
    end = time.monotonic() + SETTLE_SECONDS
    while max((lags := gauge.lags()).values()) > SETTLED_SECONDS * clocks_a_second():
        system.check_alive()
        if time.monotonic() > end:
            raise NotMeasuredError(f"the stages did not catch up within {SETTLE_SECONDS:g} s: {lags} records behind")
        time.sleep(SAMPLE_SECONDS)


def highest(attempt: Callable[[float, bool], Trial], say: Callable[[str], None]) -> Trial:
    """The trial of about the highest rate that `attempt(rate, long)` holds for long. Raises NotMeasuredError when there is none."""
    low, high, rate = 0.0, math.inf, FIRST_RATE
    while high / max(low, LOWEST_RATE) > FINE:
        trial = attempt(rate, False)
        say(f"{rate:,.0f}/s {'held' if trial.held else 'not held: ' + trial.why()}")
        low, high = (rate, high) if trial.held else (low, rate)
        rate = rate * RAMP if high == math.inf else math.sqrt(max(low, LOWEST_RATE) * high)
    for step in range(MOST_STEPS if low else 0):
        trial = attempt(low * STEP_DOWN**step, True)
        say(f"{trial.rate:,.0f}/s for long: {'held' if trial.held else 'not held: ' + trial.why()}")
        if trial.held:
            return trial
    raise NotMeasuredError(f"no rate was held; at {trial.rate:,.0f} events/s: {trial.why()}")
