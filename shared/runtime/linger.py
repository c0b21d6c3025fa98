"""How long the broker gathers records before it answers a fetch.

A chunk is a fetch, two calls of Redis and an acknowledgement of Kafka: it costs about as much as fifty records. So while records keep
coming, the broker gathers them for `Stage.linger_ms`, and longer the faster they come (at 6,000 events/s that took 340 us of CPU an event
to 271). The first record after a pause is served at once. At 1,000 events/s lingering took the CPU of all processes from 1,800 to 920 us an
event, and the p99 from HTTP answer to segment from 1.6 s to 0.24 s: without it two cores were full of tiny chunks. What a stage decides on
timers (journeys) may linger longer.
"""

from typing import Final, NamedTuple

LINGER_BYTES: Final = 2 * 1024 * 1024
"""A stage that lingers is served at once when so much waits."""
IDLE_WAIT_MS: Final = 500
BUSY: Final = 4
"""Records that come within so many lingers of the last ones are a stream, and worth a wait; the first after a pause are not."""
CALM_RATE: Final = 1_250
"""Records a second up to which a stage lingers no longer than it says; each time so many more let it linger MORE_MS longer."""
MORE_MS: Final = 50
LONGEST_MS: Final = 300
MEASURED_S: Final = 1.0


class Fetch(NamedTuple):
    """What the broker is asked: answer when `min_bytes` are there, or after `max_wait_ms`."""

    min_bytes: int
    max_wait_ms: int


class Linger:
    """`least_ms`: Stage.linger_ms. Times are seconds of a steady clock."""

    def __init__(self, least_ms: int, now: float) -> None:
        self._least_ms = least_ms
        self._wait_ms = least_ms
        self._last = self._since = now
        self._fetched = 0

    def next(self, fetched: int, now: float) -> Fetch:
        """How to fetch next, after `fetched` records came just now."""
        busy = now - self._last < BUSY * self._wait_ms / 1000
        self._last = now
        self._fetched += fetched
        measured = now - self._since
        if measured >= MEASURED_S:
            crowd = max(0.0, self._fetched / measured / CALM_RATE - 1)
            self._wait_ms = max(self._least_ms, min(LONGEST_MS, self._least_ms + int(MORE_MS * crowd)))
            self._since, self._fetched = now, 0
        return Fetch(LINGER_BYTES, self._wait_ms) if busy and self._least_ms else Fetch(1, IDLE_WAIT_MS)
