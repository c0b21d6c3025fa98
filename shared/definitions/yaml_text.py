"""YAML to plain data with the line of every part.

The YAML 1.2 core schema (so `on`, `no` and `12:30` are text), exact decimals for fractions, text for dates. Anchors, merge keys, tags
and repeated keys are refused: what a reader sees is what counts.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import yaml

Path = tuple[str | int, ...]
Plain = str | int | Decimal | bool | None | list["Plain"] | dict[str, "Plain"]

MAX_DEPTH: Final = 64
MAX_NODES: Final = 20_000
"""Keys, values and list entries of one document: a second's work. The count ends the reading, so that what lies beyond costs nothing."""
MAX_NODES_TOGETHER: Final = 200_000
"""Of all documents of a folder, or of a set: ten seconds' work."""
_INT = re.compile(r"[-+]?[0-9]{1,30}")
_FRACTION = re.compile(r"[-+]?(\.[0-9]{1,30}|[0-9]{1,30}(\.[0-9]{0,30})?)([eE][-+]?[0-9]{1,2})?")
_YAML_TAG: Final = "tag:yaml.org,2002:"
_TAGS: Final = frozenset({"map", "seq", "str", "int", "float", "bool", "null", "timestamp", "value", "merge"})
"""What PyYAML takes plain text for; which it is, is decided here."""
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset({"true", "True", "TRUE"})
_FALSE: Final = frozenset({"false", "False", "FALSE"})


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a file. `line` counts from 1; `path` as in `when.all[0].within`, empty for the file as a whole."""

    file: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (f"{self.file}:{self.line}", self.path, self.message) if part)


class DefinitionError(ValueError):
    """A file, or several, cannot be used; `problems` says all that was found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True)
class Document:
    """One parsed file. `lines` gives the line on which the part at each path begins (a mapping's value: the line of its key)."""

    file: str
    data: Plain
    lines: dict[Path, int]

    def line(self, path: Path) -> int:
        """The line of the part at `path`, or of the nearest part around it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return 1

    def problem(self, path: Path, message: str) -> Problem:
        return Problem(self.file, self.line(path), dotted(path), message)


class Budget:
    """What the documents of one folder may still hold. Once it is spent every further document is refused at its first node."""

    def __init__(self) -> None:
        self.left = MAX_NODES_TOGETHER

    @property
    def is_spent(self) -> bool:
        return self.left < 0


def dotted(path: Path) -> str:
    """`("when", "all", 0, "within")` as `when.all[0].within`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def parse(text: str, file: str, first_line: int = 1, budget: Budget | None = None) -> Document:
    """Parse one YAML document. `first_line`: where `text` begins in the file; `budget`: of the files that are read together.

    Raises DefinitionError; without a problem where the budget was spent before, since that has been said.
    """
    if budget is not None and budget.is_spent:
        raise DefinitionError([])
    try:
        node = _composed(text, budget)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line if error.problem_mark else 0
        raise DefinitionError([Problem(file, line + first_line, "", _told(error))]) from None
    except yaml.reader.ReaderError as error:
        raise DefinitionError([Problem(file, first_line, "", f"no valid YAML: {error.reason}")]) from None
    except RecursionError:
        raise DefinitionError([Problem(file, first_line, "", f"no more than {MAX_DEPTH} levels may nest")]) from None
    reader = _Reader(file, first_line)
    data = None if node is None else reader.read(node, ())
    if reader.problems:
        raise DefinitionError(reader.problems)
    return Document(file, data, reader.lines)


def _composed(text: str, budget: Budget | None) -> yaml.Node | None:
    loader = BoundedLoader(text)
    loader.budget = budget
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _told(error: yaml.MarkedYAMLError) -> str:
    what = error.problem or str(error)
    return what if isinstance(error, TooManyNodes) else f"no valid YAML: {what}"


class TooManyNodes(yaml.composer.ComposerError):
    """The document has more than MAX_NODES nodes, or all together more than MAX_NODES_TOGETHER."""


class BoundedLoader(yaml.SafeLoader):
    """Ends with an error at the first node beyond MAX_NODES, or beyond the budget."""

    nodes = 0
    budget: Budget | None = None

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            what = f"more than {MAX_NODES} keys, values and list entries in one file: write several files"
            raise TooManyNodes(None, None, what, self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        if self.budget is not None:
            self.budget.left -= 1
            if self.budget.is_spent:
                what = f"more than {MAX_NODES_TOGETHER} keys, values and list entries in all files together: take away what nothing uses"
                raise TooManyNodes(None, None, what, self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)


class _Reader:
    def __init__(self, file: str, first_line: int) -> None:
        self.file = file
        self.first_line = first_line
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self._seen: set[int] = set()

    def read(self, node: yaml.Node, path: Path) -> Plain:
        self.lines.setdefault(path, self._line(node))
        if len(path) > MAX_DEPTH:
            return self._wrong(node, path[:4], f"no more than {MAX_DEPTH} levels may nest")
        if id(node) in self._seen:
            return self._wrong(node, path, "anchors and aliases are not supported: write it out")
        self._seen.add(id(node))
        if node.tag.removeprefix(_YAML_TAG) not in _TAGS:
            return self._wrong(node, path, f"tags such as {node.tag} are not supported")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, i)) for i, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode), "YAML has no fourth kind of node"
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> Plain:
        found: dict[str, Plain] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._wrong(key_node, path, "a key must be text")
                continue
            key = str(key_node.value)
            here = (*path, key)
            if key == "<<" and not key_node.style:
                self._wrong(key_node, here, "merge keys are not supported: write it out")
            elif key in found:
                self.lines[here] = self._line(key_node)
                self._wrong(key_node, here, "this key stands here twice")
            else:
                self.lines[here] = self._line(key_node)
                found[key] = self.read(value_node, here)
        return found

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Plain:
        text = str(node.value)
        if node.style:  # quoted or a block: text, whatever it looks like
            return text
        if text in _NULL:
            return None
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        if _INT.fullmatch(text):
            return int(text)
        return Decimal(text) if _FRACTION.fullmatch(text) else text

    def _wrong(self, node: yaml.Node, path: Path, message: str) -> Plain:
        self.problems.append(Problem(self.file, self.lines.get(path) or self._line(node), dotted(path), message))
        return None

    def _line(self, node: yaml.Node) -> int:
        return int(node.start_mark.line) + self.first_line
