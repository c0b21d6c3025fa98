"""Whether ClickHouse still holds what was put there; what to do when an operator orders it to be loaded again.

Offsets committed in Kafka say what was written, the notes in ClickHouse what it has. While the two disagree nothing is written and nothing
is committed: what is missing would be hidden by the next note.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from services.warehouse.domain.progress import Place, Progress
from shared.adapters.clickhouse import StoreRefused
from shared.contracts.kept_rows import (
    ADOPTED,
    ADVICE,
    GONE,
    Deleted,
    Noted,
    Part,
    latest,
    missing_tables,
    parts_lost,
    rows_lost,
    said,
    to_note,
)
from shared.contracts.rebuilds import RebuildChanged

_log = structlog.get_logger("warehouse")
NOTHING: Final[Noted] = Noted("", 0, 0, 0)


class Lost(Exception):
    """ClickHouse no longer has what was written to it. The text says what, and what to do."""


class Notes(Protocol):
    """The notes in ClickHouse. Every call may raise StoreAway and StoreRefused."""

    def tables(self) -> Sequence[str]:
        """Names of the tables that are there."""

    def progress(self) -> Sequence[Noted]:
        """Every note about a partition of the log."""

    def note(self, rows: Sequence[Noted]) -> None:
        """Add notes."""

    def parts(self) -> Sequence[Part]:
        """The oldest block of each partition of each table, now."""

    def kept(self) -> Sequence[Part]:
        """The same as it was noted."""

    def deleted(self) -> Sequence[Deleted]:
        """Tables in which rows were deleted by a DELETE."""

    def keep(self, parts: Sequence[Part], gone: bool = False) -> None:
        """Note the oldest blocks; `gone`: these are no longer asked for."""

    def make_tables(self) -> Sequence[str]:
        """Make the tables that are missing; answers what was done."""


class Keeper:
    """For the partitions of one process. `ordered`: the newest order to load everything again, if there is one."""

    def __init__(self, notes: Notes, ordered: Callable[[], RebuildChanged | None]) -> None:
        self._notes = notes
        self._ordered = ordered
        self._ours: dict[Place, Noted] = {}
        self._lost = False

    @property
    def generation(self) -> int:
        """The rebuild that our rows belong to; 0 before any."""
        return max((noted.generation for noted in self._ours.values()), default=0)

    @property
    def order(self) -> RebuildChanged | None:
        """An order that our partitions have not begun to carry out."""
        order = self._ordered()
        return order if order is not None and any(noted.generation < order.generation for noted in self._ours.values()) else None

    def left(self) -> tuple[int, bool]:
        """Records that the rebuild under way still has to read, and whether rows are missing until it has."""
        open_ = [noted for noted in self._ours.values() if noted.next < noted.target]
        return sum(noted.target - noted.next for noted in open_), any(noted.gap for noted in open_)

    def forget(self) -> None:
        """The partitions are others' now."""
        self._ours = {}

    def begin(self, committed: Mapping[Place, Progress], ends: Mapping[Place, int]) -> None:
        """Partitions are ours, and the log has records of them up to `ends`.

        Raises Lost if what was committed for them is not in ClickHouse, unless an order will load it again.
        """
        self._ours |= dict.fromkeys(committed, NOTHING)
        try:
            self._begin(committed, ends)
        except Lost:
            if self.order is None:
                raise

    def _begin(self, committed: Mapping[Place, Progress], ends: Mapping[Place, int]) -> None:
        noted = latest(self._asked())
        noted |= self._begun_anew({place: noted[place] for place in committed if place in noted}, committed, ends)
        self._ours |= {place: noted[place] for place in committed if place in noted}
        adopted = (ADOPTED, 0) in noted
        new = {
            place: Noted(place.topic, place.partition, 0, progress.next)
            for place, progress in committed.items()
            if place not in noted and (adopted or not progress.causes)  # no record with a row has been read yet
        }
        self._check(
            noted | {(place.topic, place.partition): one for place, one in new.items()},
            {place: one.next for place, one in committed.items()},
        )
        self._notes.note(list(new.values()))
        self._ours |= new
        self.look()

    def _begun_anew(
        self, stood: Mapping[Place, Noted], committed: Mapping[Place, Progress], ends: Mapping[Place, int]
    ) -> dict[tuple[str, int], Noted]:
        """Notes of a generation of its own, if the log ends before what was noted: Kafka was emptied and gives offsets out again.

        Else blocks would have the tokens of blocks of before, and ClickHouse would drop rows that it has never had.
        """
        if not any(committed[place].next <= ends.get(place, one.next) < one.next for place, one in stood.items()):
            return {}
        anew = {place: Noted(place.topic, place.partition, one.generation + 1, committed[place].next) for place, one in stood.items()}
        _log.warning("Kafka is younger than what ClickHouse has of it: its rows stay, and those of the new log come beside them")
        self._notes.note(list(anew.values()))
        return {(place.topic, place.partition): one for place, one in anew.items()}

    def look(self) -> None:
        """Raises Lost if a table or a partition of one is gone, or ClickHouse went back behind what we wrote."""
        if self.order is not None or not self._ours:
            return
        self._all_tables()
        self._check(latest(self._asked()), {place: noted.next for place, noted in self._ours.items()})
        kept, parts, deleted = self._notes.kept(), self._notes.parts(), self._notes.deleted()
        self._found(said(parts_lost(kept, parts, deleted)))
        self._notes.keep(to_note(kept, parts, deleted))
        self._lost = False

    def _all_tables(self) -> None:
        """Raises Lost if tables are gone; what is dropped of the others is named beside them."""
        there = set(self._notes.tables())
        missing = missing_tables(there)
        if missing is not None and "kept" in there:
            lost = parts_lost(self._notes.kept(), self._notes.parts(), self._notes.deleted())
            dropped = said([part for part in lost if part.table in there])
            missing = f"{missing}; {dropped}" if dropped else missing
        self._found(missing)

    def note(self, written: Mapping[Place, int]) -> None:
        """Rows of our partitions are in up to these offsets. Raises Lost rather than hide with a note that ClickHouse went back."""
        self._check(latest(self._asked()), {place: self._ours[place].next for place in written})
        notes = [self._ours[place]._replace(next=max(next_, self._ours[place].next)) for place, next_ in written.items()]
        self._notes.note(notes)
        self._ours |= {Place(one.topic, one.partition): one for one in notes}

    def skipped(self, places: Iterable[Place]) -> None:
        """Records of these partitions left the log before they were read: a rebuild must know that rows are missing."""
        notes = [self._ours[place]._replace(gap=True) for place in places if place in self._ours]
        self._notes.note(notes)
        self._ours |= {Place(one.topic, one.partition): one for one in notes}

    def prepare(self) -> None:
        """Make the tables that are gone; no longer ask for what was lost."""
        made = self._notes.make_tables()
        if made:
            _log.warning("tables made anew", migrations=list(made))
        lost = parts_lost(self._notes.kept(), self._notes.parts(), self._notes.deleted())
        self._notes.keep(lost, gone=True)
        self._lost = self._lost or bool(lost)

    def rewound(self, generation: int, spans: Mapping[Place, tuple[int, int]]) -> None:
        """Our partitions will be read again, each from the start to the end of its span and on."""
        notes = [Noted(place.topic, place.partition, generation, start, end, self._lost) for place, (start, end) in spans.items()]
        self._notes.note(notes)
        self._ours = {Place(one.topic, one.partition): one for one in notes}
        self._lost = False

    def _asked(self) -> Sequence[Noted]:
        try:
            return self._notes.progress()
        except StoreRefused as refused:
            if refused.code in GONE:
                self._found("ClickHouse has lost its tables")
            raise

    def _check(self, noted: Mapping[tuple[str, int], Noted], written: Mapping[Place, int]) -> None:
        self._found(rows_lost(noted, {(place.topic, place.partition): next_ for place, next_ in written.items()}))
        if any(noted[place].generation < self._ours.get(place, NOTHING).generation for place in written):
            self._found("ClickHouse is older than the rebuild that is under way in it")

    def _found(self, loss: str | None) -> None:
        if loss is not None:
            self._lost = True
            raise Lost(f"{loss}: {ADVICE}")
