"""The ledger of messages: compacted topic dispatch.recorded, keyed by dispatch id, in the partition of the request.

claimed -> sending -> sent | failed | unknown | suppressed | expired; a message that has to wait goes back to claimed. No address, no
text: what the ledger holds may be kept for ever.
"""

from typing import Final

import msgspec

from shared.contracts.changes import MessageStatus

OPEN: Final = frozenset({MessageStatus.CLAIMED, MessageStatus.SENDING})
"""States from which a message goes on; the others are final."""


class LedgerEntry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The last state of one message. `at`: when it was reached, epoch ms. `attempts`: calls of the provider that were begun.

    `position`: offset of the request in message.requested. `profile_id`: the person at the time (a merge may have come since).
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


LEDGER_DECODER: Final = msgspec.json.Decoder(LedgerEntry)
LEDGER_ENCODER: Final = msgspec.json.Encoder()
