"""What the warehouse writes beside a committed offset: the range it means to insert, and the causes seen before it.

The text stands in Kafka's commit metadata, 4,096 bytes at most by the broker's default:
`intent:FIRST-LAST;STAGE|TOPIC:PARTITION=OFFSET.NTH,PARTITION=OFFSET.NTH;STAGE|TOPIC:…`, without `intent:…` when nothing is meant.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

INTENT: Final = "intent:"
LONGEST_BYTES: Final = 4_000

Causes = Mapping[str, tuple[int, int]]
"""Highest (offset, nth) seen, by `Cause.lane`."""

NONE: Final[Causes] = MappingProxyType({})


class Range(NamedTuple):
    """Offsets of one partition, both included."""

    first: int
    last: int


class UnreadableProgressError(ValueError):
    """Commit metadata that this program did not write."""


@dataclass(frozen=True)
class Progress:
    """Where one partition stands: `next` is the first offset not known to be inserted; `intent` starts with it."""

    next: int
    intent: Range | None = None
    causes: Causes = field(default_factory=lambda: NONE)

    def encode(self) -> str:
        """The metadata. Raises ValueError if it would be too long for the broker."""
        parts = [f"{INTENT}{self.intent.first}-{self.intent.last}"] if self.intent else [""]
        by_source: dict[str, list[str]] = {}
        for lane, (offset, nth) in sorted(self.causes.items()):
            source, _, partition = lane.rpartition("|")
            by_source.setdefault(source, []).append(f"{partition}={offset}.{nth}")
        text = ";".join([*parts, *(f"{source}:{','.join(seen)}" for source, seen in by_source.items())])
        if len(text.encode()) > LONGEST_BYTES:
            raise ValueError(f"commit metadata of {len(text)} characters is longer than {LONGEST_BYTES} bytes")
        return text


def decode(next_offset: int, metadata: str) -> Progress:
    """The progress that stands in a committed offset. Raises UnreadableProgressError."""
    try:
        told, *sources = metadata.split(";")
        causes: dict[str, tuple[int, int]] = {}
        for source in sources:
            name, _, seen = source.rpartition(":")
            for one in seen.split(","):
                partition, _, at = one.partition("=")
                offset, _, nth = at.partition(".")
                causes[f"{name}|{int(partition)}"] = (int(offset), int(nth))
        intent = None
        if told:
            first, _, last = told.removeprefix(INTENT).partition("-")
            intent = Range(int(first), int(last))
            if not told.startswith(INTENT) or intent.first != next_offset or intent.last < intent.first:
                raise ValueError(told)
    except ValueError as wrong:
        raise UnreadableProgressError(f"not written by the warehouse: {metadata[:100]!r} at offset {next_offset}") from wrong
    return Progress(next_offset, intent, causes)
