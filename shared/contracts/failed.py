"""Dead letters: a record that a stage could not apply, kept whole so that an operator can look at it and replay it."""

from enum import StrEnum

import msgspec


class FailureReason(StrEnum):
    UNDECODABLE = "undecodable"
    HANDLER_FAILED = "handler_failed"
    TIMER_FAILED = "timer_failed"
    OUTPUT_TOO_LARGE = "output_too_large"


class FailedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`headers`, `key` and `value` are the failed record's own; (topic, partition, offset) is where it stands."""

    stage: str
    topic: str
    partition: int
    offset: int
    reason: FailureReason
    detail: str
    failed_at: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


FAILED_DECODER = msgspec.msgpack.Decoder(FailedRecord)
FAILED_ENCODER = msgspec.msgpack.Encoder()
