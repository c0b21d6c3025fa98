"""One slot's ledger in memory: which messages are settled, which are under way, what was sent lately. Pure."""

from collections.abc import Iterable, Iterator
from typing import Final

from shared.contracts.changes import MessageRequested, MessageStatus
from shared.contracts.ledger import OPEN, LedgerEntry
from shared.definitions.journey import LONGEST_CAP

CAP_MEMORY_MS: Final = LONGEST_CAP.ms
"""What was sent so long ago no cap looks at."""
COUNTED: Final = frozenset({MessageStatus.SENT, MessageStatus.UNKNOWN, MessageStatus.SENDING})
"""States that take a place under a cap."""


class Ledger:
    """The last entry of each message, kept as small as its state allows: 16 bytes for a settled one."""

    def __init__(self) -> None:
        self._settled: set[bytes] = set()
        self._open: dict[str, LedgerEntry] = {}
        self._counted: dict[str, LedgerEntry] = {}

    def apply(self, entry: LedgerEntry) -> None:
        """Take in one entry, in the order in which they were recorded."""
        key = entry.dispatch_id
        if entry.status in OPEN:
            self._open[key] = entry
        else:
            self._open.pop(key, None)
            self._settled.add(bytes.fromhex(key))
        if entry.status in COUNTED:
            self._counted[key] = entry
        else:
            self._counted.pop(key, None)

    def is_settled(self, dispatch_id: str) -> bool:
        """Whether this message needs nothing more. Raises ValueError if `dispatch_id` is no hexadecimal text."""
        return bytes.fromhex(dispatch_id) in self._settled

    def of(self, dispatch_id: str) -> LedgerEntry | None:
        """The entry of a message that is under way."""
        return self._open.get(dispatch_id)

    def in_sending(self) -> list[LedgerEntry]:
        """Messages whose provider may have been called, with nothing known of what came of it."""
        return [entry for entry in self._open.values() if entry.status is MessageStatus.SENDING]

    def counted_since(self, since_ms: int) -> Iterator[LedgerEntry]:
        """What takes a place under caps, of `since_ms` and later; older ones are forgotten."""
        self._counted = {key: entry for key, entry in self._counted.items() if entry.at >= since_ms}
        yield from self._counted.values()

    @property
    def waiting(self) -> int:
        return sum(entry.status is MessageStatus.CLAIMED for entry in self._open.values())

    def __len__(self) -> int:
        return len(self._settled) + len(self._open)


def load(entries: Iterable[LedgerEntry]) -> Ledger:
    ledger = Ledger()
    for entry in entries:
        ledger.apply(entry)
    return ledger


def entry_of(request: MessageRequested, position: int, status: MessageStatus, at: int, profile_id: str, attempts: int) -> LedgerEntry:
    """The first entry of a request that stands at offset `position`."""
    return LedgerEntry(
        dispatch_id=request.dispatch_id,
        entry_id=request.entry_id,
        journey=request.journey,
        step=request.step,
        profile_id=profile_id,
        channel=request.channel,
        template=request.template,
        message_class=request.message_class,
        status=status,
        at=at,
        position=position,
        attempts=attempts,
    )
