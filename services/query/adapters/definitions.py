"""The applied segments, from the folder that the segmentation stage reads too."""

from pathlib import Path

from services.query.domain.segments import KnownSegment
from shared.definitions.folder import read_folder
from shared.definitions.models import plain_mapping
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
            plain_mapping(one.document.data)["when"],
            one.text,
        )
        for one in read_folder(folder).needed(Segment).of(Segment)
    )
