"""What one slot has in hand: a queue for each class, and how far the input is done with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from services.messaging.dispatch.class_queue import Bounds, ClassQueue, Item


class Class(IntEnum):
    """In the order in which they are served."""

    TRANSACTIONAL = 0
    MARKETING = 1

    @classmethod
    def of(cls, message_class: str) -> "Class":
        """Whatever is not transactional needs consent, and waits like marketing."""
        return cls.TRANSACTIONAL if message_class == "transactional" else cls.MARKETING

    @property
    def label(self) -> str:
        return self.name.lower()


LETTERS_BYTES: Final = 4 * 1024 * 1024
"""Bytes of requests that cannot be read, and are not yet set aside, at which nothing more is fetched."""


@dataclass(frozen=True)
class Reading:
    """What to read again: from `start` on. `offsets`: those that were put off and are due; None: whatever comes from there."""

    of: Class
    start: int
    offsets: frozenset[int] | None = None


class Queue:
    """Requests by class and turn. `position` is the offset below which everything is settled: what may be committed."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self.by_class = {one: ClassQueue(bounds or Bounds()) for one in Class}
        self._known: set[str] = set()
        self._held: dict[int, int] = {}
        self._next = -1

    def __len__(self) -> int:
        """Messages in hand, under way or put off."""
        return len(self._known)

    def knows(self, dispatch_id: str) -> bool:
        """Whether this message is in hand, under way or put off."""
        return dispatch_id in self._known

    @property
    def position(self) -> int:
        """-1: nothing has been received."""
        firsts = (next(iter(self._held), None), *(queue.first for queue in self.by_class.values()))
        return min((first for first in firsts if first is not None), default=self._next)

    @property
    def full(self) -> bool:
        """So much waits to be set aside that no more should be fetched. Requests never fill it: what does not fit is read again later."""
        return sum(self._held.values()) >= LETTERS_BYTES

    def received(self, offset: int) -> bool:
        """Note that the record at `offset` has come; False if it has come before."""
        if offset < self._next:
            return False
        self._next = offset + 1
        return True

    def hold(self, offset: int, size: int) -> None:
        """The record at `offset` is no request, and must not be committed before `let_go`."""
        self._held[offset] = size

    def let_go(self, offset: int) -> None:
        self._held.pop(offset, None)

    def add(self, item: Item) -> bool:
        """Take it in hand, or note where to read on if the hand is full. False if the message is known: its other request settles it."""
        queue = self.by_class[Class.of(item.request.message_class)]
        if queue.unread_from is not None:
            return True
        if queue.full:
            queue.unread_from = item.offset
            return True
        return self._take_in(queue, item)

    def _take_in(self, queue: ClassQueue, item: Item) -> bool:
        if item.request.dispatch_id in self._known:
            return False
        self._known.add(item.request.dispatch_id)
        queue.add(item)
        return True

    def back(self, items: Sequence[Item], *, last: bool = False) -> None:
        """They stay in hand, as the next ones of their classes in this order, or as the last ones."""
        for one, queue in self.by_class.items():
            queue.back([item for item in items if Class.of(item.request.message_class) is one], last=last)

    def put_off(self, item: Item, not_before: float) -> None:
        """It leaves the hand until `not_before` (steady seconds), and is read again then."""
        self._of(item).put_off(item, not_before)

    def settled(self, item: Item) -> None:
        self._known.discard(item.request.dispatch_id)
        self._of(item).settled(item.offset)

    def wanted(self, one: Class, now: float) -> Reading | None:
        """What is to be read again for a class now, if anything."""
        queue = self.by_class[one]
        if due := queue.due(now):
            return Reading(one, due[0], frozenset(due))
        if queue.reads_on and queue.unread_from is not None:
            return Reading(one, queue.unread_from)
        return None

    def read_on(self, reading: Reading, items: Sequence[Item], end: int) -> int:
        """`items`: all requests from `reading.start` to before `end`, in order. Answers how many are of messages known already."""
        queue = self.by_class[reading.of]
        repeated = 0
        for item in items:
            if Class.of(item.request.message_class) is not reading.of or item.offset >= self._next:
                continue  # what has not been received yet comes by itself
            if queue.full:
                queue.unread_from = item.offset
                return repeated
            repeated += not self._take_in(queue, item)
        queue.unread_from = end if end < self._next else None
        return repeated

    def returned(self, reading: Reading, items: Sequence[Item], end: int) -> set[int]:
        """`items`: all requests from `reading.start` to before `end`. Answers the offsets of those that the log does not hold any more; the
        queue knows nothing more of them.
        """
        offsets = reading.offsets or frozenset()
        found = [item for item in items if item.offset in offsets]
        gone = {offset for offset in offsets if offset < end} - {item.offset for item in found}
        self._known.difference_update(self.by_class[reading.of].returned(found, gone))
        return gone

    def ready(self) -> dict[Class, int]:
        """How many of each class can be taken now."""
        return {one: queue.ready for one, queue in self.by_class.items()}

    def next_due(self, one: Class) -> float | None:
        """When (steady seconds) the next of those of a class that are put off has its turn."""
        return self.by_class[one].next_due

    def take(self, most: int) -> list[Item]:
        """The next ones, class by class."""
        taken: list[Item] = []
        for queue in self.by_class.values():
            taken += queue.take(most - len(taken))
        return taken

    def waiting(self) -> Iterator[Item]:
        """Those in hand, class by class."""
        for queue in self.by_class.values():
            yield from queue.waiting()

    def remove(self, items: Sequence[Item]) -> None:
        """These are no longer in hand, but in the caller's."""
        if offsets := {item.offset for item in items}:
            for queue in self.by_class.values():
                queue.remove(offsets)

    def unread(self, one: Class) -> int:
        """Records of the log among which requests of this class may be that are not in hand yet."""
        start = self.by_class[one].unread_from
        return 0 if start is None else self._next - start

    def _of(self, item: Item) -> ClassQueue:
        return self.by_class[Class.of(item.request.message_class)]
