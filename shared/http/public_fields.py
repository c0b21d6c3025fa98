"""What keys without the scope `personal` may see of a person: read from the folder of definitions."""

from pathlib import Path

from shared.definitions.catalogue import NOTHING_PUBLIC, Catalogue
from shared.definitions.folder import read_folder


def public_fields(folder: Path) -> Catalogue:
    """What the catalogue file below `folder` says; nothing is public without a file. Raises DefinitionError, also for two files."""
    return read_folder(folder).needed(Catalogue).single(Catalogue) or NOTHING_PUBLIC
