"""Record headers: the cause of a derived record, its kind, and what a merge announces.

A cause names the one input position that a record was derived from: (stage, source topic, source partition, offset, nth).
Within one output partition the causes of one stage over one source partition never go back, unless a record is repeated; so a
reader that remembers the highest (offset, nth) per `Cause.lane` drops every repeat.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

Headers = Sequence[tuple[str, bytes]]

CAUSE: Final = "cause"
KIND: Final = "kind"
HOPS: Final = "hops"
"""Of a moved blob: how many markers have passed it on."""
VIA: Final = "via"
"""Of a moved blob that has come a long way: the key whose marker sent it here, and is to hear where it goes on."""
MERGED_FROM: Final = "merged_from"
"""On an event: the profile whose blob is on its way to this record's profile."""
ORIGIN: Final = "origin"
"""On a late or replayed record: `topic|partition|offset` at which it was first read."""
ORIGIN_KIND: Final = "origin_kind"
"""On a late or replayed record: the kind header it was first read with."""

REPLAY_OF: Final = "replay_of"
"""On a replayed record: the dead letter's position, applied once however often it is replayed."""

KIND_LINK: Final = b"link"
KIND_MERGE: Final = b"merge"
KIND_CLOCK: Final = b"clock"
KIND_MOVED: Final = b"moved"
KIND_LATE: Final = b"late"
KIND_EXPIRED: Final = b"expired"


class Position(NamedTuple):
    """A place in a log."""

    topic: str
    partition: int
    offset: int

    def encode(self) -> bytes:
        return f"{self.topic}|{self.partition}|{self.offset}".encode()

    @classmethod
    def decode(cls, raw: bytes) -> "Position":
        """Raises ValueError if `raw` is no position."""
        topic, partition, offset = raw.decode().split("|")
        return cls(topic, int(partition), int(offset))


class Cause(NamedTuple):
    """What made a record: the `nth` output of `stage` for the input at (topic, partition, offset)."""

    stage: str
    topic: str
    partition: int
    offset: int
    nth: int

    @property
    def lane(self) -> str:
        """The sequence within which (offset, nth) only grows."""
        return f"{self.stage}|{self.topic}|{self.partition}"

    def encode(self) -> bytes:
        return f"{self.stage}|{self.topic}|{self.partition}|{self.offset}|{self.nth}".encode()

    @classmethod
    def decode(cls, raw: bytes) -> "Cause":
        """Raises ValueError if `raw` is no cause."""
        stage, topic, partition, offset, nth = raw.decode().split("|")
        return cls(stage, topic, int(partition), int(offset), int(nth))


CAUSE_BITS: Final = 24
"""Of a place in a lane: those of `nth`."""


def lane_and_place(raw: bytes) -> tuple[str, int]:
    """(lane, `offset << CAUSE_BITS | nth`) of a cause: places of one lane compare as their causes do. Raises ValueError if it is none."""
    lane, offset, nth = raw.decode().rsplit("|", 2)
    return lane, (int(offset) << CAUSE_BITS) | int(nth)


def header(headers: Headers, name: str) -> bytes | None:
    """The first header called `name`, or None."""
    for key, value in headers:
        if key == name:
            return value
    return None
