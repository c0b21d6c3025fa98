"""Why a batch is thrown away and folded again: which record, timer or state is to blame.

A fold may change its state in place. When one raises, the batch is dropped, what stood before the record is folded anew and committed,
and the record becomes a dead letter in the next batch. States are dumped when a batch is folded, before anything is committed. If one
cannot be, the batch is folded again and that key's state is dumped after each record: the first one that fails is set aside.
"""

from dataclasses import dataclass

from shared.contracts.failed import FAILED_ENCODER, FailedRecord, FailureReason
from shared.contracts.headers import CAUSE, lane_and_place
from shared.runtime.stage import Record


@dataclass(frozen=True, slots=True)
class Failure:
    """`bare`: keep only where the record stands and why; with its bytes the dead letter could not be made."""

    reason: FailureReason
    detail: str
    bare: bool = False


class Poisoned(Exception):
    """The record at `index` of the chunk (offset `offset`) cannot be folded."""

    def __init__(self, index: int, offset: int, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.index = index
        self.offset = offset
        self.failure = failure


class TimerFailed(Exception):
    """The timer of `key` cannot be fired."""

    def __init__(self, key: str, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.key = key
        self.failure = failure


class Unstorable(Exception):
    """The state of `key` cannot be dumped. Which record made it so, a batch finds that is told to watch the key."""

    def __init__(self, key: str, detail: str) -> None:
        super().__init__(f"the state of {key} cannot be stored: {detail}")
        self.key = key

    def watched_too(self, watched: frozenset[str]) -> frozenset[str]:
        """What the next attempt must watch. Raises this if the key was watched: it could be dumped after each record."""
        if self.key in watched:
            raise self
        return watched | {self.key}


class Undecodable(Exception):
    """A record that the stage cannot read."""


def letter_of(stage: str, record: Record, failure: Failure, key: bytes | None) -> bytes:
    """What the dead letter of a record says."""
    return FAILED_ENCODER.encode(
        FailedRecord(
            stage=stage,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            reason=failure.reason,
            detail=failure.detail[:2000],
            failed_at=record.timestamp,
            key=key,
            value=None if failure.bare else record.value,
            headers=[] if failure.bare else list(record.headers),
        )
    )


def repeated(record: Record, seen: dict[str, int]) -> bool:
    """Whether a record that could not be folded has been read before, by its cause; it is seen now."""
    for name, value in record.headers:
        if name == CAUSE:
            try:
                lane, at = lane_and_place(value)
            except ValueError:
                return False
            before = seen.get(lane, -1)
            seen[lane] = max(at, before)
            return before >= at
    return False
