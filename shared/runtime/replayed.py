"""Which dead letters have been replayed, in whatever order they were asked for: exactly, and in bounded room.

A letter stands at `partition:offset` of record.failed. Offsets are kept as bits of blocks of BLOCK offsets, in MOST_BLOCKS numbered
fields of the slot's meta. A block may make room for another KNOWN_DAYS after its last replay: its letters have left the log by then,
so nobody can ask for them again. If no block may, the replay is refused: it becomes a dead letter itself, with these words, and can be
replayed later.
"""

from collections.abc import Set as AbstractSet
from typing import Final

from shared.contracts.topics import DAY_MS, LETTER_DAYS

BLOCK: Final = 1024
MOST_BLOCKS: Final = 4096
KNOWN_DAYS: Final = LETTER_DAYS + 2
"""Longer than a letter stays in the log: its days, a segment of a day, and the day on which it was replayed."""


class TooManyReplays(Exception):
    """There is no room to remember another replay."""


class Replayed:
    """`stored` is shared by all copies and changed only when it is written; what a batch adds is small and its own."""

    def __init__(self, stored: dict[tuple[int, int], tuple[int, int, int]] | None = None, earlier: AbstractSet[str] = frozenset()) -> None:
        self._stored = {} if stored is None else stored
        self.earlier = earlier
        """Letters as an earlier release noted them, one by one. It did not bound them; they stay as they are, and nothing adds to them."""
        """(partition, block) -> (number of its field, day of the last replay, bits)."""
        self._fresh: dict[tuple[int, int], tuple[int, int, int]] = {}
        self._gone: set[tuple[int, int]] = set()

    def copy(self) -> "Replayed":
        other = Replayed(self._stored, self.earlier)
        other._fresh, other._gone = dict(self._fresh), set(self._gone)
        return other

    def take(self, letter: str, at_ms: int) -> bool:
        """Remember a replay at `at_ms` (log-append time); False if it was there. Raises TooManyReplays, ValueError if it is no position."""
        if letter in self.earlier:
            return False
        partition, offset = (int(part) for part in letter.split(":"))
        place = (partition, offset // BLOCK)
        bit = 1 << offset % BLOCK
        found = self._fresh.get(place)
        if found is None and place not in self._gone:
            found = self._stored.get(place)
        if found is None:
            found = (self._room(at_ms // DAY_MS), 0, 0)
        number, day, bits = found
        if bits & bit:
            return False
        self._fresh[place] = (number, max(day, at_ms // DAY_MS), bits | bit)
        return True

    def _room(self, today: int) -> int:
        """The number of a field for another block."""
        known = {place: value for place, value in (self._stored | self._fresh).items() if place not in self._gone or place in self._fresh}
        if len(known) < MOST_BLOCKS:
            return max((number for number, _, _ in known.values()), default=-1) + 1 if not self._gone else self._lowest_free(known)
        oldest = min(known, key=lambda place: known[place][1])
        number, day, _ = known[oldest]
        if day > today - KNOWN_DAYS:
            raise TooManyReplays(
                f"replays of {MOST_BLOCKS} blocks of {BLOCK} dead letters are remembered for {KNOWN_DAYS} days: replay this one later"
            )
        self._gone.add(oldest)
        self._fresh.pop(oldest, None)
        return number

    def _lowest_free(self, known: dict[tuple[int, int], tuple[int, int, int]]) -> int:
        used = {number for number, _, _ in known.values()}
        return next(number for number in range(MOST_BLOCKS) if number not in used)

    def changed(self) -> dict[str, str]:
        """Fields to write: what was added since the last call."""
        if not self._fresh and not self._gone:
            return {}
        fields = {}
        for place in self._gone:
            self._stored.pop(place, None)
        for (partition, block), (number, day, bits) in self._fresh.items():
            fields[f"rp|{number}"] = f"{partition}|{block}|{day}|{bits:x}"
            self._stored[partition, block] = (number, day, bits)
        self._fresh, self._gone = {}, set()
        return fields

    def read(self, number: str, value: str) -> None:
        """Take one written field back."""
        partition, block, day, bits = value.split("|")
        self._stored[int(partition), int(block)] = (int(number), int(day), int(bits, 16))
