"""Reading a folder of definitions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from shared.definitions.models import Definition, plain_mapping, read
from shared.definitions.yaml_text import DefinitionError, Document, Problem, parse

D = TypeVar("D", bound=Definition)

MAX_FILE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True)
class Defined(Generic[D]):
    """One definition as it stands in a file."""

    file: str
    text: str
    document: Document
    definition: D


def load(folder: Path, model: type[D]) -> list[Defined[D]]:
    """Every definition of one kind below `folder`, by name. Other kinds are left alone.

    Raises DefinitionError with every problem: unreadable files, errors in files of this kind, two of one name.
    """
    found, problems = _read(folder, {model.kind: model}, others_are_wrong=False)
    if problems:
        raise DefinitionError(problems)
    return found


def load_all(folder: Path, kinds: Mapping[str, type[Definition]]) -> tuple[list[Defined[Definition]], list[Problem]]:
    """All that can be read below `folder`, and every problem: also files of no kind in `kinds`, and names that no definition has."""
    found, problems = _read(folder, kinds, others_are_wrong=True)
    return found, problems + _unknown_names(found, kinds)


def _read(folder: Path, kinds: Mapping[str, type[D]], others_are_wrong: bool) -> tuple[list[Defined[D]], list[Problem]]:
    if not folder.is_dir():
        return [], [Problem(str(folder), 1, "", "is no folder")]
    found: list[Defined[D]] = []
    problems: list[Problem] = []
    for path in _files(folder):
        name = str(path.relative_to(folder))
        try:
            one = _read_file(path, name, kinds)
        except DefinitionError as error:
            problems.extend(error.problems)
            continue
        if one is not None:
            found.append(one)
        elif others_are_wrong:
            problems.append(Problem(name, 1, "", f"is of no known kind: expected one of the keys {', '.join(kinds)}"))
    problems.extend(_same_names(found))
    return sorted(found, key=lambda one: (one.definition.kind, one.definition.name)), problems


def _files(folder: Path) -> Iterator[Path]:
    """Every YAML file below `folder` in a stable order; names that begin with a dot are left out."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix in (".yaml", ".yml") and path.is_file() and not hidden:
            yield path


def _read_file(path: Path, name: str, kinds: Mapping[str, type[D]]) -> Defined[D] | None:
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_FILE_BYTES:
            raise DefinitionError([Problem(name, 1, "", f"is larger than {MAX_FILE_BYTES} bytes")])
        text = raw.decode()
    except OSError as error:
        raise DefinitionError([Problem(name, 1, "", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DefinitionError([Problem(name, line, "", "is not UTF-8")]) from None
    document = parse(text, name)
    kind = next((kind for kind in kinds if kind in plain_mapping(document.data)), None)
    return None if kind is None else Defined(name, text, document, read(document, kinds[kind]))


def _same_names(found: list[Defined[D]]) -> list[Problem]:
    first: dict[tuple[str, str], str] = {}
    problems = []
    for one in found:
        key = (one.definition.kind, one.definition.name)
        other = first.setdefault(key, one.file)
        if other != one.file:
            problems.append(one.document.problem((key[0],), f"{key[1]!r} is already defined in {other}"))
    return problems


def _unknown_names(found: list[Defined[Definition]], kinds: Mapping[str, type[Definition]]) -> list[Problem]:
    names = {kind: {one.definition.name for one in found if one.definition.kind == kind} for kind in kinds}
    return [
        one.document.problem(path, f"there is no {kind} {name!r}; there are {', '.join(sorted(names[kind])) or 'none'}")
        for one in found
        for path, kind, name in one.definition.references()
        if kind in names and name not in names[kind]
    ]
