"""Definition files on this machine: read to be sent, written as a set has them."""

from collections.abc import Mapping
from pathlib import Path

from shared.definitions.files import Listing
from shared.definitions.texts import listed, texts_below
from shared.definitions.yaml_text import DefinitionError, Problem


def sent(folder: Path) -> dict[str, str]:
    """Path -> text of every definition file below `folder`. Raises DefinitionError with what cannot be sent as it is."""
    texts, problems = texts_below(folder)
    problems += Listing(folder).hidden
    if problems:
        raise DefinitionError(problems)
    return texts


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Make `folder` hold these files. Raises DefinitionError unless it is new or empty, and for a path that leads out of it."""
    problems = listed(texts)[1]
    if problems:
        raise DefinitionError(problems)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DefinitionError([Problem(str(folder), 1, "", "is not empty: name a new folder, or an empty one")])
    for path, text in sorted(texts.items()):
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode())
    folder.mkdir(parents=True, exist_ok=True)
