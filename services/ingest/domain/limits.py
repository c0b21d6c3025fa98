"""Caps on what a client may send, and the rate of one key. Bytes, counts, events a second."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """A body and what it inflates to have the same cap: as base64 it must fit a record of the rejected topic.

    `expanded_bytes` caps what one request may put into Kafka: a batch's own context is repeated in each of its events.
    """

    body_bytes: int = 4 * 1024 * 1024
    inflated_bytes: int = 4 * 1024 * 1024
    ratio: int = 100
    ratio_free_bytes: int = 1024 * 1024
    event_bytes: int = 32_768
    events: int = 2_500
    depth: int = 64
    message_id_chars: int = 100
    id_chars: int = 512
    expanded_bytes: int = 32 * 1024 * 1024


class TokenBucket:
    """`rate` events a second on average, `burst` at once. Time is passed in (seconds of any monotonic clock)."""

    __slots__ = ("burst", "last", "rate", "tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate, self.burst, self.last, self.tokens = rate, burst, now, burst

    def take(self, count: int, now: float) -> float:
        """Take `count` tokens and return 0, or take none and return the seconds until it is worth asking again.

        More than a whole burst is granted to a full bucket, which then stays in debt: no batch is refused for ever.
        """
        tokens = min(self.burst, self.tokens + (now - self.last) * self.rate)
        self.last = now
        wanted = min(count, self.burst)
        if tokens >= wanted:
            self.tokens = tokens - count
            return 0.0
        self.tokens = tokens
        return (wanted - tokens) / self.rate
