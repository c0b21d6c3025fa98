"""Segments as the API shows them."""

from services.query.domain.segments import KnownSegment
from shared.contracts.definitions import SegmentState
from shared.definitions.applied import Applied
from shared.definitions.models import plain_mapping
from shared.definitions.segment import Segment

Known = tuple[KnownSegment, ...]


def known_segments(newest: Applied | None) -> Known:
    """Every segment, by name. Raises DefinitionError with every problem."""
    if newest is None:
        return ()
    states = {name: one.state for (kind, name), one in newest.set.by_name.items() if kind == Segment.kind}
    return tuple(
        KnownSegment(
            one.definition.segment,
            one.definition.version,
            one.definition.title.zh,
            one.definition.title.en,
            one.definition.description,
            plain_mapping(one.document.data)["when"],
            one.text,
            states.get(one.definition.name) or SegmentState.LIVE,
        )
        for one in newest.read.needed(Segment).of(Segment)
    )
