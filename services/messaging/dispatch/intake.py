"""Requests as they come into a slot's queue: from Kafka in order, and again by their offset."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import structlog

from services.messaging.dispatch.lanes import Item
from services.messaging.dispatch.ports import Clock, Observer, RequestLog
from services.messaging.dispatch.queue import Queue, Reading
from services.messaging.dispatch.records import dead_letter
from services.messaging.domain.ledger import bounded
from shared.contracts.changes import MESSAGE_REQUESTED_DECODER
from shared.contracts.failed import FailedRecord
from shared.contracts.headers import CAUSE, Cause, header
from shared.runtime.ports import LogAway
from shared.runtime.stage import Record

AWAY_PAUSE_S: Final = 0.5
_log = structlog.get_logger("dispatcher")


class Intake:
    """Fills one slot's queue. What cannot be read waits in `letters` until it is set aside.

    `lost`: messages that were put off, and whose request the log does not hold any more.
    """

    def __init__(
        self, partition: int, queue: Queue, requests: RequestLog, clock: Clock, observer: Observer, wake: Callable[[], None]
    ) -> None:
        self.letters: list[FailedRecord] = []
        self.lost: list[str] = []
        self._reading: asyncio.Task[None] | None = None
        self._wake = wake
        self._partition, self._queue, self._requests = partition, queue, requests
        self._clock, self._observer = clock, observer

    def receive(self, records: Sequence[Record]) -> None:
        """New records, in order; repeats of what has come are passed over."""
        for record in records:
            if not self._queue.received(record.offset):
                continue
            try:
                item = _item(record)
            except (msgspec.DecodeError, ValueError) as error:
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

        Nobody waits for it: what is in hand goes on meanwhile.
        """
        if self._reading is not None and self._reading.done():
            self._reading.result()
            self._reading = None
        if self._reading is None and (reading := self._queue.wanted(self._clock.steady_s())) is not None:
            self._reading = asyncio.create_task(self._read(reading))
            self._reading.add_done_callback(lambda _: self._wake())

    async def _read(self, reading: Reading) -> None:
        try:
            page = await self._requests.read(self._partition, reading.start)
        except LogAway as away:
            _log.warning("requests cannot be read again yet", slot=self._partition, detail=str(away))
            await asyncio.sleep(AWAY_PAUSE_S)
            return
        items = [item for record in page.records if (item := _readable(record)) is not None]
        if reading.offsets is not None:
            self.lost += self._queue.returned(reading, items, page.end)
            return
        for _ in range(self._queue.read_on(reading, items, page.end)):
            self._observer.duplicate()

    @property
    def is_reading(self) -> bool:
        """`wake` is called when it no longer is."""
        return self._reading is not None and not self._reading.done()

    def close(self) -> None:
        """Read nothing more."""
        if self._reading is not None:
            self._reading.cancel()


def _item(record: Record) -> Item:
    """Raises msgspec.DecodeError or ValueError if the record is no request."""
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
    except (msgspec.DecodeError, ValueError):
        return None
