"""What one slot has in hand: a queue for each lane and class, and how far the input is done with."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

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


class Lane(NamedTuple):
    """A way out of the process: a channel, and which of its endpoints if it has several. No lane waits for another."""

    channel: str
    endpoint: str | None = None


NOWHERE: Final = Lane("")
"""For messages of a channel or an endpoint that is not there: they end without a provider."""


class Line(NamedTuple):
    """Messages of one lane and class, which wait one behind the other."""

    lane: Lane
    of: Class


LETTERS_BYTES: Final = 4 * 1024 * 1024
"""Bytes of requests that cannot be read, and are not yet set aside, at which nothing more is fetched."""


@dataclass(frozen=True)
class Reading:
    """What to read again: from `start` on. `offsets`: those that were put off and are due; None: whatever comes from there."""

    of: Line
    start: int
    offsets: frozenset[int] | None = None


class Queue:
    """Requests by lane, class and turn. `position` is the offset below which everything is settled: what may be committed.

    In which line a message waits follows from its request alone: what is read again is looked for where it was before.
    """

    def __init__(self, lanes: Mapping[Lane, Bounds]) -> None:
        self._lanes = {NOWHERE: Bounds(), **lanes}
        self.by_line = {Line(lane, one): ClassQueue(bounds) for lane, bounds in self._lanes.items() for one in Class}
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
        firsts = (next(iter(self._held), None), *(queue.first for queue in self.by_line.values()))
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
        queue = self._of(item)
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
        """They stay in hand, as the next ones of their lines in this order, or as the last ones."""
        by_line: dict[Line, list[Item]] = {}
        for item in items:
            by_line.setdefault(self.line_of(item), []).append(item)
        for one, own in by_line.items():
            self.by_line[one].back(own, last=last)

    def put_off(self, item: Item, not_before: float) -> None:
        """It leaves the hand until `not_before` (steady seconds), and is read again then."""
        self._of(item).put_off(item, not_before)

    def settled(self, item: Item) -> None:
        self._known.discard(item.request.dispatch_id)
        self._of(item).settled(item.offset)

    def wanted(self, one: Line, now: float) -> Reading | None:
        """What is to be read again for a line now, if anything."""
        queue = self.by_line[one]
        if due := queue.due(now):
            return Reading(one, due[0], frozenset(due))
        if queue.reads_on and queue.unread_from is not None:
            return Reading(one, queue.unread_from)
        return None

    def read_on(self, reading: Reading, items: Sequence[Item], end: int) -> int:
        """`items`: all requests from `reading.start` to before `end`, in order. Answers how many are of messages known already."""
        queue = self.by_line[reading.of]
        repeated = 0
        for item in items:
            if self.line_of(item) != reading.of or item.offset >= self._next:
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
        self._known.difference_update(self.by_line[reading.of].returned(found, gone))
        return gone

    def ready(self) -> dict[Line, int]:
        """How many can be taken now, of each line that has any."""
        return {one: ready for one, queue in self.by_line.items() if (ready := queue.ready) > 0}

    def next_due(self, one: Line) -> float | None:
        """When (steady seconds) the next of those of a line that are put off has its turn."""
        return self.by_line[one].next_due

    def take(self, lane: Lane, most: int) -> list[Item]:
        """The next ones of a lane, class by class."""
        taken: list[Item] = []
        for one in Class:
            taken += self.by_line[Line(lane, one)].take(most - len(taken))
        return taken

    def waiting(self, lanes: Collection[Lane] | None = None) -> Iterator[Item]:
        """Those in hand of these lanes, or of all, class by class."""
        for one, queue in self.by_line.items():
            if lanes is None or one.lane in lanes:
                yield from queue.waiting()

    def remove(self, items: Sequence[Item]) -> None:
        """These are no longer in hand, but in the caller's."""
        if offsets := {item.offset for item in items}:
            for queue in self.by_line.values():
                queue.remove(offsets)

    def counts(self) -> dict[tuple[str, str], tuple[int, int, int]]:
        """(channel, class) -> in hand, unread, put off; of all lanes of a channel together."""
        found: dict[tuple[str, str], tuple[int, int, int]] = {}
        for one, queue in self.by_line.items():
            key = one.lane.channel, one.of.label
            in_hand, unread, put_off = found.get(key, (0, 0, 0))
            found[key] = in_hand + queue.in_hand, max(unread, self.unread(one)), put_off + queue.put_off_count
        return found

    def unread(self, one: Line) -> int:
        """Records of the log among which requests of this line may be that are not in hand yet."""
        start = self.by_line[one].unread_from
        return 0 if start is None else self._next - start

    def _of(self, item: Item) -> ClassQueue:
        return self.by_line[self.line_of(item)]

    def line_of(self, item: Item) -> Line:
        lane = Lane(item.request.channel, item.request.endpoint)
        return Line(lane if lane in self._lanes else NOWHERE, Class.of(item.request.message_class))
