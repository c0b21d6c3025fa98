"""What is written down: the ledger's state for an outcome, what others are told, a request that cannot be read.

Causes of message.changed count ledger records, beginning at the ledger's end at each takeover: messages end in any order, so the offsets
of requests would go back and forth.
"""

import msgspec

from services.messaging.domain.outcome import Deferred, Failed, Outcome, Sent, Unknown
from services.messaging.domain.reasons import Reason
from shared.contracts.changes import MessageChanged, MessageStatus
from shared.contracts.failed import FailedRecord, FailureReason
from shared.contracts.ledger import LedgerEntry
from shared.runtime.stage import Record


def state_of(outcome: Outcome) -> tuple[MessageStatus, Reason | None, str | None]:
    """The ledger's state, why, and the provider's own id of the message."""
    match outcome:
        case Sent(provider_message_id=provider_id):
            return MessageStatus.SENT, None, provider_id
        case Failed(reason=reason):
            return MessageStatus.FAILED, reason, None
        case Unknown(reason=reason):
            return MessageStatus.UNKNOWN, reason, None
        case Deferred(reason=reason):
            return MessageStatus.CLAIMED, reason, None


def crashed(entry: LedgerEntry, now_ms: int, *, repeats: bool) -> LedgerEntry:
    """What becomes of a message whose owner died between the record that it is being sent and the record of what came of it: its end, or
    where the provider knows a message by its id, another try.
    """
    status = MessageStatus.CLAIMED if repeats else MessageStatus.UNKNOWN
    return msgspec.structs.replace(entry, status=status, reason=Reason.CRASHED, at=now_ms, in_doubt=repeats)


def gone(entry: LedgerEntry, now_ms: int) -> LedgerEntry:
    """The end of a message that waits, and whose request has left the log."""
    over = now_ms >= entry.useful_until
    status, reason = (MessageStatus.EXPIRED, Reason.TOO_LATE) if over else (MessageStatus.FAILED, Reason.REQUEST_GONE)
    return ended_in_doubt(msgspec.structs.replace(entry, status=status, reason=reason, at=now_ms))


def ended_in_doubt(entry: LedgerEntry) -> LedgerEntry:
    """The entry, which says of no message that may have been taken that it was not."""
    if entry.in_doubt and entry.status in (MessageStatus.FAILED, MessageStatus.SUPPRESSED, MessageStatus.EXPIRED):
        return msgspec.structs.replace(entry, status=MessageStatus.UNKNOWN, reason=Reason.REPLY_LOST)
    return entry


def told(entry: LedgerEntry, to_masked: str | None = None) -> MessageChanged:
    """What others hear of an entry."""
    return MessageChanged(
        dispatch_id=entry.dispatch_id,
        entry_id=entry.entry_id,
        journey=entry.journey,
        step=entry.step,
        profile_id=entry.profile_id,
        channel=entry.channel,
        template=entry.template,
        status=entry.status,
        at=entry.at,
        reason=entry.reason,
        provider=entry.provider,
        provider_message_id=entry.provider_message_id,
        to_masked=to_masked,
        journey_version=entry.journey_version,
    )


def dead_letter(record: Record, error: Exception, now_ms: int) -> FailedRecord:
    """A request that cannot be read, whole."""
    return FailedRecord(
        stage="dispatcher",
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        reason=FailureReason.UNDECODABLE,
        detail=f"{type(error).__name__}: {error}"[:2000],
        failed_at=now_ms,
        key=record.key,
        value=record.value,
        headers=list(record.headers),
    )
