"""A provider's places: how many messages may be on their way to it at once, shared by all slots of the process. Pure.

A slot asks for a place before it records that a message is being sent, so that what is recorded begins at once. Transactional messages
come first, slots take turns, and marketing leaves `kept` places free: a campaign whose calls hang must not stand before a password reset.

So `attempts` counts calls that were begun, well inside the lease. Nothing is recorded ahead of its place: a message that is `sending` while
another still has its place would begin at once, and save its place a transaction and three calls of Redis (500 mails of 200 ms, on two
cores with a load of 12: 11 a second where 15 would be possible). But whatever is `sending` at a crash is `unknown` and never sent, so a
crash would cost twice as many messages; and if calls take longer than the lease, each would be recorded four times.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from services.messaging.dispatch.queue import Class
from services.messaging.domain.patience import Breaker, Pace


@dataclass(eq=False)
class Seat:
    """One slot as it waits for places. `wake` is called when it was granted some."""

    wake: Callable[[], None]
    wants: dict[Class, int] = field(default_factory=dict)
    granted: dict[Class, int] = field(default_factory=dict)
    turns: dict[Class, int] = field(default_factory=lambda: dict.fromkeys(Class, 0))
    """When it was last granted a place of each class, as a number that only grows."""


class Places:
    """`count` places, of which marketing leaves `kept` free. While the breaker is open only one is granted at a time, to try."""

    def __init__(self, count: int, kept: int, breaker: Breaker, pace: Pace) -> None:
        if not 0 <= kept < count:
            raise ValueError("fewer places must be kept for transactional messages than there are")
        self._most = {Class.TRANSACTIONAL: count, Class.MARKETING: count - kept}
        self._count = count
        self._breaker, self._pace = breaker, pace
        self._used = dict.fromkeys(Class, 0)
        self._seats: list[Seat] = []
        self._turn = 0

    @property
    def used(self) -> Mapping[Class, int]:
        """Places that are taken, by the class for which they were granted."""
        return self._used

    @property
    def count(self) -> int:
        return self._count

    def ask(self, seat: Seat, wants: Mapping[Class, int], now: float) -> None:
        """Wait for so many places of each class; what is there already is granted before this returns. `leave` ends the waiting.

        Whoever has waited longest since its last place of a class is next, also if it left and asked again meanwhile.
        """
        seat.wants = {one: number for one, number in wants.items() if number > 0}
        seat.granted = {}
        if seat not in self._seats:
            self._seats.append(seat)
        self.serve(now)

    def leave(self, seat: Seat) -> "Grant":
        """Wait no longer; answers what was granted."""
        if seat in self._seats:
            self._seats.remove(seat)
        granted, seat.granted, seat.wants = seat.granted, {}, {}
        return Grant(self, (one for one, number in granted.items() for _ in range(number)))

    def free(self, one: Class, now: float, *, tried: bool) -> None:
        """Give a place back. `tried`: the provider was called, and the breaker has heard how it went."""
        self._used[one] -= 1
        if not tried:
            self._breaker.not_tried()
            self._pace.not_used()
        self.serve(now)

    def wait(self, now: float) -> float:
        """Seconds in which no place is granted, free or not."""
        return max(self._breaker.wait(now), self._pace.wait(now))

    def rest(self, until: float) -> None:
        """The provider wants no call before."""
        self._pace.rest(until)

    def serve(self, now: float) -> None:
        """Grant what can be granted."""
        for one in Class:
            while self._is_free(one) and (seat := self._next(one)) is not None:
                if self._pace.wait(now) > 0 or not self._breaker.allow(now):
                    return
                self._pace.used(now)
                self._used[one] += 1
                self._turn += 1
                seat.granted[one] = seat.granted.get(one, 0) + 1
                seat.turns[one] = self._turn
                seat.wake()

    def _is_free(self, one: Class) -> bool:
        return self._used[one] < self._most[one] and sum(self._used.values()) < self._count

    def _next(self, one: Class) -> Seat | None:
        waiting = (seat for seat in self._seats if seat.wants.get(one, 0) > seat.granted.get(one, 0))
        return min(waiting, key=lambda seat: seat.turns[one], default=None)


class Grant:
    """Places that a slot has and no call of the provider uses yet."""

    def __init__(self, places: Places, granted: Iterable[Class] = ()) -> None:
        self._places = places
        self._free = sorted(granted)
        self._pledged: list[Class] = []

    def __len__(self) -> int:
        """Places that are not pledged."""
        return len(self._free)

    def pledge(self, one: Class) -> Class | None:
        """A place for a message of this class, of its own if there is one: a transactional one may use any; None: none is left for it."""
        suits = [place for place in self._free if place >= one]
        if not suits:
            return None
        self._free.remove(suits[0])
        self._pledged.append(suits[0])
        return suits[0]

    def hand_over(self, place: Class) -> None:
        """A call of the provider begins: it gives the place back."""
        self._pledged.remove(place)

    def give_back(self, now: float) -> None:
        """What no call uses."""
        unused, self._free, self._pledged = [*self._free, *self._pledged], [], []
        for place in unused:
            self._places.free(place, now, tried=False)
