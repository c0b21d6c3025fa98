"""A commit's ranges and causes in a third of their text's bytes: numbers of seven bits a byte, written in base 85.

Used where the text would be longer than the broker takes (from 60 to 100 partitions on, by how long their offsets are). A partition is
written as the step from the one before it.
"""

import base64
from collections.abc import Iterator, Mapping
from typing import Final

PACKED: Final = "z1:"
"""How such metadata begins; the number is the form's version."""

RangesByPartition = tuple[tuple[int, tuple[int, int]], ...]
CausesByLane = Mapping[str, tuple[int, int]]


def longest_packed(characters: int) -> int:
    """How many bytes go into so many characters."""
    return (characters - len(PACKED)) // 5 * 4


def pack(ranges: bytes, causes: bytes) -> str:
    """What `packed_ranges` and `packed_causes` gave, as metadata."""
    return PACKED + base64.b85encode(ranges + causes).decode()


def packed_ranges(ranges: RangesByPartition) -> bytes:
    """The ranges, in the order of their partitions."""
    out = bytearray()
    _write(out, len(ranges))
    before = 0
    for partition, (first, last) in ranges:
        _write(out, partition - before, first, last - first)
        before = partition
    return bytes(out)


def packed_causes(causes: CausesByLane) -> bytes:
    """The highest (offset, nth) of each lane, lanes of one source together."""
    sources: dict[str, list[tuple[int, int, int]]] = {}
    for lane, (offset, nth) in causes.items():
        source, _, of = lane.rpartition("|")
        sources.setdefault(source, []).append((int(of), offset, nth))
    out = bytearray()
    _write(out, len(sources))
    for source, seen in sorted(sources.items()):
        name = source.encode()
        _write(out, len(name))
        out += name
        _write(out, len(seen))
        before = 0
        for partition, offset, nth in sorted(seen):
            _write(out, partition - before, offset, nth)
            before = partition
    return bytes(out)


def unpack(metadata: str) -> tuple[RangesByPartition, dict[str, tuple[int, int]]]:
    """What `pack` wrote. Raises ValueError for anything else."""
    raw = base64.b85decode(metadata.removeprefix(PACKED))
    numbers = _Reader(raw)
    ranges = []
    partition = 0
    for _ in range(numbers.count()):
        partition += numbers.next()
        first = numbers.next()
        ranges.append((partition, (first, first + numbers.next())))
    causes: dict[str, tuple[int, int]] = {}
    for _ in range(numbers.count()):
        source = numbers.text(numbers.count())
        partition = 0
        for _ in range(numbers.count()):
            partition += numbers.next()
            causes[f"{source}|{partition}"] = (numbers.next(), numbers.next())
    if not numbers.ended:
        raise ValueError(metadata)
    return tuple(ranges), causes


def _write(out: bytearray, *numbers: int) -> None:
    for number in numbers:
        while number >= 0x80:
            out.append(number & 0x7F | 0x80)
            number >>= 7
        out.append(number)


class _Reader:
    """Reads back what `_write` wrote. Raises ValueError at an end that comes too early."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    @property
    def ended(self) -> bool:
        return self._at == len(self._raw)

    def next(self) -> int:
        number = shift = 0
        for byte in self._bytes():
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number
        raise ValueError("the metadata ends too early")

    def count(self) -> int:
        """A number of things that follow: never more than there are bytes."""
        found = self.next()
        if found > len(self._raw):
            raise ValueError("the metadata counts more than it holds")
        return found

    def text(self, length: int) -> str:
        self._at += length
        if self._at > len(self._raw):
            raise ValueError("the metadata ends too early")
        return self._raw[self._at - length : self._at].decode()

    def _bytes(self) -> Iterator[int]:
        while self._at < len(self._raw):
            self._at += 1
            yield self._raw[self._at - 1]
