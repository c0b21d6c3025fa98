"""What an installation uses in which nothing happens, by its number of partitions: clocks go on, from each slot to each partition."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from tests.bench.system import running
from tests.bench.usage import usage

COUNTS = (8, 24)
WARM_UP_SECONDS = 20.0
VARIABLE = "RAPPORT_PARTITIONS"


def measure(count: int, without: Sequence[str], seconds: float) -> Mapping[str, float]:
    """Cores that each part keeps busy, dearest first. Raises NotMeasuredError."""
    with _chosen(count), running(without) as system:
        time.sleep(WARM_UP_SECONDS)
        before, began = usage(system), time.monotonic()
        time.sleep(seconds)
        after, passed = usage(system), time.monotonic() - began
        system.check_alive()
    used = {part: (after.cpu_s[part] - before.cpu_s.get(part, 0.0)) / passed for part in after.cpu_s}
    return dict(sorted(used.items(), key=lambda one: -one[1]))


@contextmanager
def _chosen(count: int) -> Iterator[None]:
    """Topics that are made meanwhile have so many partitions."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
