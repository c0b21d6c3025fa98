"""One slot's ledger in memory: which messages are settled, which are under way, and how far the slot has come. Pure."""

import hashlib
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from services.messaging.domain.packed import ID_BYTES
from services.messaging.domain.settled import Settled, day_of
from services.messaging.domain.watermark import Watermark
from shared.contracts.changes import MessageRequested, MessageStatus
from shared.contracts.ledger import CHECKPOINT_BYTES, CHECKPOINT_VERSION, LONGEST_EXPIRY_MS, OPEN, Checkpoint, LedgerEntry

MOST_SAVED: Final = CHECKPOINT_BYTES // ID_BYTES
"""Ids in one checkpoint."""


class Ledger:
    """The last entry of each message, as small as its state allows: packed ids of the settled ones until a day after they expire.

    `base`: the last checkpoint, if there is one. Feed its and all earlier ones' ids to `load`, see whether it `is_whole`, then `apply` the
    entries from its `upto` on.
    """

    def __init__(self, base: Checkpoint | None = None) -> None:
        self._settled = Settled(base.number, base.live, base.begun) if base else Settled()
        self._open: dict[str, LedgerEntry] = {}
        self._mark = Watermark(base.passed if base else None)
        self._number, self._since = (base.number, base.since) if base else (0, 1)
        self._base = base

    def load(self, checkpoint: Checkpoint) -> None:
        """Take in what one checkpoint of the chain holds, in any order, each once."""
        if checkpoint.number >= self._since:
            self._settled.load(checkpoint.number, checkpoint.new)

    def is_whole(self) -> bool:
        """Whether all that the last checkpoint speaks of was loaded."""
        return self._base is None or self._settled.saved() == self._base.live

    def without_ids(self) -> "Ledger":
        """A ledger that has yet to read everything, and begins the chain anew. How far the slot had come is known all the same."""
        anew = Ledger()
        anew._mark = Watermark(self._mark.save())
        anew._number, anew._since = self._number, self._number + 1
        anew._settled = Settled(self._number)
        return anew

    def apply(self, entry: LedgerEntry) -> None:
        """Take in one entry, in the order in which they were recorded. An end stays, whatever is read again after it."""
        key, day, one = entry.dispatch_id, day_of(entry.useful_until), packed(entry.dispatch_id)
        if entry.status in OPEN:
            if not self._settled.has(day, one):
                self._open[key] = entry
            return
        self._open.pop(key, None)
        self._settled.add(day, one, entry.position)
        self._mark.settled(entry.position, entry.cause)

    def is_settled(self, dispatch_id: str) -> bool:
        """Whether this message needs nothing more. Raises ValueError if `dispatch_id` is no hexadecimal text."""
        return self._settled.anywhere(packed(dispatch_id))

    def was_settled(self, cause: str | None) -> bool:
        """Whether the request made by `cause` was settled once, also if its id is forgotten."""
        return self._mark.is_past(cause)

    def of(self, dispatch_id: str) -> LedgerEntry | None:
        """The entry of a message that is under way."""
        return self._open.get(dispatch_id)

    def under_way(self) -> list[LedgerEntry]:
        return list(self._open.values())

    def in_sending(self) -> list[LedgerEntry]:
        """Messages whose provider may have been called, with nothing known of what came of it."""
        return [entry for entry in self._open.values() if entry.status is MessageStatus.SENDING]

    def forget(self, now_ms: int, settled_to: int) -> int:
        """All requests below `settled_to` are settled: let the ids go that nobody can ask for any more; answers how many."""
        self._mark.passed(settled_to)
        return self._settled.forget(day_of(now_ms), self._mark.settled_to)

    def checkpoint(self, now_ms: int, end: int) -> Checkpoint:
        """The next checkpoint, and if `unsaved` stays above 0, it needs another. `end`: offset behind the last entry that was applied."""
        before = self._base.upto if self._base else 0
        new = self._settled.save(MOST_SAVED)
        self._number += 1
        self._base = Checkpoint(
            number=self._number,
            since=self._since,
            at=now_ms,
            upto=before if self._settled.unsaved else end,
            new=new,
            live=self._settled.saved(),
            passed=self._mark.save(),
            begun=self._settled.begun(),
        )
        return self._base

    @property
    def unsaved(self) -> int:
        """Settled messages that no checkpoint holds."""
        return self._settled.unsaved

    @property
    def size(self) -> int:
        """Bytes of settled ids in memory, about."""
        return self._settled.size

    def __len__(self) -> int:
        return len(self._settled) + len(self._open)


class Resumed(NamedTuple):
    """A ledger as its checkpoints leave it. `upto`: the offset of the first entry to apply now. `read`: checkpoints that were read."""

    ledger: Ledger
    upto: int
    read: int
    whole: bool


def resume(last: Checkpoint | None, checkpoints: Iterable[Checkpoint]) -> Resumed:
    """`last`: the last of all `checkpoints`. If a part of them is missing none is believed, and everything has to be read again."""
    ledger, read = Ledger(last), 0
    for checkpoint in checkpoints:
        ledger.load(checkpoint)
        read += 1
    if last is None or (last.version == CHECKPOINT_VERSION and ledger.is_whole()):
        return Resumed(ledger, last.upto if last else 0, read, whole=True)
    return Resumed(ledger.without_ids(), 0, read, whole=False)


def packed(dispatch_id: str) -> bytes:
    """The id in ID_BYTES. Raises ValueError if it is no hexadecimal text."""
    raw = bytes.fromhex(dispatch_id)
    return raw if len(raw) == ID_BYTES else hashlib.blake2b(raw, digest_size=ID_BYTES).digest()


def bounded(request: MessageRequested) -> MessageRequested:
    """The request, expiring LONGEST_EXPIRY_MS after it was made at the latest: so long is remembered what became of it."""
    latest = request.requested_at + LONGEST_EXPIRY_MS
    if request.expires_at <= latest:
        return request
    return msgspec.structs.replace(request, expires_at=latest)


def entry_of(
    request: MessageRequested,
    position: int,
    status: MessageStatus,
    at: int,
    profile_id: str,
    attempts: int,
    cause: str | None = None,
    claimed_at: int | None = None,
    in_doubt: bool = False,
) -> LedgerEntry:
    """An entry of a request that stands at offset `position` and was made by `cause`."""
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
        expires_at=request.expires_at,
        cause=cause,
        claimed_at=claimed_at,
        in_doubt=in_doubt,
        journey_version=request.journey_version,
    )
