"""The applied segments, from the folder that the segmentation stage reads too."""

from pathlib import Path

from services.query.domain.segments import KnownSegment
from shared.definitions.files import load
from shared.definitions.segment import Segment


def known_segments(folder: Path) -> tuple[KnownSegment, ...]:
    """Every segment below `folder`, by name. Raises DefinitionError with every problem."""
    return tuple(
        KnownSegment(
            one.definition.segment,
            one.definition.version,
            one.definition.title.zh,
            one.definition.title.en,
            one.definition.description,
            one.definition.when.model_dump(mode="json", by_alias=True, exclude_none=True),
            one.text,
        )
        for one in load(folder, Segment)
    )
