"""What a merge does to the two keys that it concerns: the loser's state goes to the winner, once, and what is late follows it."""

from collections.abc import Callable
from typing import Final, TypeVar

from shared.contracts.headers import KIND, KIND_LATE, KIND_MERGE, KIND_MOVED, MERGED_FROM, ORIGIN, ORIGIN_KIND, Position
from shared.contracts.identity import MERGE_DECODER
from shared.runtime.absorbed import Absorbed
from shared.runtime.envelope import GONE, Entry, Moved, decode_moved, encode_moved
from shared.runtime.farther import Farther
from shared.runtime.stage import OutputTooLarge, Record, Stage, Step
from shared.runtime.touched import Touched
from shared.runtime.unmerged import not_taken_in, stays, too_large

S = TypeVar("S")
R = TypeVar("R")

COUNTED: Final = ("folded", "repeated", "failed", "late", "absorbed", "refused", "ignored", "stuck", "unmerged", "expired")


class Merging(Touched[S, R]):
    """`entries` holds every key that the records may touch."""

    def __init__(self, stage: Stage[S, R], step: Step, entries: Callable[[str], Entry[S]]) -> None:
        super().__init__(stage, step)
        self.entries = entries
        self.counts = dict.fromkeys(COUNTED, 0)
        self._absorbed = Absorbed(step)
        self._farther = Farther(step)

    def _moved_topic(self) -> str:
        if self.stage.moved is None:
            raise TypeError(f"stage {self.stage.name} got a merge, but its keys never merge")
        return self.stage.moved

    def _forward(self, winner: str, kind: bytes | None, merged_from: str | None, origin: Position | None, record: Record) -> None:
        """The state has moved: send the record after it, remembering where it was first read."""
        self.counts["late"] += 1
        if kind == KIND_MERGE:
            return  # a key loses once: this is a repeat of the merge that made the marker
        first = origin or Position(record.topic, record.partition, record.offset)
        extra = [(KIND, KIND_LATE), (ORIGIN, first.encode())]
        if kind is not None:
            extra.append((ORIGIN_KIND, kind))
        if merged_from is not None:
            extra.append((MERGED_FROM, merged_from.encode()))
        self.step.emit(self._moved_topic(), winner, None, *extra)

    def _leave(self, entry: Entry[S], record: Record) -> None:
        """This key has lost a merge: export what it has, and leave a marker."""
        step = self.step
        merge = MERGE_DECODER.decode(record.value or b"")
        key = step.key
        absorbed = self._absorbed.leave(entry, key)
        known = entry.state is not None or entry.blob is not None
        state = self._state(entry, key)
        step.held = bool(entry.awaiting)
        if known:
            self.stage.leave(state, merge.winner, step)
        own = {(member, score) for score, member in self._absorbed.beside.sides.get(key, ())}
        own.update((member, score) for score, member in step.sides.get(key, ()))
        moved = Moved(
            key,
            self.stage.dump(state) if known else None,
            absorbed,
            sorted(entry.awaiting or ()),
            sorted((score, member) for member, score in own),
        )
        try:
            step.emit(self._moved_topic(), merge.winner, encode_moved(moved), (KIND, KIND_MOVED))
        except OutputTooLarge as error:
            raise too_large(error) from error
        self._drop_sides(key)
        self._unmet(key)
        entry.state = entry.blob = entry.absorbed = entry.awaiting = None
        entry.winner = merge.winner
        self._touched(key, entry)

    def _absorb(self, entry: Entry[S], record: Record) -> None:
        """A loser's blob has come: fold it in, once."""
        step = self.step
        if entry.winner is not None:
            self._farther.pass_on(self._moved_topic(), entry.winner, record, self._absorbed.beside.words)
            return
        moved = decode_moved(record.value or b"")
        key, absorbed = step.key, self._absorbed
        if absorbed.has(entry, key, moved.loser):
            self.counts["repeated"] += 1
            return
        self.counts["absorbed"] += 1
        waited = bool(entry.awaiting) or not moved.loser.startswith(GONE)
        absorbed.take_in(entry, key, moved)
        step.held = bool(entry.awaiting)
        state = self._state(entry, step.key)
        if moved.blob is not None:
            state = self.stage.merge(state, self.stage.load(moved.blob), step)
        if waited and not step.held:
            state = self.stage.settled(state, step)
        entry.state = state
        for score, member in moved.sides:
            step.side(score, member)
        self._touched(step.key, entry, len(record.value or b""))

    def _let_go(self, record: Record, key: str, bare: bool) -> None:
        """Nobody may wait for a blob that does not come, as `record` is a merge that failed. `bare`: even this failed: decide nothing."""
        told, brought = stays(record, key), not_taken_in(record)
        step, entry = self.step, self.entries(key)
        if entry.winner is not None or (told is None and brought is None):
            return
        step.key, step.at, step.merged_from = key, record.timestamp, None
        if told is not None:
            winner, moved = told
            step.emit(self._moved_topic(), winner, encode_moved(moved), (KIND, KIND_MOVED))
        elif brought is not None and not self._absorbed.has(entry, key, brought.loser):
            free = self._absorbed.give_up(entry, key, brought)
            step.held = bool(entry.awaiting)
            entry.state = self._state(entry, key)
            if free and not bare:
                entry.state = self.stage.settled(entry.state, step)
            self._touched(key, entry)
        self.counts["unmerged"] += 1
