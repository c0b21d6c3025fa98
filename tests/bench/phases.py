"""The order in which things are measured, each kind on an installation that only it has used."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from confluent_kafka import KafkaException
from httpx import HTTPError
from redis.exceptions import RedisError
from rich.console import Console

from deploy.local.topics import NEW_PARTITIONS
from shared.adapters.clickhouse import StoreAway, StoreRefused
from shared.contracts.slots import settle as count_partitions
from tests.bench import attacks, idle, ingest_alone, latency, limit, profile_bytes, reads, segments
from tests.bench.figures import Figures
from tests.bench.generator import write_templates
from tests.bench.hardware import hardware
from tests.bench.lag import Gauge
from tests.bench.sustained import SHORT_SECONDS, Trial, highest, run_trial, settle
from tests.bench.system import NotMeasuredError, System, running
from tests.bench.usage import usage

PHASES = ("small", "sustained-100", "sustained-20", "alone", "idle", "reads", "attacks", "segments")
"""reads: each GET over a million merges and ten million messages. idle: CPU where nothing happens, with few and many partitions.
attacks: how long bystanders wait meanwhile. segments: an event and a timer with 10, 100 and 1,000 segments, in this process.

small: cold start, memory, bytes a profile, latency. alone: ingest with wrk, and the limit."""
WHOLE_SECONDS = 60.0
"""A run of fewer seconds reads over a smaller share of rows."""
WARM_UP_RATE, WARM_UP_SECONDS = 2_000.0, 30.0
"""Kafka's JVM compiles what it runs often: a broker that has just started costs five times as much."""
NO_LIMIT_OF_A_KEY = {"RAPPORT_RATE_PER_KEY": "1000000"}
"""One write key carries the whole load; what ingest allows a key is not what is asked for."""


class Bench:
    """One run. `seconds`: how long a rate must hold, and how long the other measurements take."""

    def __init__(self, seconds: float, without: Sequence[str], console: Console) -> None:
        self.figures = Figures(hardware(), seconds, list(without))
        self._seconds, self._without, self._console = seconds, without, console
        self._warehouse = "warehouse" not in without

    def run(self, phases: Sequence[str]) -> None:
        """Measure; what cannot be measured is told in `figures.unmeasured`."""
        os.environ.update(NO_LIMIT_OF_A_KEY)
        self._say(f"on {self.figures.hardware}")
        with tempfile.NamedTemporaryFile(prefix="rapport-bench-events-") as file:
            made = Path(file.name)
            write_templates(made)
            for phase in phases:
                with self._guarded(phase):
                    match phase:
                        case "small":
                            self._small(made)
                        case "alone":
                            self._alone(made)
                        case "idle":
                            self._idle()
                        case "reads":
                            self._reads()
                        case "attacks":
                            self._attacks()
                        case "segments":
                            self.figures.segments = segments.measure()
                        case _:
                            self._sustained(made, int(phase.rpartition("-")[2]))

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """Goes on with the next when this cannot be measured."""
        try:
            with self._console.status(what):
                yield
        except (NotMeasuredError, KafkaException, RedisError, HTTPError, StoreAway, StoreRefused) as error:
            told = str(error) if isinstance(error, NotMeasuredError) else f"a server did not answer: {error!r}"
            self.figures.unmeasured[what] = told
            self._say(f"{what}: not measured: {told}")

    def _small(self, made: Path) -> None:
        with running(self._without) as system, closing(self._gauge(system)) as gauge:
            self.figures.cold_start_s = system.cold_start_s
            self._say(f"everything ready after {system.cold_start_s:.1f} s")
            replayed, seconds = profile_bytes.replay_demo(system)
            self._say(f"the demo's {replayed:,} events played in within {seconds:.1f} s")
            settle(system, gauge)
            self.figures.rss_at_rest = dict(usage(system).rss)
            self.figures.profile_bytes = profile_bytes.weigh(system, replayed, seconds)
            self._say(f"latency at {latency.BACKGROUND_RATE:,.0f} events/s, {self._seconds:g} s")
            self.figures.steady = latency.measure(system, made, self._seconds, self._warehouse)

    def _sustained(self, made: Path, batch: int) -> None:
        with running(self._without) as system, closing(self._gauge(system)) as gauge:

            def attempt(rate: float, long: bool) -> Trial:
                seconds = self._seconds if long else min(SHORT_SECONDS, self._seconds)
                return run_trial(system, gauge, made, rate, batch, seconds, glance=not long)

            run_trial(system, gauge, made, WARM_UP_RATE, batch, min(WARM_UP_SECONDS, self._seconds))
            self._say(f"batches of {batch}: looking for the highest rate")
            self.figures.sustained[batch] = highest(attempt, self._say)

    def _idle(self) -> None:
        for count in idle.COUNTS:
            with self._guarded(f"idle with {count} partitions"):
                cores = self.figures.idle[count] = idle.measure(count, self._without, self._seconds)
                self._say(f"idle with {count} partitions: {sum(cores.values()):.0%} of a core")

    def _alone(self, made: Path) -> None:
        with running(only=("kafka", "topics", "ingest")) as system:
            files = ingest_alone.prepare(system, made)
            with self._guarded("ingest alone"):
                ingest_alone.measure(system, files, 1, min(WARM_UP_SECONDS, self._seconds))
            for batch in ingest_alone.SHAPES:
                with self._guarded(f"ingest alone, batches of {batch}"):
                    alone = ingest_alone.measure(system, files, batch, self._seconds / 3)
                    self.figures.alone[batch] = alone
                    spent = ", ".join(f"{part} {us:.0f}" for part, us in alone.cpu_us.items())
                    self._say(
                        f"ingest alone, batches of {batch}: {alone.rate:,.0f}/s; CPU us an event: {spent}, wrk {alone.load_cpu_us:.0f}"
                    )
            with self._guarded("limit"):
                self.figures.limit = limit.measure(system, made, self._seconds / 3)
                self._say(f"limit: {self.figures.limit.rate:,.0f}/s")

    def _reads(self) -> None:
        with running(only=reads.PARTS) as system:
            count_partitions(NEW_PARTITIONS)
            reads.fill(system, self._say, min(1.0, self._seconds / WHOLE_SECONDS))
            self.figures.reads = reads.measure(system, self._say)

    def _attacks(self) -> None:
        with running(self._without) as system:
            self.figures.attacks = attacks.measure(system, self._say, min(attacks.SECONDS, self._seconds))

    def _gauge(self, system: System) -> Gauge:
        return Gauge(system.bootstrap, system.env["RAPPORT_REDIS_URL"], self._warehouse)
