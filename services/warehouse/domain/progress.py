"""What the warehouse writes beside a committed offset: the block it means to insert, and the causes seen before it.

A block is made of ranges of several partitions of one topic. The text stands in Kafka's commit metadata, 4,096 bytes at most by the
broker's default: `intent:PARTITION:FIRST-LAST,PARTITION:FIRST-LAST;STAGE|TOPIC:PARTITION=OFFSET.NTH,PARTITION=OFFSET.NTH;STAGE|TOPIC:…`,
without `intent:…` when nothing is meant. Where that is too long it is packed (packed.py); a block holds as many ranges as fit (block.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from services.warehouse.domain.packed import PACKED, pack, packed_causes, packed_ranges, unpack

INTENT: Final = "intent:"
LONGEST_BYTES: Final = 4_000

Causes = Mapping[str, tuple[int, int]]
"""Highest (offset, nth) seen, by `Cause.lane`."""

NONE: Final[Causes] = MappingProxyType({})


class Place(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class Range(NamedTuple):
    """Offsets of one partition, both included."""

    first: int
    last: int


Ranges = tuple[tuple[int, Range], ...]
"""A block's ranges with their partitions, in the order of these."""


class UnreadableProgressError(ValueError):
    """Commit metadata that this program did not write."""


@dataclass(frozen=True)
class Progress:
    """Where one partition stands: `next` is the first offset not known to be inserted; its range in `intent` starts with it."""

    next: int
    intent: Ranges = ()
    causes: Causes = field(default_factory=lambda: NONE)

    def encode(self) -> str:
        """The metadata: text if that is short enough, as every release reads it. Raises ValueError if packed it is too long as well."""
        text = self._text()
        if len(text) > LONGEST_BYTES:
            text = pack(packed_ranges(self.intent), packed_causes(self.causes))
        if len(text) > LONGEST_BYTES:
            raise ValueError(f"commit metadata of {len(text)} characters is longer than {LONGEST_BYTES} bytes")
        return text

    def _text(self) -> str:
        parts = [f"{INTENT}{written(self.intent)}" if self.intent else ""]
        by_source: dict[str, list[str]] = {}
        for lane, (offset, nth) in sorted(self.causes.items()):
            source, _, partition = lane.rpartition("|")
            by_source.setdefault(source, []).append(f"{partition}={offset}.{nth}")
        return ";".join([*parts, *(f"{source}:{','.join(seen)}" for source, seen in by_source.items())])


def written(ranges: Ranges) -> str:
    """The ranges as text, the same for the same ones."""
    return ",".join(f"{partition}:{first}-{last}" for partition, (first, last) in ranges)


def decode(partition: int, next_offset: int, metadata: str) -> Progress:
    """The progress that stands in a partition's committed offset. Raises UnreadableProgressError."""
    try:
        intent, causes = _packed(metadata) if metadata.startswith(PACKED) else _told(metadata)
        if intent and dict(intent)[partition].first != next_offset:
            raise ValueError(metadata)
    except (ValueError, KeyError) as wrong:
        raise UnreadableProgressError(f"not written by the warehouse: {metadata[:100]!r} at offset {next_offset}") from wrong
    return Progress(next_offset, intent, causes)


def _packed(metadata: str) -> tuple[Ranges, dict[str, tuple[int, int]]]:
    ranges, causes = unpack(metadata)
    return tuple((partition, Range(*offsets)) for partition, offsets in ranges), causes


def _told(metadata: str) -> tuple[Ranges, dict[str, tuple[int, int]]]:
    told, *sources = metadata.split(";")
    causes: dict[str, tuple[int, int]] = {}
    for source in sources:
        name, _, seen = source.rpartition(":")
        for one in seen.split(","):
            of, _, at = one.partition("=")
            offset, _, nth = at.partition(".")
            causes[f"{name}|{int(of)}"] = (int(offset), int(nth))
    return _intent(told) if told else (), causes


def _intent(told: str) -> Ranges:
    """Raises ValueError for what `encode` did not write."""
    ranges = []
    for one in told.removeprefix(INTENT).split(","):
        partition, _, offsets = one.partition(":")
        first, _, last = offsets.partition("-")
        ranges.append((int(partition), Range(int(first), int(last))))
    if not told.startswith(INTENT) or any(one.last < one.first for _, one in ranges):
        raise ValueError(told)
    return tuple(ranges)
