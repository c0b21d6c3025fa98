"""One line of a slot's messages: what is in hand, what was put off, and from where the log has to be read again.

The log is the store of what waits. The consumer reads message.requested to its end and never stops for a full hand: what does not fit is
not kept, and is read from the log when there is room. A message that is put off leaves the hand too. The committed offset is the lowest
that is not settled. When too many are put off (`RAPPORT_DISPATCH_PUT_OFF`), no new message of the line begins until one of them has
ended; each other line has its own bound.
"""

import heapq
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from shared.contracts.changes import MessageRequested, MessageStatus


@dataclass(frozen=True)
class Bounds:
    """Of one line. At most `hand` new requests or `hand_bytes` of them are in hand, and as many that come again.

    `put_off`: when so many are put off, no new one is begun.
    """

    hand: int = 500
    hand_bytes: int = 1024 * 1024
    put_off: int = 5_000


@dataclass
class Item:
    """One request in hand. `recorded`: the state and reason that the ledger has of it. `size`: bytes of the request in the log.

    `cause`: what it was made from, as its header names it. `claimed_at`: from when it counts under the caps; None: it has no place there.
    `in_doubt`: as in the ledger.
    """

    request: MessageRequested
    offset: int
    profile_id: str
    size: int = 0
    cause: str | None = None
    attempts: int = 0
    recorded: tuple[MessageStatus, str | None] | None = None
    claimed_at: int | None = None
    in_doubt: bool = False

    @property
    def gives_back(self) -> bool:
        """Whether its place under the caps is given back when it ends without being handed over."""
        return self.may_have_place and not self.in_doubt

    @property
    def may_have_place(self) -> bool:
        """Entries of earlier releases do not say whether the message has a place under the caps; who was called had one."""
        return self.claimed_at is not None or self.attempts > 0

    def forget_records(self) -> None:
        """What was last written of it may not be in the log: the ledger is asked again."""
        self.recorded, self.attempts, self.claimed_at, self.in_doubt = None, 0, None, False


class _Hand:
    """Items in the order of their turns, and their bytes."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._bytes = 0
        self.items: deque[Item] = deque()

    def __len__(self) -> int:
        return len(self.items)

    @property
    def full(self) -> bool:
        return len(self.items) >= self._bounds.hand or self._bytes >= self._bounds.hand_bytes

    @property
    def has_room(self) -> bool:
        """Enough for reading again to be worth it."""
        return len(self.items) <= self._bounds.hand // 2 and self._bytes <= self._bounds.hand_bytes // 2

    def extend(self, items: Sequence[Item]) -> None:
        self.items.extend(items)
        self._bytes += sum(item.size for item in items)

    def extend_first(self, items: Sequence[Item]) -> None:
        self.items.extendleft(reversed(items))
        self._bytes += sum(item.size for item in items)

    def take(self, most: int) -> list[Item]:
        taken = [self.items.popleft() for _ in range(min(most, len(self.items)))]
        self._bytes -= sum(item.size for item in taken)
        return taken

    def remove(self, offsets: Collection[int]) -> None:
        kept = [item for item in self.items if item.offset not in offsets]
        self.items, self._bytes = deque(), 0
        self.extend(kept)


class ClassQueue:
    """Requests of one lane and class in the order of the log; those that were put off come first when their time has come.

    The queue holds a bounded part of them. What does not fit is not kept at all: `unread_from` is where the log is read on once there is
    room. Of a message that is put off only (when, offset, dispatch id) is kept, and it is read again by its offset.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.unread_from: int | None = None
        self._bounds = bounds
        self._fresh, self._again = _Hand(bounds), _Hand(bounds)
        self._later: list[tuple[float, int, str]] = []
        self._unsettled: dict[int, None] = {}

    @property
    def in_hand(self) -> int:
        return len(self._fresh) + len(self._again)

    @property
    def put_off_count(self) -> int:
        return len(self._later)

    @property
    def first(self) -> int | None:
        """The lowest offset that is not settled; None: no request of this line is left."""
        known = next(iter(self._unsettled), None)
        return self.unread_from if known is None else known  # the queue is read in order: what is unread comes behind what is known

    @property
    def full(self) -> bool:
        return self._fresh.full

    @property
    def reads_on(self) -> bool:
        """Whether what comes at `unread_from` should be read."""
        return self.unread_from is not None and self._fresh.has_room

    @property
    def ready(self) -> int:
        """How many can be taken now."""
        return self.in_hand if self._begins_new else len(self._again)

    @property
    def next_due(self) -> float | None:
        """When (steady seconds) the next of those put off may be read again; None: there is none, or no room."""
        return self._later[0][0] if self._later and self._again.has_room else None

    @property
    def _begins_new(self) -> bool:
        return len(self._later) + len(self._again) < self._bounds.put_off

    def add(self, item: Item) -> None:
        """The next request of the log. The queue must not be `full`."""
        self._unsettled[item.offset] = None
        self._fresh.extend([item])

    def back(self, items: Sequence[Item], *, last: bool = False) -> None:
        """They stay in hand: as the next ones in this order, or as the last ones."""
        if last:
            self._fresh.extend(items)
        else:
            self._again.extend_first(items)

    def put_off(self, item: Item, not_before: float) -> None:
        """It leaves the hand until `not_before`."""
        heapq.heappush(self._later, (not_before, item.offset, item.request.dispatch_id))

    def due(self, now: float) -> list[int]:
        """Offsets of those whose time has come, lowest first; as many as the hand takes."""
        if self.next_due is None or self.next_due > now:
            return []
        room = self._bounds.hand - len(self._again)
        return sorted(offset for when, offset, _ in heapq.nsmallest(room, self._later) if when <= now)

    def returned(self, found: Sequence[Item], gone: Collection[int]) -> list[str]:
        """Those that were put off and have been read again. Answers the messages whose request the log does not hold any more."""
        offsets = {item.offset for item in found}
        lost = [dispatch_id for _, offset, dispatch_id in self._later if offset in gone]
        self._later = [stub for stub in self._later if stub[1] not in offsets and stub[1] not in gone]
        heapq.heapify(self._later)
        self._again.extend(found)
        for offset in gone:
            self.settled(offset)
        return lost

    def settled(self, offset: int) -> None:
        self._unsettled.pop(offset, None)

    def take(self, most: int) -> list[Item]:
        """The next ones; they are in the caller's hands until they are settled, put back or put off."""
        taken = self._again.take(most)
        return [*taken, *self._fresh.take(most - len(taken))] if self._begins_new else taken

    def waiting(self) -> Iterator[Item]:
        """Those in hand, in the order of their turns."""
        yield from self._again.items
        yield from self._fresh.items

    def remove(self, offsets: Collection[int]) -> None:
        """These are no longer in hand."""
        self._again.remove(offsets)
        self._fresh.remove(offsets)
