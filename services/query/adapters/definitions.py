"""The applied segments, from the folder that the segmentation stage reads too, and what is public of a person."""

from pathlib import Path

from services.query.domain.segments import KnownSegment
from shared.definitions.catalogue import NOTHING_PUBLIC, Catalogue
from shared.definitions.folder import Definitions, read_folder
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
        for one in _read(folder).of(Segment)
    )


def public_fields(folder: Path) -> Catalogue:
    """What the catalogue file below `folder` says; nothing is public without a file. Raises DefinitionError, also for two files."""
    return _read(folder).single(Catalogue) or NOTHING_PUBLIC


def _read(folder: Path) -> Definitions:
    return read_folder(folder).needed(Segment, Catalogue)
