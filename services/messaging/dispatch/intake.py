"""Requests as they come into a slot's queue: from Kafka in order, and again by their offset. What the log has lost is noticed here.

A message that was put off or listed, and whose request has left Kafka, ends `expired`, or `failed` with reason `request_gone` if it could
still have been sent: it is never sent, and its end is told like any other. Each slot looks once a minute where the log begins.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

import structlog

from services.messaging.dispatch.class_queue import Item
from services.messaging.dispatch.ports import Clock, Observer, Page, RequestLog
from services.messaging.dispatch.queue import Line, Queue, Reading
from services.messaging.dispatch.records import dead_letter
from services.messaging.domain.ledger import Ledger, bounded
from shared.contracts.changes import MESSAGE_REQUESTED_DECODER, MessageStatus
from shared.contracts.failed import FailedRecord
from shared.contracts.headers import CAUSE, Cause, header
from shared.contracts.ledger import LedgerEntry
from shared.runtime.ports import LogAway
from shared.runtime.stage import Record

AWAY_PAUSE_S: Final = 0.5
LOOK_S: Final = 60.0
"""So often a slot looks where the log begins: whose request stands before that, and is not in hand, will not come again."""
UNREADABLE: Final = (ValueError, RecursionError)
"""What decoding raises of a record that is no request; msgspec's own errors are ValueErrors."""
_log = structlog.get_logger("dispatcher")


class Intake:
    """Fills one slot's queue. What cannot be read waits in `letters` until it is set aside."""

    def __init__(
        self, partition: int, queue: Queue, requests: RequestLog, clock: Clock, observer: Observer, wake: Callable[[], None]
    ) -> None:
        self.letters: list[FailedRecord] = []
        self._tasks: dict[Line | None, asyncio.Task[None]] = {}
        self._wake = wake
        self._partition, self._queue, self._requests = partition, queue, requests
        self._clock, self._observer = clock, observer
        self._begins = self._counted_to = 0
        self._has_looked = False
        self._next_look = 0.0

    def receive(self, records: Sequence[Record]) -> None:
        """New records, in order; repeats of what has come are passed over."""
        for record in records:
            if not self._queue.received(record.offset):
                continue
            try:
                item = _item(record)
            except UNREADABLE as error:
                self.letters.append(dead_letter(record, error, self._clock.wall_ms()))
                self._queue.hold(record.offset, len(record.value or b""))
            else:
                if not self._queue.add(item):
                    self._observer.duplicate()

    def buried(self, letters: Sequence[FailedRecord]) -> None:
        """These, the first of `letters`, have been set aside."""
        self.letters = self.letters[len(letters) :]
        for letter in letters:
            self._observer.undecodable()
            self._queue.let_go(letter.offset)

    def read_again(self) -> None:
        """Begin to read what the queue has room for, if anything, unless that is under way; `wake` is called when it is there.

        Nobody waits for it: what is in hand goes on meanwhile, and no line waits for another's reading.
        """
        now = self._clock.steady_s()
        for one in self._queue.by_line:
            if not self._is_reading(one) and (reading := self._queue.wanted(one, now)) is not None:
                self._begin(one, self._read(reading))
        if not self._is_reading(None) and now >= self._next_look:
            self._next_look = now + LOOK_S
            self._begin(None, self._look())

    def next_due(self) -> float | None:
        """When (steady seconds) the next of those put off has its turn; `wake` is called after what is being read now."""
        due = (self._queue.next_due(one) for one in self._queue.by_line if not self._is_reading(one))
        return min((when for when in due if when is not None), default=None)

    def look_soon(self) -> None:
        """The ledger has been read anew: see whether the log still holds what waits in it."""
        self._next_look = 0.0

    def gone(self, ledger: Ledger) -> list[LedgerEntry]:
        """Messages that wait, of which nobody has the request any more; to be ended. Answers them until `gone_ended` is called."""
        if not self._has_looked:
            return []
        waiting = (entry for entry in ledger.under_way() if entry.status is MessageStatus.CLAIMED and entry.position < self._begins)
        return [entry for entry in waiting if not self._queue.knows(entry.dispatch_id)]

    def gone_ended(self) -> None:
        """Those that `gone` answered have ended."""
        self._has_looked = False

    def _begin(self, key: Line | None, work: Coroutine[None, None, None]) -> None:
        task = self._tasks[key] = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._wake())

    def _is_reading(self, key: Line | None) -> bool:
        task = self._tasks.get(key)
        if task is not None and task.done():
            del self._tasks[key]
            task.result()
        return key in self._tasks

    async def _look(self) -> None:
        try:
            self._learn(await self._requests.begins(self._partition))
        except LogAway as away:
            _log.warning("cannot see where the log begins yet", slot=self._partition, detail=str(away))
            self._next_look = self._clock.steady_s() + AWAY_PAUSE_S

    def _learn(self, begins: int) -> None:
        self._begins, self._has_looked = max(self._begins, begins), True

    async def _read(self, reading: Reading) -> None:
        try:
            page = await self._requests.read(self._partition, reading.start, reading.of.of)
            if reading.offsets is None and _may_lack(page, reading.start):
                self._count_lost(reading.start, await self._requests.begins(self._partition))
        except LogAway as away:
            _log.warning("requests cannot be read again yet", slot=self._partition, detail=str(away))
            await asyncio.sleep(AWAY_PAUSE_S)
            return
        items = [item for record in page.records if (item := _readable(record)) is not None]
        if reading.offsets is not None:
            if gone := self._queue.returned(reading, items, page.end):
                self._observer.lost_to_retention(len(gone))
                self._learn(max(gone) + 1)
            return
        for _ in range(self._queue.read_on(reading, items, page.end)):
            self._observer.duplicate()

    def _count_lost(self, start: int, begins: int) -> None:
        """Records from `start` on are gone before anybody had them in hand: those that the ledger knows are ended, and all are counted."""
        lost = begins - max(start, self._counted_to)
        self._learn(begins)
        if lost > 0:
            self._counted_to = begins
            self._observer.lost_to_retention(lost)
            _log.error("requests left the log before a slot had room for them", slot=self._partition, count=lost)

    def close(self) -> None:
        """Read nothing more."""
        for task in self._tasks.values():
            task.cancel()


def _may_lack(page: Page, start: int) -> bool:
    """Whether records from `start` on are not there."""
    return (page.records[0].offset if page.records else page.end) > start


def _item(record: Record) -> Item:
    """Raises one of UNREADABLE if the record is no request."""
    request = bounded(MESSAGE_REQUESTED_DECODER.decode(record.value or b""))
    if len(bytes.fromhex(request.dispatch_id)) == 0:
        raise ValueError("the dispatch id is empty")
    raw = header(record.headers, CAUSE)
    cause = None if raw is None else Cause.decode(raw).encode().decode()
    return Item(request, record.offset, request.profile_id, len(record.value or b""), cause)


def _readable(record: Record) -> Item | None:
    """None: no request; it was set aside when it came first."""
    try:
        return _item(record)
    except UNREADABLE:
        return None
