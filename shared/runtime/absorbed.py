"""The ids that a key has absorbed: up to `INLINE` stand in its envelope, more in an index of the slot.

So the cost of an event of a kiosk or a test login does not grow with the number of people who were merged into it. The index is asked for
one id, when an event announces that id's blob or the blob comes. It is read whole only when the key itself moves.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple

from shared.contracts.redis_keys import ABSORBED_INDEX
from shared.runtime.cut import KIND_MARKER
from shared.runtime.envelope import GONE, OTHERS, Entry, Moved
from shared.runtime.stage import Step

INLINE: Final = 64
MOST_ABSORBED: Final = 100_000
"""A key with more does not move on: its merge is a dead letter (unmerged.py). What it has would not fit one record."""


class Beside(NamedTuple):
    """What a batch needs of the store beside states. `sides`: second blobs of keys that leave. `absorbed`: what the index has of such keys.

    `known`: of the (key, id) that the batch's records ask about, those that are in the index. `words`: what markers were told (farther.py).
    """

    sides: Mapping[str, Sequence[tuple[float, bytes]]] = {}
    absorbed: Mapping[str, Sequence[str]] = {}
    known: AbstractSet[tuple[str, str]] = frozenset()
    words: Mapping[str, Sequence[str]] = {}


NOTHING: Final = Beside()


def index_of(key: str) -> str:
    """The slot's index with those whom `key` has taken in."""
    return ABSORBED_INDEX + key


class Absorbed:
    """Whom the keys of one batch have taken in. `step`: where changes of the index go."""

    def __init__(self, step: Step) -> None:
        self.beside = NOTHING
        self._step = step
        self._moved_out: dict[str, set[str]] = {}

    def has(self, entry: Entry[Any], key: str, one: str) -> bool:
        absorbed = entry.absorbed
        if absorbed is None or one in absorbed:
            return absorbed is not None
        return OTHERS in absorbed and (one in self._moved_out.get(key, ()) or (key, one) in self.beside.known)

    def over(self, entry: Entry[Any], key: str, one: str) -> bool:
        """Whether the blob of `one` need not be waited for: it is in, or does not come."""
        return self.has(entry, key, one) or self.has(entry, key, GONE + one)

    def add(self, entry: Entry[Any], key: str, ids: Iterable[str]) -> None:
        absorbed = (entry.absorbed or set()) | set(ids)
        if len(absorbed) > INLINE + 1:
            absorbed.discard(OTHERS)
            for one in sorted(absorbed):
                self._step.index_add(index_of(key), one)
            self._moved_out.setdefault(key, set()).update(absorbed)
            absorbed = {OTHERS}
        entry.absorbed = absorbed

    def take_in(self, entry: Entry[Any], key: str, moved: Moved) -> None:
        """A loser's blob is in, and all that it had absorbed; what it waited for `key` waits for now.

        Nobody who is over is ever among those that a key waits for, so only who has just come can end a wait: not all need be looked at.
        """
        came = (moved.loser, *moved.absorbed)
        self.add(entry, key, came)
        awaiting = entry.awaiting or set()
        awaiting.difference_update(one.removeprefix(GONE) for one in came)
        awaiting.update(one for one in moved.awaiting if not self.over(entry, key, one))
        entry.awaiting = awaiting or None

    def know(self, entry: Entry[Any], key: str, kind: bytes, other: bytes) -> None:
        """Of a merge that was carried out below the cut: where this key's state has gone, or whom it has taken in."""
        if kind == KIND_MARKER:
            entry.winner = other.decode()
        else:
            self.add(entry, key, (other.decode(),))

    def give_up(self, entry: Entry[Any], key: str, brought: Moved) -> bool:
        """What was brought could not be folded in, so nobody in it is waited for any more. Whether that ends all waiting."""
        waited = entry.awaiting or set()
        self.add(entry, key, [GONE + one for one in (brought.loser.removeprefix(GONE), *waited.intersection(brought.absorbed))])
        entry.awaiting = {one for one in waited if not self.over(entry, key, one)} or None
        return bool(waited) and not entry.awaiting

    def leave(self, entry: Entry[Any], key: str) -> list[str]:
        """All of them, sorted; they leave with the key. Raises ValueError if they are too many to go on."""
        outside = self._moved_out.pop(key, set()) | set(self.beside.absorbed.get(key, ()))
        everybody = (entry.absorbed or set()) | outside
        everybody.discard(OTHERS)
        if len(everybody) > MOST_ABSORBED:
            raise ValueError(f"{len(everybody)} people were merged into this one; with more than {MOST_ABSORBED} it cannot be merged on")
        for one in sorted(outside):
            self._step.index_remove(index_of(key), one)
        return sorted(everybody)
