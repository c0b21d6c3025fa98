"""The applied segments, from the folder that the segmentation stage reads too, and what is public of a person."""

from pathlib import Path

from services.query.domain.segments import KnownSegment
from shared.definitions.catalogue import NOTHING_PUBLIC, Catalogue
from shared.definitions.files import load
from shared.definitions.models import plain_mapping
from shared.definitions.segment import Segment
from shared.definitions.yaml_text import DefinitionError


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
        for one in load(folder, Segment)
    )


def public_fields(folder: Path) -> Catalogue:
    """What the catalogue file below `folder` says; nothing is public without a file. Raises DefinitionError, also for two files."""
    found = load(folder, Catalogue)
    if len(found) > 1:
        second = found[1].document
        raise DefinitionError([second.problem(("catalogue",), f"{found[0].file} is a catalogue already: one of them must go")])
    return found[0].definition if found else NOTHING_PUBLIC
