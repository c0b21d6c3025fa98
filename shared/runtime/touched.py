"""The keys that a batch has touched: which states are stored, with which timers, and which go."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from shared.runtime.envelope import Entry, close_entry
from shared.runtime.failures import Unstorable
from shared.runtime.stage import Stage, Step

S = TypeVar("S")
R = TypeVar("R")


class Touched(Generic[S, R]):
    """What a commit changes of states, timers and second blobs. `watched`: keys whose state is dumped after each record.

    `earliest_timer`: the first of the slot's timers, as far as is known.
    """

    def __init__(self, stage: Stage[S, R], step: Step) -> None:
        self.stage = stage
        self.step = step
        self.dirty: dict[str, Entry[S]] = {}
        self.states: dict[str, bytes] = {}
        self.watched: frozenset[str] = frozenset()
        self.timers: dict[str, int] = {}
        self.earliest_timer: int | None = None
        self.side_drops: list[str] = []
        self._gone: dict[str, None] = {}
        self._touched_size = 0

    @property
    def size(self) -> int:
        """What the outputs and the touched states weigh; of a state what was stored and what has been folded into it since."""
        return self.step.size + self._touched_size

    def gone(self) -> Sequence[str]:
        """Keys whose state goes: not those that began anew in the same batch."""
        return [key for key in self._gone if key not in self.dirty]

    def sides(self) -> Sequence[tuple[str, float, bytes]]:
        """What is added to second blobs."""
        return [(key, score, member) for key, added in self.step.sides.items() for score, member in added]

    def close(self) -> None:
        """Make the stored form of every state that was touched. Raises Unstorable; the batch is then good for nothing."""
        self._touched_size = 0
        for key, entry in self.dirty.items():
            blob = self.states[key] = self._closed(key, entry)
            entry.size = len(blob)
            self._touched_size += entry.size

    def _closed(self, key: str, entry: Entry[S]) -> bytes:
        try:
            return close_entry(entry, (entry.blob or b"") if entry.state is None else self.stage.dump(entry.state))
        except Exception as error:
            raise Unstorable(key, f"{type(error).__name__}: {error}") from error

    def _watch(self) -> None:
        key = self.step.key
        if key in self.watched and key in self.dirty:
            self._closed(key, self.dirty[key])

    def _state(self, entry: Entry[S], key: str) -> S:
        state = entry.state
        if state is None:
            state = self.stage.empty(key) if entry.blob is None else self.stage.load(entry.blob)
            entry.blob = None
        return state

    def _touched(self, key: str, entry: Entry[S], grown: int = 0) -> None:
        if self.stage.met and entry.size == 0 and key not in self.dirty and entry.winner is None:
            self.step.index_add(self.stage.met, key)
        self._touched_size += grown if key in self.dirty else entry.size + grown
        entry.size += grown
        self.dirty[key] = entry
        due = 0
        if entry.state is not None and not entry.awaiting:
            due = self.stage.due(entry.state) or 0
        if due != entry.due:
            entry.due = due
            self.timers[key] = due
            if due and (self.earliest_timer is None or due < self.earliest_timer):
                self.earliest_timer = due

    def _forget(self, key: str, entry: Entry[S]) -> None:
        """The state goes, with its timer and its second blob; what comes for the key later begins anew."""
        self._drop_sides(key)
        self._unmet(key)
        if entry.due:
            entry.due = self.timers[key] = 0
        entry.state = entry.blob = None
        entry.size = 0
        self.dirty.pop(key, None)
        self._gone[key] = None

    def _unmet(self, key: str) -> None:
        """A sweep need not look at this key: nobody is behind it any more."""
        if self.stage.met:
            self.step.index_remove(self.stage.met, key)

    def _drop_sides(self, key: str) -> None:
        if self.stage.side_cap:
            self.step.sides.pop(key, None)
            self.side_drops.append(key)
