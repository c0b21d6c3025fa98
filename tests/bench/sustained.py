"""The highest rate at which no stage falls behind: ramp, then halve, then hold."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.generator import Generator, sending
from tests.bench.lag import Gauge, Sample, growing
from tests.bench.system import NotMeasuredError, System
from tests.bench.usage import Usage, cpu_us, usage

SHORT_SECONDS = 10.0
SETTLE_SECONDS = 600.0
SAMPLE_SECONDS = 0.5
SETTLED_RECORDS = 100
HOPELESS_SECONDS = 6.0
"""Lag of so many seconds of the load ends a trial: more of it would only take long to work off."""
TAKEN = 0.99
"""Share of the wished events that must have been answered 200."""
FIRST_RATE, RAMP, FINE, STEP_DOWN, MOST_STEPS = 1_000.0, 1.5, 1.06, 0.94, 8


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
    cpu_us: Mapping[str, float] = field(default_factory=dict)
    rss: Mapping[str, int] = field(default_factory=dict)
    load_cpu_us: float = 0.0

    @property
    def achieved(self) -> float:
        """Events a second answered 200."""
        return self.accepted / self.seconds

    @property
    def held(self) -> bool:
        return not self.grew and not self.refused and self.achieved >= TAKEN * self.rate

    def why(self) -> str:
        """In words, why it was not held; empty when it was."""
        told = [f"{stage} fell behind by {seconds:.1f} s" for stage, seconds in self.grew.items()]
        told += [f"{number} requests answered {status}" for status, number in self.refused.items()]
        if self.achieved < TAKEN * self.rate:
            told.append(f"ingest took {self.achieved:,.0f}/s")
        return ", ".join(told)


def run_trial(system: System, gauge: Gauge, made: Path, rate: float, batch: int, seconds: float) -> Trial:
    """Send for `seconds`, watch the lag, wait until everything is applied. Raises NotMeasuredError."""
    before = usage(system)
    samples: list[Sample] = []
    with sending(system, made, rate, batch, seconds) as generator:
        rss = _watch(system, gauge, generator, samples, rate)
    told = generator.stop()
    settle(system, gauge)
    after = usage(system)
    events = max(1, told.accepted)
    highest = {stage: max(sample.lags[stage] for sample in samples) / rate for stage in samples[0].lags}
    hopeless = {stage: seconds for stage, seconds in highest.items() if seconds > HOPELESS_SECONDS}
    grew = hopeless or growing(samples, rate)
    return Trial(
        rate, batch, told.seconds, told.accepted, told.refused, told.owed, grew, highest,
        cpu_us(before, after, events), rss.rss, 1e6 * told.cpu_s / events,
    )  # fmt: skip


def _watch(system: System, gauge: Gauge, generator: Generator, samples: list[Sample], rate: float) -> Usage:
    """Sample the lag while the load goes on; answers what was used at its end."""
    began = time.monotonic()
    while True:
        lags = gauge.lags()
        samples.append(Sample(time.monotonic() - began, lags))
        system.check_alive()
        enough = len(samples) >= 4
        if enough and (not generator.sending or max(lags.values()) > HOPELESS_SECONDS * rate):
            return usage(system)
        time.sleep(SAMPLE_SECONDS)


def settle(system: System, gauge: Gauge) -> None:
    """Return once nothing waits in any stage. Raises NotMeasuredError."""
    end = time.monotonic() + SETTLE_SECONDS
    while max((lags := gauge.lags()).values()) > SETTLED_RECORDS:
        system.check_alive()
        if time.monotonic() > end:
            raise NotMeasuredError(f"the stages did not catch up within {SETTLE_SECONDS:g} s: {lags} records behind")
        time.sleep(SAMPLE_SECONDS)


def highest(attempt: Callable[[float, bool], Trial], say: Callable[[str], None]) -> Trial:
    """The held trial of the highest rate that `attempt(rate, long)` holds for long. Raises NotMeasuredError when there is none."""
    low, high, rate = 0.0, None, FIRST_RATE
    while high is None or (low and high / low > FINE):
        trial = attempt(rate, False)
        say(f"{rate:,.0f}/s {'held' if trial.held else 'not held: ' + trial.why()}")
        if trial.held:
            low = rate
        else:
            high = rate
            if not low and rate <= FIRST_RATE / 8:
                break
        rate = rate * RAMP if high is None else (low * high) ** 0.5 if low else rate / 2
    rate = low or rate
    for _ in range(MOST_STEPS):
        trial = attempt(rate, True)
        say(f"{rate:,.0f}/s for long: {'held' if trial.held else 'not held: ' + trial.why()}")
        if trial.held:
            return trial
        rate *= STEP_DOWN
    raise NotMeasuredError(f"no rate was held; the lowest tried was {rate / STEP_DOWN:,.0f} events/s: {trial.why()}")
