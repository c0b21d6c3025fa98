"""A slot's ledger, in memory and in the log, kept as one: what is written is applied, and from time to time a checkpoint is made.

All `sending` of a batch are one transaction; ends are recorded as they come, so that a slow mail keeps no other open. Every 10 minutes
(`RAPPORT_DISPATCH_CHECKPOINT_SECONDS`), or after so many ids as one record holds, the new ids of settled messages go to
dispatch.checkpointed in the ledger's transaction, with how many ids of each day all records together hold. Whoever takes over reads
these records and the entries since. If a count is another, none of them is believed and the whole ledger is read.
`python -m tests.bench.ledger` measures a takeover.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from services.messaging.dispatch.ports import Caps, Change, Clock, LedgerLog, Observer
from services.messaging.domain.ledger import MOST_SAVED, Ledger
from shared.contracts.failed import FailedRecord
from shared.definitions.journey import LONGEST_CAP
from shared.runtime.backoff import Backoff
from shared.runtime.ports import Fenced, LogAway, StoreAway

WAITS_S: Final = (0.05, 2.0)
"""First and longest wait for a server that is away."""
_log = structlog.get_logger("dispatcher")


@dataclass(frozen=True)
class Keeping:
    """`checkpoint_s`: a checkpoint is made so long after the last at the latest; MOST_SAVED ends that wait for one earlier."""

    checkpoint_s: float = 600.0


class Book:
    """Writes one after the other. `wanted` says whether Kafka still gives the slot to this process."""

    def __init__(
        self, partition: int, log: LedgerLog, clock: Clock, observer: Observer, wanted: Callable[[], bool], keeping: Keeping
    ) -> None:
        self.ledger = Ledger()
        self._partition, self._log, self._clock, self._observer = partition, log, clock, observer
        self._wanted, self._keeping = wanted, keeping
        self._writing = asyncio.Lock()
        self._next_checkpoint = 0.0
        self._told = self._looked = -10.0

    async def take_over(self) -> Ledger:
        self.ledger = await self._log.take_over()
        pause = 0.0 if self.ledger.unsaved else self._keeping.checkpoint_s  # what was just read need not be read again
        self._next_checkpoint = self._clock.steady_s() + pause
        return self.ledger

    async def record(self, changes: Sequence[Change], failed: Sequence[FailedRecord] = ()) -> None:
        """Write it down, in one transaction. Raises Fenced."""
        if not changes and not failed:
            return
        async with self._writing:
            await self._insist(lambda: self._log.record(changes, failed))
            for change in changes:
                self.ledger.apply(change.entry)
                if change.told is not None:
                    self._observer.reached(change.entry.channel, change.entry.status.value, change.entry.reason)

    async def put_back_places(self, caps: Caps) -> None:
        """See that Redis has every place under caps that the ledger knows of. Raises StoreAway, LogAway."""
        missing = await caps.missing()
        if missing is not None:
            since, end = self._clock.wall_ms() - LONGEST_CAP.ms, self._log.end
            async with contextlib.aclosing(self._log.counted(since, missing)) as pages:
                await caps.restore(pages, end)
            _log.info("places under caps are put back", slot=self._partition, since=missing, until=end)

    async def keep(self, settled_to: int, caps: Caps) -> None:
        """Forget what nobody can ask for any more, and make a checkpoint if it is time. Everything below `settled_to` is settled.

        Places under caps are looked at also while nothing is sent: other slots may send to the same people.
        """
        now = self._clock.steady_s()
        if self._looked < now - 1.0:
            self._looked = now
            with contextlib.suppress(StoreAway):  # who sends asks again, and waits
                await self.put_back_places(caps)
        if self._told < now - 1.0:
            self._told = now
            self.ledger.forget(self._clock.wall_ms(), settled_to)
            if not self.ledger.unsaved:
                self._observer.checkpointed(self._partition)
            self._observer.ledger(self._partition, len(self.ledger), self.ledger.size)
        due = now >= self._next_checkpoint and self.ledger.unsaved
        if due or self.ledger.unsaved >= MOST_SAVED:
            await self._checkpoint()
            self._next_checkpoint = self._clock.steady_s() + self._keeping.checkpoint_s
            with contextlib.suppress(StoreAway):  # then more is put back than is missing
                await caps.noted(self._log.end)

    async def _checkpoint(self) -> None:
        """Everything that is new, and again the entries of what is under way, so that a reader need not go back behind this place."""
        async with self._writing:
            while self.ledger.unsaved:
                checkpoint = self.ledger.checkpoint(self._clock.wall_ms(), self._log.end)
                again = [] if self.ledger.unsaved else self.ledger.under_way()
                await self._insist(lambda: self._log.checkpoint(checkpoint, again))  # noqa: B023 - awaited before the next round
        self._observer.checkpointed(self._partition)

    async def _insist(self, write: Callable[[], Awaitable[None]]) -> None:
        """However long Kafka is away: what has been sent must not be forgotten. Raises Fenced."""
        backoff = Backoff(*WAITS_S)
        while True:
            try:
                await write()
            except LogAway as away:
                if not self._wanted():
                    raise Fenced("the slot went elsewhere while Kafka was away") from away
                _log.warning("Kafka does not answer, waiting", slot=self._partition, detail=str(away))
                await asyncio.sleep(backoff.next())
            else:
                return
