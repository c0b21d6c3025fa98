"""The ledger of messages: topic dispatch.recorded, keyed by dispatch id, in the partition of the request; and checkpoints of it.

claimed -> sending -> sent | failed | unknown | suppressed | expired; a message that has to wait goes back to claimed. No address, no
text. dispatch.recorded keeps the last entry of each message for LEDGER_MS; the long memory of messages is ClickHouse.
"""

from typing import Final

import msgspec

from shared.contracts.changes import MessageStatus
from shared.contracts.days import DAY_MS

OPEN: Final = frozenset({MessageStatus.CLAIMED, MessageStatus.SENDING})
"""States from which a message goes on; the others are final."""
COUNTED: Final = frozenset({MessageStatus.SENT, MessageStatus.UNKNOWN, MessageStatus.SENDING})
"""States that take a place under a cap, beside CLAIMED of a message that has taken one."""
LONGEST_EXPIRY_MS: Final = 31 * DAY_MS
"""No message is sent later than so long after it was asked for."""
LEDGER_MS: Final = 65 * DAY_MS
"""How long entries and checkpoints stay in the log: a message may wait LONGEST_EXPIRY_MS behind one that waits as long."""
CHECKPOINT_BYTES: Final = 900_000
"""Most bytes of ids in one checkpoint: a record must stay below the 1 MB that a broker takes by default."""

CHECKPOINT_VERSION: Final = 1
Place = tuple[int, int]
"""(offset, nth) of a cause (headers.py); within a lane it only grows."""

STANDING: Final = "standing"
"""Header of the last entry of a transaction: how far the stages upstream had come then (messaging/domain/standing.py)."""


class LedgerEntry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The last state of one message. `at`: when it was reached, epoch ms. `attempts`: calls of the provider that were begun.

    `position`: offset of the request in message.requested; `cause`: its cause header. `profile_id`: the person at the time (a merge may
    have come since). `expires_at`: the request's, epoch ms. `claimed_at`: when the caps let it go, epoch ms: from then on
    it counts under them; None: it has taken no place. `journey_version`: the request's. Entries of earlier releases have none of these.
    `in_doubt`: a call was begun of which nobody knows what came, and the channel allows another with the same id: whatever ends the message
    now, it may have been taken then.
    """

    dispatch_id: str
    entry_id: str
    journey: str
    step: str
    profile_id: str
    channel: str
    template: str
    message_class: str
    status: MessageStatus
    at: int
    position: int
    attempts: int = 0
    reason: str | None = None
    provider: str | None = None
    provider_message_id: str | None = None
    expires_at: int | None = None
    cause: str | None = None
    claimed_at: int | None = None
    in_doubt: bool = False
    journey_version: int | None = None

    @property
    def counts_from(self) -> int | None:
        """Epoch ms from which the message counts under caps; None: it does not."""
        if self.status in COUNTED:
            return self.at if self.claimed_at is None else self.claimed_at
        return self.claimed_at if self.status is MessageStatus.CLAIMED else None

    @property
    def useful_until(self) -> int:
        """Epoch ms after which the message is not sent any more."""
        latest = self.at + LONGEST_EXPIRY_MS
        return latest if self.expires_at is None else min(self.expires_at, latest)


class SavedIds(msgspec.Struct, frozen=True, array_like=True):
    """Settled messages that expire on `day` (days since 1970): dispatch ids of 16 bytes, one behind the other.

    `last`: the highest offset in message.requested of a request that expires on this day.
    """

    day: int
    last: int
    ids: bytes


class Passed(msgspec.Struct, frozen=True, array_like=True):
    """How far a slot has come: everything in message.requested below `settled_to` is settled, and `seen` are the highest causes there.

    `ahead`: the same for what is settled behind it, up to offset `last`, in blocks of `length` offsets (block -> lane -> cause).
    """

    settled_to: int = 0
    seen: dict[str, Place] = {}
    last: int = -1
    length: int = 0
    ahead: dict[int, dict[str, Place]] = {}


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What came to a slot's settled messages since checkpoint `number - 1`. All from number `since` on together hold what is settled.

    `upto`: the ledger's offset from which a reader goes on. `live`: day of expiry -> how many ids all checkpoints since `since` hold; days
    that are not named are forgotten. A reader that finds other numbers believes none of them.
    `begun`: day of expiry -> number of the checkpoint with which its ids begin; what earlier ones say of that day was forgotten since.
    `standing`: as the header of that name.
    """

    number: int
    since: int
    at: int
    upto: int
    new: list[SavedIds]
    live: dict[int, int]
    passed: Passed
    standing: bytes = b""
    begun: dict[int, int] = {}
    version: int = CHECKPOINT_VERSION


LEDGER_DECODER: Final = msgspec.json.Decoder(LedgerEntry)
LEDGER_ENCODER: Final = msgspec.json.Encoder()
CHECKPOINT_DECODER: Final = msgspec.msgpack.Decoder(Checkpoint)
CHECKPOINT_ENCODER: Final = msgspec.msgpack.Encoder()
