"""Where a slot writes down what becomes of its messages: in the log first, then in memory."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from services.messaging.dispatch.ports import Change, Clock, LedgerLog, Observer
from services.messaging.domain.ledger import Ledger
from shared.contracts.failed import FailedRecord
from shared.runtime.ports import Fenced, LogAway

_log = structlog.get_logger("dispatcher")


class Book:
    """The ledger of one slot. `wanted` says whether Kafka still gives the slot to this process."""

    def __init__(self, partition: int, log: LedgerLog, clock: Clock, observer: Observer, wanted: Callable[[], bool]) -> None:
        self.ledger = Ledger()
        self._partition, self._log, self._clock, self._observer, self._wanted = partition, log, clock, observer, wanted

    async def record(self, changes: Sequence[Change]) -> float:
        """A moment (steady seconds) after which the slot was this process's for certain. Raises Fenced."""
        owned = await self.insist(changes, ()) if changes else self._clock.steady_s()
        for change in changes:
            self.ledger.apply(change.entry)
            if change.told is not None:
                self._observer.reached(change.entry.channel, change.entry.status.value, change.entry.reason)
        return owned

    async def insist(self, changes: Sequence[Change], failed: Sequence[FailedRecord]) -> float:
        """Record however long Kafka is away: what has been sent must not be forgotten. Raises Fenced.

        Answers when (steady seconds) the call that went well began: Kafka took it later than that, so the slot was this process's then.
        When its answer comes says nothing: who sleeps before it may wake up overtaken.
        """
        delay = 0.05
        while True:
            begun = self._clock.steady_s()
            try:
                await self._log.record(changes, failed)
                return begun
            except LogAway as away:
                if not self._wanted():
                    raise Fenced("the slot went elsewhere while Kafka was away") from away
                _log.warning("Kafka does not answer, waiting", slot=self._partition, detail=str(away))
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)
