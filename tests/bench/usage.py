"""What processes use: CPU seconds and resident bytes, children included."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil

from tests.bench.system import System


@dataclass(frozen=True)
class Usage:
    """`cpu_s`: user and system time since each process began; `rss`: resident bytes."""

    cpu_s: Mapping[str, float]
    rss: Mapping[str, int]


def usage(system: System) -> Usage:
    """Of every part that runs."""
    cpu_s: dict[str, float] = {}
    rss: dict[str, int] = {}
    for name, part in system.parts.items():
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(part.pid)
            family = [first, *first.children(recursive=True)]
            cpu_s[name] = sum(sum(one.cpu_times()[:2]) for one in family)
            rss[name] = sum(one.memory_info().rss for one in family)
    return Usage(cpu_s, rss)


def cpu_us(before: Usage, after: Usage, events: int) -> dict[str, float]:
    """CPU microseconds an event, by part, dearest first."""
    spent = {name: after.cpu_s[name] - before.cpu_s.get(name, 0.0) for name in after.cpu_s}
    return {name: 1e6 * seconds / max(1, events) for name, seconds in sorted(spent.items(), key=lambda one: -one[1])}
