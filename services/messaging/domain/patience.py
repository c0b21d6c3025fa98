"""How long to wait: per message after a deferral, per provider while it is away or by agreement. Pure.

`now` is any steady clock, in seconds.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Patience:
    """Waits double from `first` to `longest`, in seconds. A provider counts as away after `failures` failed calls in a row."""

    first: float = 30.0
    longest: float = 900.0
    provider_first: float = 1.0
    provider_longest: float = 60.0
    failures: int = 3

    def after(self, attempts: int) -> float:
        """Seconds until attempt number `attempts` + 1."""
        return doubled(self.first, self.longest, attempts - 1)

    def after_breakdown(self, attempts: int) -> float:
        """Seconds until a message is tried again whose call broke down, while the provider takes others."""
        return doubled(self.provider_first, self.longest, attempts - 1)


def doubled(first: float, longest: float, times: int) -> float:
    """`first`, doubled so many times, `longest` at most."""
    return float(min(longest, first * 2.0 ** min(times, 30)))


class Breaker:
    """Keeps calls from a provider that is away. While open, one call is let through when the wait is over: it decides."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._failures = 0
        self._rounds = 0
        self._until = 0.0
        self._probing_until = 0.0

    @property
    def open(self) -> bool:
        return self._failures >= self._patience.failures

    def wait(self, now: float) -> float:
        """Seconds until it is worth asking again; 0: a call may be made now."""
        if not self.open:
            return 0.0
        if now < self._probing_until:
            return self._patience.provider_first
        return max(0.0, self._until - now)

    def allow(self, now: float) -> bool:
        """Whether a call may be made now; if the breaker is open, only one caller is told yes until its call has ended."""
        if self.wait(now) > 0:
            return False
        if self.open:
            self._probing_until = now + self._patience.provider_longest
        return True

    def not_tried(self) -> None:
        """Who was told yes made no call: another may."""
        self._probing_until = 0.0

    def went_well(self) -> None:
        self._failures = self._rounds = 0
        self._probing_until = 0.0

    def failed(self, now: float) -> None:
        """Calls that were under way when the breaker opened do not make the wait longer."""
        was_open, probing = self.open, now < self._probing_until
        self._failures += 1
        self._probing_until = 0.0
        if self.open and (probing or not was_open):
            self._until = now + doubled(self._patience.provider_first, self._patience.provider_longest, self._rounds)
            self._rounds += 1


BURST_S: Final = 0.1
"""A pace may be exceeded by what it allows in so short a time: nobody wakes up to the millisecond."""


class Pace:
    """At most `per_second` calls a second; None: no bound."""

    def __init__(self, per_second: float | None = None) -> None:
        self._interval = 0.0 if per_second is None else 1.0 / per_second
        self._next = self._rested = float("-inf")

    def wait(self, now: float) -> float:
        """Seconds until a call may be made."""
        paced = self._next - now - BURST_S if self._interval else 0.0
        return max(0.0, paced, self._rested - now)

    def rest(self, until: float) -> None:
        """The provider wants no call before."""
        self._rested = max(self._rested, until)

    def used(self, now: float) -> None:
        self._next = max(now, self._next) + self._interval

    def not_used(self) -> None:
        """A call that was counted is not made."""
        self._next -= self._interval
