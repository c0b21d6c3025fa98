"""A dead letter becomes the failed record again, on the failed stage's own loop topic."""

from dataclasses import dataclass
from typing import Final

from shared.contracts.failed import FailedRecord, FailureReason
from shared.contracts.headers import CAUSE, KIND, ORIGIN, ORIGIN_KIND, REPLAY_OF, Position, header
from shared.contracts.slots import slot
from shared.contracts.topics import REPLAYED_BY_STAGE
from shared.http.reasons import Code, Refused


@dataclass(frozen=True)
class Place:
    """A record's partition and offset: the public name of a dead letter or a rejected event, `3:1024`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


@dataclass(frozen=True)
class Append:
    """One record to append."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


PLACE_PATTERN: Final = r"^[0-9]{1,4}:[0-9]{1,18}$"


def place(text: str) -> Place:
    """Inverse of `str`; `text` matches PLACE_PATTERN."""
    partition, _, offset = text.partition(":")
    return Place(int(partition), int(offset))


def replayed(letter: FailedRecord, at: Place) -> Append:
    """The record to append so that the stage folds `letter`, which stands at `at`, once more; once only, however often it is appended.

    The cause goes: the reader has seen it. Where the record was first read stays, for what is derived from that place.
    Raises Refused (409) if no replay can help.
    """
    topic = REPLAYED_BY_STAGE.get(letter.stage)
    if topic is None:
        raise _refused(at, f"stage {letter.stage} takes no replays")
    if letter.reason is FailureReason.TIMER_FAILED:
        raise _refused(at, "it was no record that failed but a timer, which is set again by the person's next event")
    if letter.key is None:
        raise _refused(at, "it has no key, and no stage can fold a record without one")
    try:
        partition = slot(letter.key.decode())
    except UnicodeDecodeError:
        raise _refused(at, "its key is no text, so it belongs to nobody") from None
    headers = [(name, value) for name, value in letter.headers if name not in (CAUSE, REPLAY_OF)]
    headers.append((REPLAY_OF, str(at).encode()))
    if header(headers, ORIGIN) is None:
        headers.append((ORIGIN, Position(letter.topic, letter.partition, letter.offset).encode()))
        kind = header(headers, KIND)
        if kind is not None:
            headers.append((ORIGIN_KIND, kind))
    return Append(topic, partition, letter.key, letter.value, tuple(headers))


def _refused(at: Place, why: str) -> Refused:
    return Refused(409, Code.REPLAY_REFUSED, f"dead letter {at} cannot be replayed: {why}")
