"""All figures of a run, and what they are to be."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.bench.attacks import Attack
from tests.bench.hardware import Hardware
from tests.bench.ingest_alone import Alone
from tests.bench.latency import BACKGROUND_RATE, MEMBER, PROFILE, REQUEST, ROW, Steady
from tests.bench.limit import Limit
from tests.bench.profile_bytes import ProfileBytes
from tests.bench.reads import Reads
from tests.bench.segments import BOUNDED, Cost
from tests.bench.sustained import Trial

EVENTS_A_SECOND = 15_000.0
SEGMENT_YARDSTICKS = 3.0
"""Of p99 from the HTTP answer to a segment, in p99 of the bare chain beside it."""
ROW_P99_S = 2.0
STEADY_CPU_US = 500.0
READ_P95_S = 0.1
MOST_TIMES = 2.0
"""An event and a timer with a thousand segments, in what they cost with ten."""
BYSTANDER_S = 2.0
EVERYTHING_BYTES = 1.5 * 1024**3
PROFILE_BYTES = 1.2 * 1024
GATEWAY = {1: 11_800.0, 20: 31_000.0, 100: 39_000.0}
"""Events a second of a Go gateway over Postgres on a machine of two cores, by events a request; the same closed loop."""


@dataclass
class Figures:
    """What could be measured. `unmeasured`: what -> why not. `idle`: partitions -> cores by part.

    Bytes, seconds, events a second, CPU microseconds an event.
    """

    hardware: Hardware
    seconds: float
    without: list[str]
    cold_start_s: float | None = None
    sustained: dict[int, Trial] = field(default_factory=dict)
    steady: Steady | None = None
    rss_at_rest: dict[str, int] = field(default_factory=dict)
    profile_bytes: ProfileBytes | None = None
    limit: Limit | None = None
    alone: dict[int, Alone] = field(default_factory=dict)
    reads: dict[str, Reads] = field(default_factory=dict)
    idle: dict[int, Mapping[str, float]] = field(default_factory=dict)
    attacks: dict[str, Attack] = field(default_factory=dict)
    segments: dict[str, dict[int, Cost]] = field(default_factory=dict)
    unmeasured: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """One figure: in words, its target in words (empty: none), and whether it is reached (None: no target)."""

    what: str
    found: str
    target: str = ""
    reached: bool | None = None


def lines(figures: Figures) -> Iterator[Line]:
    """What has been measured, beside its target."""
    if figures.cold_start_s is not None:
        yield Line("cold start, empty folder to all ready", f"{figures.cold_start_s:.1f} s")
    yield from _sustained(figures)
    if figures.steady is not None:
        yield from _steady(figures.steady)
    yield from _memory(figures)
    for batch, alone in sorted(figures.alone.items()):
        how = "single events" if batch == 1 else f"batches of {batch}"
        target = GATEWAY[batch]
        what = f"ingest alone, {how} on {alone.connections} connections"
        yield Line(what, f"{alone.rate:,.0f}/s (p99 {alone.p99_ms:,.0f} ms)", f"> {target:,.0f}/s", alone.rate > target)
    for operation, one in figures.reads.items():
        told = f"p50 {one.p50 * 1000:,.0f} ms, p95 {one.p95 * 1000:,.0f} ms ({one.status})"
        yield Line(f"GET {operation}", told, f"p95 < {READ_P95_S * 1000:.0f} ms", one.p95 < READ_P95_S)
    for name, attack in figures.attacks.items():
        yield Line(
            f"bystanders' events seen after at most ({name})",
            ", ".join(f"{what} {seconds:.2f} s" for what, seconds in attack.seen.items()),
            f"<= {BYSTANDER_S:g} s",
            max(attack.seen.values()) <= BYSTANDER_S and not attack.missing,
        )
    for count, cores in sorted(figures.idle.items()):
        spent = ", ".join(f"{part} {used:.1%}" for part, used in cores.items() if used >= 0.0005)
        yield Line(f"idle, {count} partitions, of one core", f"{sum(cores.values()):.0%}: {spent}")
    yield from _segments(figures)
    for what, why in figures.unmeasured.items():
        yield Line(what, f"not measured: {why}", "", None)


def _segments(figures: Figures) -> Iterator[Line]:
    for shape, costs in figures.segments.items():
        least, most = costs[min(costs)], costs[max(costs)]
        times = max(most.event_us / least.event_us, most.timer_us / least.timer_us if least.timer_us else 0.0)
        told = "; ".join(
            f"{count:,}: event {one.event_us:.0f} us, timer {one.timer_us:.0f} us, {one.bytes:,.0f} bytes"
            for count, one in sorted(costs.items())
        )
        target = ("<= 2 times ten's", times <= MOST_TIMES) if shape in BOUNDED else ("", None)
        yield Line(f"segments, {shape}", f"{told}; {times:.1f} times", *target)


def _sustained(figures: Figures) -> Iterator[Line]:
    for batch, trial in sorted(figures.sustained.items(), reverse=True):
        what = f"sustained through all stages, batches of {batch}, {trial.seconds:.0f} s"
        yield Line(what, f"{trial.rate:,.0f}/s", f">= {EVENTS_A_SECOND:,.0f}/s", trial.rate >= EVENTS_A_SECOND)
        yield Line("  highest lag then", ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in trial.lag_s.items()))
        steady = "" if figures.steady is None else f" (at {BACKGROUND_RATE:,.0f}/s {sum(figures.steady.cpu_us.values()):.0f})"
        yield Line("  CPU us an event", _spent(trial.cpu_us) + steady)
        if trial.cpu_us and trial.rate < EVENTS_A_SECOND:
            yield Line("  why not more", why_not_more(trial, figures.hardware.cores))
        yield Line("  CPU us an event of the load itself", f"{trial.load_cpu_us:.0f}")
    if figures.limit is not None:
        limit = figures.limit
        share = max((trial.rate for trial in figures.sustained.values()), default=0.0) / limit.rate
        told = f"{limit.rate:,.0f}/s" + (f"; the system: {share:.0%} of it" if share else "")
        yield Line("limit: bare produce and consume, same bytes", told)


def _steady(steady: Steady) -> Iterator[Line]:
    names = {
        REQUEST: "HTTP request answered",
        PROFILE: "200 to profile visible",
        MEMBER: "200 to segment member",
        ROW: "200 to ClickHouse row",
    }
    at, bare = f"at {BACKGROUND_RATE:,.0f}/s", steady.yardstick
    missing = f", {bare.missing} never" if bare.missing else ""
    yield Line(f"yardstick: a bare chain beside the load, {at}", f"p50 {bare.p50 * 1000:,.1f} ms, p99 {bare.p99 * 1000:,.1f} ms{missing}")
    for what, name in names.items():
        if (found := steady.latency.get(what)) is None:
            continue
        times = found.p99 / bare.p99
        told = f"p50 {found.p50 * 1000:,.0f} ms ({found.p50 / bare.p50:,.1f} yardsticks), p99 {found.p99 * 1000:,.0f} ms ({times:,.1f})"
        told += f", {found.missing} never" if found.missing else ""
        if what == MEMBER:
            yield Line(f"{name}, {at}", told, f"p99 <= {SEGMENT_YARDSTICKS:g} yardsticks", times <= SEGMENT_YARDSTICKS)
        elif what == ROW:
            yield Line(f"{name}, {at}", told, f"p99 <= {ROW_P99_S:g} s", found.p99 <= ROW_P99_S)
        else:
            yield Line(f"{name}, {at}", told)
    total = sum(steady.cpu_us.values())
    yield Line(f"CPU us an event {at}", _spent(steady.cpu_us), f"< {STEADY_CPU_US:.0f}", total < STEADY_CPU_US)
    if total >= STEADY_CPU_US:
        yield Line("  why missed", next_part(steady.cpu_us))


def why_not_more(trial: Trial, cores: int) -> str:
    """In words: whether the machine was full, who fell behind first, and which part spends most."""
    used = trial.rate * (sum(trial.cpu_us.values()) + trial.load_cpu_us) / 1e6
    last = max(trial.lag_s, key=lambda stage: trial.lag_s[stage], default=None)
    behind = f"; farthest behind: {last}" if last is not None else ""
    return f"{used:.1f} of {cores} cores are busy{behind}; {next_part(trial.cpu_us)}"


def _spent(cpu_us: Mapping[str, float]) -> str:
    spent = ", ".join(f"{part} {us:.0f}" for part, us in cpu_us.items() if us >= 0.5)
    return f"{sum(cpu_us.values()):.0f}: {spent}"


def next_part(cpu_us: Mapping[str, float]) -> str:
    """In words, which part spends most: the one that is next to be made cheaper."""
    part, us = max(cpu_us.items(), key=lambda one: one[1])
    return f"{part} is next: {us:.0f} of {sum(cpu_us.values()):.0f} us an event, {us / sum(cpu_us.values()):.0%}"


def _memory(figures: Figures) -> Iterator[Line]:
    loaded = [trial.rss for trial in figures.sustained.values()]
    most = max(loaded, key=lambda rss: sum(rss.values()), default={})
    for when, rss in (("after the demo", figures.rss_at_rest), ("under the load", most)):
        if rss:
            told = ", ".join(f"{part} {_mb(size)}" for part, size in sorted(rss.items(), key=lambda one: -one[1]))
            total = sum(rss.values())
            yield Line(f"memory (RSS) {when}", f"{_mb(total)} MB: {told}", f"<= {_mb(int(EVERYTHING_BYTES))} MB", total <= EVERYTHING_BYTES)
    if (weighed := figures.profile_bytes) is not None:
        median = weighed.profiles.median
        what = f"Redis bytes a profile, median of {weighed.profiles.keys:,} demo people"
        yield Line(what, f"{median:,.0f}", f"<= {PROFILE_BYTES:,.0f}", median <= PROFILE_BYTES)
        for sort, found in weighed.others.items():
            yield Line(f"  {sort}", f"median {found.median:,.0f}, {found.keys:,} keys, {found.total / 1024**2:.1f} MB")


def _mb(size: int) -> str:
    return f"{size / 1024**2:,.0f}"
