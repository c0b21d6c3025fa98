"""All lanes of a process with what stands at their ends, and a slot's seats at the places of each.

A lane has places, a pace and a breaker of its own: neither a slow provider nor one that is away keeps a message of another lane waiting.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from services.messaging.dispatch.class_queue import Bounds
from services.messaging.dispatch.outlet import Outlet
from services.messaging.dispatch.places import Grant, Places, Seat
from services.messaging.dispatch.ports import Clock, Observer
from services.messaging.dispatch.queue import NOWHERE, Class, Lane, Line
from services.messaging.domain.outcome import Failed, Outcome, Outgoing
from services.messaging.domain.patience import Breaker, Pace, Patience
from services.messaging.domain.reasons import Reason
from shared.contracts.changes import MessageRequested

NO_PLACES: Final = 4
"""Messages that go nowhere end before they need a place; so many are looked at even when most others ended otherwise."""


class _Nowhere:
    name = "none"

    async def send(self, message: Outgoing, may_begin: Callable[[], bool]) -> Outcome:
        return Failed(Reason.NO_PROVIDER, "its channel or its endpoint is not there")


class Outlets:
    """What stands at the end of each lane."""

    def __init__(self, by_lane: Mapping[Lane, Outlet], clock: Clock, observer: Observer) -> None:
        breaker = Breaker(Patience())
        nowhere = Outlet(_Nowhere(), Places(NO_PLACES, 0, breaker, Pace()), breaker, clock, observer)
        self._by_lane = {NOWHERE: nowhere, **by_lane}

    def __iter__(self) -> Iterator[tuple[Lane, Outlet]]:
        return iter(self._by_lane.items())

    def __getitem__(self, lane: Lane) -> Outlet:
        return self._by_lane[lane]

    def of(self, request: MessageRequested) -> Outlet:
        """Where this message goes."""
        lane = Lane(request.channel, request.endpoint)
        return self._by_lane[lane if lane in self._by_lane else NOWHERE]

    @property
    def bounds(self) -> dict[Lane, Bounds]:
        return {lane: outlet.bounds for lane, outlet in self}

    def away(self, now: float) -> set[Lane]:
        """Lanes whose provider is not to be called now because it is away."""
        return {lane for lane, outlet in self if outlet.breaker.wait(now) > 0}

    def repeats(self, channel: str) -> bool:
        """Whether a call in this channel of which nobody knows what came may be made again."""
        return any(outlet.repeats for lane, outlet in self if lane.channel == channel)

    @property
    def trouble(self) -> str | None:
        """Why nothing is sent in some lane now."""
        return "; ".join(why for _, outlet in self if (why := outlet.trouble) is not None) or None


class Grants:
    """Places that a slot has, by lane."""

    def __init__(self, by_lane: Mapping[Lane, Grant]) -> None:
        self.by_lane = {lane: grant for lane, grant in by_lane.items() if len(grant)}

    def __bool__(self) -> bool:
        return bool(self.by_lane)

    def pledge(self, line: Line) -> Class | None:
        """As Grant.pledge, in the line's lane."""
        grant = self.by_lane.get(line.lane)
        return None if grant is None else grant.pledge(line.of)

    def hand_over(self, lane: Lane, place: Class) -> None:
        """As Grant.hand_over."""
        self.by_lane[lane].hand_over(place)

    def give_back(self, now: float) -> None:
        """What no call uses."""
        for grant in self.by_lane.values():
            grant.give_back(now)


class Seats:
    """A slot's seats. `wake` is called when places were granted in any lane."""

    def __init__(self, outlets: Outlets, wake: Callable[[], None]) -> None:
        self._outlets = outlets
        self._seats = {lane: Seat(wake) for lane, _ in outlets}

    def ask(self, ready: Mapping[Line, int], most: int, now: float) -> None:
        """Wait for places for what is ready, `most` of a lane and class; `leave` ends the waiting."""
        wants: dict[Lane, dict[Class, int]] = {}
        for line, number in ready.items():
            wants.setdefault(line.lane, {})[line.of] = min(number, most)
        for lane, own in wants.items():
            self._outlets[lane].places.ask(self._seats[lane], own, now)

    @property
    def granted(self) -> bool:
        return any(seat.granted for seat in self._seats.values())

    def leave(self) -> Grants:
        """Wait no longer; answers what was granted."""
        return Grants({lane: self._outlets[lane].places.leave(seat) for lane, seat in self._seats.items()})

    def waits(self, ready: Mapping[Line, int], now: float) -> list[float]:
        """Seconds in which no place is granted, of each lane with something ready that must wait."""
        lanes = {line.lane for line in ready}
        return [wait for lane in lanes if (wait := self._outlets[lane].places.wait(now)) > 0]
