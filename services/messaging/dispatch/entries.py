"""What one slot writes of the messages in its hands, and what its ledger has of them."""

from dataclasses import dataclass

import msgspec

from services.messaging.dispatch.book import Book
from services.messaging.dispatch.class_queue import Item
from services.messaging.dispatch.outlets import Outlets
from services.messaging.dispatch.ports import Clock, Observer
from services.messaging.dispatch.queue import Queue
from services.messaging.dispatch.records import ended_in_doubt
from services.messaging.domain.ledger import entry_of
from services.messaging.domain.reasons import Reason
from shared.contracts.changes import MessageStatus
from shared.contracts.ledger import LedgerEntry


@dataclass(frozen=True)
class Entries:
    """Entries of messages in hand."""

    book: Book
    queue: Queue
    outlets: Outlets
    clock: Clock
    observer: Observer

    def of(self, item: Item, status: MessageStatus, reason: Reason | None, provider_id: str | None = None) -> LedgerEntry:
        """The next one of a message, which is noted with it."""
        now = self.clock.wall_ms()
        entry = entry_of(item.request, item.offset, status, now, item.profile_id, item.attempts, item.cause, item.claimed_at, item.in_doubt)
        item.recorded = (status, reason)
        called = item.attempts > 0
        return ended_in_doubt(
            msgspec.structs.replace(
                entry,
                reason=None if reason is None else reason.value,
                provider=self.outlets.of(item.request).provider.name if called else None,
                provider_message_id=provider_id,
            )
        )

    def recall(self, item: Item) -> tuple[MessageStatus, str | None] | None:
        """What the ledger has of it."""
        known = self.book.ledger.of(item.request.dispatch_id)
        if known is not None and item.recorded is None:
            item.attempts, item.claimed_at, item.in_doubt = known.attempts, known.claimed_at, known.in_doubt
            item.recorded = (known.status, known.reason)
        return item.recorded

    def without_settled(self, batch: list[Item]) -> list[Item]:
        """Those that need something; the others are done with."""
        left = []
        for item in batch:
            if self.book.ledger.is_settled(item.request.dispatch_id):
                self.observer.duplicate()
            elif self.recall(item) is None and self._is_forgotten(item):
                self.observer.forgotten()
            else:
                left.append(item)
                continue
            self.queue.settled(item)
        return left

    def _is_forgotten(self, item: Item) -> bool:
        """Whether it has ended and been told before, so long ago that its id is gone."""
        return item.request.expires_at <= self.clock.wall_ms() and self.book.ledger.was_settled(item.cause)
