"""The segments that hold: those of the newest set in the log, else those of the folder."""

from collections.abc import Iterable
from pathlib import Path

from services.query.domain.segments import KnownSegment
from shared.adapters.applied_sets import AppliedSets
from shared.definitions.files import Defined
from shared.definitions.folder import read_folder
from shared.definitions.models import plain_mapping
from shared.definitions.segment import Segment

Known = tuple[KnownSegment, ...]


def known_segments(folder: Path) -> Known:
    """Every segment below `folder`, by name. Raises DefinitionError with every problem."""
    return _known(read_folder(folder).needed(Segment).of(Segment))


class SegmentsOfNow:
    """Calling it answers the segments of the newest set; `first` before a set was ever applied."""

    def __init__(self, sets: AppliedSets, first: Known) -> None:
        self._sets = sets
        self._number, self._known = 0, first

    def __call__(self) -> Known:
        """Every segment, by name. Raises DefinitionError if this release cannot read the newest set."""
        newest = self._sets.newest
        if newest is not None and newest.set.number != self._number:
            self._known = _known(newest.read.needed(Segment).of(Segment))
            self._number = newest.set.number
        return self._known


def _known(segments: Iterable[Defined[Segment]]) -> Known:
    return tuple(
        KnownSegment(
            one.definition.segment,
            one.definition.version,
            one.definition.title.zh,
            one.definition.title.en,
            one.definition.description,
            plain_mapping(one.document.data)["when"],
            one.text,
        )
        for one in segments
    )
