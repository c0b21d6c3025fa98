"""What one slot has in hand: requests that wait for their turn, and how far the input is done with."""

import heapq
from collections import deque
from dataclasses import dataclass, field

from shared.contracts.changes import MessageRequested, MessageStatus


@dataclass
class Item:
    """One request in hand. `not_before`: steady seconds; `recorded`: the state and reason that the ledger has of it."""

    request: MessageRequested
    offset: int
    profile_id: str
    attempts: int = 0
    not_before: float = 0.0
    recorded: tuple[MessageStatus, str | None] | None = None
    claimed: bool = field(default=False)


class Queue:
    """Requests by turn. `position` is the offset below which everything is settled: what may be committed."""

    def __init__(self) -> None:
        self._ready: deque[Item] = deque()
        self._later: list[tuple[float, int, Item]] = []
        self._in_hand: dict[str, int] = {}
        self._unsettled: dict[int, None] = {}
        self._next = -1

    def __len__(self) -> int:
        return len(self._in_hand)

    @property
    def position(self) -> int:
        """-1: nothing has been received."""
        return next(iter(self._unsettled), self._next)

    def received(self, offset: int) -> bool:
        """Note that the record at `offset` has come; False if it has come before."""
        if offset < self._next:
            return False
        self._next = offset + 1
        self._unsettled[offset] = None
        return True

    def add(self, item: Item) -> bool:
        """False if this message is in hand already: its other request settles it."""
        if item.request.dispatch_id in self._in_hand:
            return False
        self._in_hand[item.request.dispatch_id] = item.offset
        self._ready.append(item)
        return True

    def put_back(self, item: Item, not_before: float = 0.0) -> None:
        """It has to wait until `not_before`."""
        item.not_before = not_before
        heapq.heappush(self._later, (not_before, item.offset, item))

    def settled(self, item: Item) -> None:
        self._in_hand.pop(item.request.dispatch_id, None)
        self.skip(item.offset)

    def skip(self, offset: int) -> None:
        """The record at `offset` needs nothing more."""
        self._unsettled.pop(offset, None)

    def next_turn(self, now: float) -> float | None:
        """Seconds until something can be taken: 0 if now, None if nothing is there."""
        if self._ready:
            return 0.0
        return max(0.0, self._later[0][0] - now) if self._later else None

    def take(self, most: int, now: float) -> list[Item]:
        """Those whose turn it is, the ones that have waited first."""
        taken: list[Item] = []
        while self._later and len(taken) < most and self._later[0][0] <= now:
            taken.append(heapq.heappop(self._later)[2])
        while self._ready and len(taken) < most:
            taken.append(self._ready.popleft())
        return taken
