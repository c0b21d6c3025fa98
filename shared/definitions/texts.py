"""Definition files that are no folder: paths and texts, as a request or the log has them. What a folder refuses is refused here too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from shared.contracts.bodies import MAX_FILES, MAX_FOLDER_BYTES
from shared.definitions.files import (
    MAX_FOLDERS_DEEP,
    SUFFIXES,
    TOO_MANY,
    File,
    Listing,
    wrong_path,
)
from shared.definitions.yaml_text import DefinitionError, Problem

TOGETHER: Final = "definitions"
"""What problems of all files together are said of."""


def listed(texts: Mapping[str, str]) -> tuple[list[File], list[Problem]]:
    """(The files in the order in which a folder is read, what keeps files from being used) of path -> text."""
    if len(texts) > MAX_FILES:  # before anything is looked at: there could be millions
        return [], [Problem(TOGETHER, 1, "", TOO_MANY)]
    files: list[File] = []
    problems: list[Problem] = []
    above = {folder for path in texts for folder in _folders(path)}
    for path in sorted(texts, key=lambda path: path.split("/")):
        wrong = "is a file and a folder at once" if path in above else _unusable(path)
        if wrong is not None:
            problems.append(Problem(path.encode("utf-8", "backslashreplace").decode(), 1, "", wrong))
            continue
        try:
            file = File(texts[path].encode(), path)
        except UnicodeEncodeError:
            problems.append(Problem(path, 1, "", "is not UTF-8"))
            continue
        if len(file.content_bytes) > file.most_bytes:
            problems.append(file.too_large())
        else:
            files.append(file)
    if sum(len(file.content_bytes) for file in files) > MAX_FOLDER_BYTES:
        return [], [*problems, Problem(TOGETHER, 1, "", f"holds definition files of more than {MAX_FOLDER_BYTES} bytes together")]
    return files, problems


def texts_below(folder: Path) -> tuple[dict[str, str], list[Problem]]:
    """(Path -> text of every definition file below a folder, what could not be read of it)."""
    listing = Listing(folder)
    texts: dict[str, str] = {}
    problems = list(listing.problems)
    for file in listing.files:
        try:
            texts[file.name] = file.text()
        except DefinitionError as error:
            problems += error.problems
    return texts, problems


def _folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, min(len(parts), MAX_FOLDERS_DEEP + 2))]


def _unusable(path: str) -> str | None:
    """Why nothing may stand under that path; None if it may."""
    wrong = wrong_path(path)
    if wrong is not None:
        return wrong
    parts = path.split("/")
    if any(part.startswith(".") for part in parts):
        return "a part of its path begins with a dot, so nothing reads it: give it another name, or take it away"
    if len(parts) > MAX_FOLDERS_DEEP + 1:
        return f"folders may nest no deeper than {MAX_FOLDERS_DEEP}"
    if not parts[-1].endswith(SUFFIXES):
        return f"is no definition file: its name must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
    return None
