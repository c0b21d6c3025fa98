"""Definitions read whole, of a folder or of texts, by one function: whoever reads them finds the same mistakes."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as Folder
from typing import Final, TypeVar

from shared.contracts.ids import DEFAULT_EXTERNAL_KINDS
from shared.definitions.files import TEMPLATE_SUFFIX, Defined, File, Listing
from shared.definitions.identity import Identity
from shared.definitions.journey import Exit, Journey, Send, SendWhat
from shared.definitions.kinds import KINDS
from shared.definitions.models import Definition, plain_mapping, read
from shared.definitions.order import circle_in
from shared.definitions.segment import Segment
from shared.definitions.template import Heads, TemplateHead, Templates, expected_channel, read_templates
from shared.definitions.texts import listed
from shared.definitions.yaml_text import Budget, DefinitionError, Path, Problem, parse

D = TypeVar("D", bound=Definition)

EVERYBODY: Final = None
NOBODY: Final[frozenset[str]] = frozenset()
NAMES_SHOWN: Final = 10
"""Of the names that there are, an error lists so many."""
MOST_NEAR: Final = 50
"""For so many unknown names of a folder the nearest known one is looked for: each is compared with all."""


@dataclass(frozen=True)
class Mistake:
    """A problem, and the kinds of definition that cannot be used because of it: EVERYBODY if the file could be of any kind.

    NOBODY: a file of an unknown kind, or a hidden one. Services pass over the first, so that a file for a newer release stops no
    older one, and over the second, because it is not in use.
    """

    problem: Problem
    concerns: frozenset[str] | None


@dataclass(frozen=True)
class Definitions:
    """What could be read of a folder, sorted by kind and name, and every mistake in it, sorted by file and line."""

    found: tuple[Defined[Definition], ...]
    templates: Templates
    mistakes: tuple[Mistake, ...]

    @property
    def problems(self) -> list[Problem]:
        return [mistake.problem for mistake in self.mistakes]

    def needed(self, *models: type[Definition]) -> "Definitions":
        """These definitions, for somebody who uses those of `models`. Raises DefinitionError with every mistake that concerns them."""
        kinds = {model.kind for model in models}
        problems = [one.problem for one in self.mistakes if one.concerns is EVERYBODY or one.concerns & kinds]
        if problems:
            raise DefinitionError(problems)
        return self

    def of(self, model: type[D]) -> list[Defined[D]]:
        """Every definition of one kind that could be read, by name. Ask `needed` first."""
        return [Defined(one.file, one.text, one.document, one.definition) for one in self.found if isinstance(one.definition, model)]

    def single(self, model: type[D]) -> D | None:
        """The one definition of a kind that has at most one; None: there is no such file. Ask `needed` first."""
        return next((one.definition for one in self.of(model)), None)

    def external_kinds(self) -> tuple[str, ...]:
        """The kinds of external id that identify, strongest first: what the identity file says, else the default.

        Raises DefinitionError if the file is wrong, or if there are several.
        """
        said = self.needed(Identity).single(Identity)
        return said.kinds if said else DEFAULT_EXTERNAL_KINDS


def read_folder(
    folder: Folder, default_locale: str = "en", kinds: Mapping[str, type[Definition]] = KINDS, heads: Heads | None = None
) -> Definitions:
    """Read every definition below `folder`. Never raises for what stands there: mistakes are part of the answer.

    `heads`: the channels that there are, for who sends or checks; without them templates are left unread, and no channel is looked at.
    """
    listing = Listing(folder)
    return _read(listing.files, listing.problems, listing.hidden, default_locale, kinds, heads)


def read_texts(
    texts: Mapping[str, str], default_locale: str = "en", kinds: Mapping[str, type[Definition]] = KINDS, heads: Heads | None = None
) -> Definitions:
    """Read definitions and templates that are given as path -> text, with the checks of `read_folder`. Never raises for what they are."""
    files, problems = listed(texts)
    return _read(files, problems, (), default_locale, kinds, heads)


def _read(
    files: Sequence[File],
    listing: Iterable[Problem],
    hidden: Iterable[Problem],
    default_locale: str,
    kinds: Mapping[str, type[Definition]],
    heads: Heads | None,
) -> Definitions:
    """`listing`, `hidden`: what was wrong with names, before any file was read."""
    reading = _Reading(kinds)
    for problem in listing:
        reading.wrong([problem], frozenset({TemplateHead.kind}) if problem.file.lower().endswith(TEMPLATE_SUFFIX) else EVERYBODY)
    reading.wrong(hidden, NOBODY)
    for file in files:
        if not file.is_template:
            reading.take(file)
        if reading.budget.is_spent:
            reading.give_up()
            break
    templates, claimed, problems = read_templates([file for file in files if file.is_template], heads, reading.budget)
    reading.wrong(problems, frozenset({TemplateHead.kind}))
    reading.names[TemplateHead.kind] = claimed
    found = sorted(reading.found, key=lambda one: (one.definition.kind, one.definition.name))
    known = Templates(templates, default_locale)
    reading.compare(found)
    reading.look_up(found)
    reading.circles(found)
    reading.step_ids(found)
    if heads is not None:
        reading.channels(found, known, heads)
        reading.addresses(found, heads)
    mistakes = sorted(reading.mistakes, key=lambda one: (one.problem.file, one.problem.line))
    return Definitions(tuple(found), known, tuple(mistakes))


class _Reading:
    """What has been read so far. `names`: kind -> every name that a file claims, also files with mistakes: they cause no second mistake.

    `budget`: what may still be read.
    """

    def __init__(self, kinds: Mapping[str, type[Definition]]) -> None:
        self._kinds = kinds
        self.found: list[Defined[Definition]] = []
        self.mistakes: list[Mistake] = []
        self.names: dict[str, set[str]] = {kind: set() for kind in kinds}
        self.budget = Budget()
        self._listed: dict[str, tuple[list[str], str]] = {}
        self._near = MOST_NEAR

    def wrong(self, problems: Iterable[Problem], concerns: frozenset[str] | None) -> None:
        self.mistakes += (Mistake(problem, concerns) for problem in problems)

    def take(self, file: File) -> None:
        """Read one YAML file."""
        concerns: frozenset[str] | None = EVERYBODY
        try:
            text = file.text()
            document = parse(text, file.name, budget=self.budget)
            said = plain_mapping(document.data)
            kind = next((kind for kind in self._kinds if kind in said), None)
            if kind is None:
                raise _UnknownKind(file.name, list(said), self._kinds)
            concerns = frozenset({kind})
            self.names[kind].add(str(said[kind]))
            self.found.append(Defined(file.name, text, document, read(document, self._kinds[kind])))
        except _UnknownKind as error:
            self.wrong(error.problems, NOBODY)
        except DefinitionError as error:
            self.wrong(error.problems, concerns)

    def give_up(self) -> None:
        """Keep what was said last alone: a part of the files would be read as if it were all."""
        self.found.clear()
        del self.mistakes[:-1]

    def compare(self, found: Sequence[Defined[Definition]]) -> None:
        """Two of one name, and two of a kind of which there is one."""
        first: dict[tuple[str, str], str] = {}
        for one in found:
            kind, name = one.definition.kind, one.definition.name
            other = first.setdefault((kind, "" if one.definition.only_one else name), one.file)
            if other == one.file:
                continue
            if one.definition.only_one:
                message = f"there may be one {kind} file, and {other} is one already: one of the two must go"
            else:
                message = f"{name!r} is already defined in {other}"
            self.wrong([one.document.problem((kind,), message)], frozenset({kind}))

    def look_up(self, found: Sequence[Defined[Definition]]) -> None:
        """Names that no definition has."""
        for one in found:
            for path, kind, name in one.definition.references():
                known = self.names.get(kind)
                if known is not None and name not in known:
                    problem = one.document.problem(path, f"there is no {kind} {name!r}; there are {self._there(kind, name)}")
                    self.wrong([problem], frozenset({one.definition.kind}))

    def _there(self, kind: str, name: str) -> str:
        """The names that there are, shortened, and the nearest to `name`."""
        if kind not in self._listed:
            names = sorted(self.names[kind])
            more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
            self._listed[kind] = names, f"{', '.join(names[:NAMES_SHOWN]) or 'none'}{more}"
        names, told = self._listed[kind]
        if self._near <= 0:
            return told
        self._near -= 1
        near = difflib.get_close_matches(name, names, 1)
        return f"{told} (did you mean {near[0]!r}?)" if near else told

    def circles(self, found: Sequence[Defined[Definition]]) -> None:
        """Segments whose rules speak of one another in a circle: none of them could be decided first."""
        segments = {one.definition.name: one for one in found if isinstance(one.definition, Segment)}
        speaks = {name: [ref.name for ref in one.definition.references() if ref.name in segments] for name, one in segments.items()}
        while (circle := circle_in(speaks)) is not None:
            first, second = circle[0], circle[1 % len(circle)]
            path = next(one.path for one in segments[first].definition.references() if one.name == second)
            message = f"these segments speak of one another in a circle: {' -> '.join((*circle, first))}"
            problem = segments[first].document.problem(path, message)
            self.wrong([problem], frozenset({Segment.kind}))
            speaks = {name: [other for other in below if other not in circle] for name, below in speaks.items() if name not in circle}

    def step_ids(self, found: Sequence[Defined[Definition]]) -> None:
        """Two steps of one journey by one id: their messages would be taken for one."""
        for one in found:
            first: dict[str, int] = {}
            for number, step in enumerate(one.definition.steps if isinstance(one.definition, Journey) else ()):
                if isinstance(step, Exit) or step.id is None or first.setdefault(step.id, number) == number:
                    continue
                message = f"{step.id!r} is the id of steps[{first[step.id]}] already: give each step one of its own"
                path = ("steps", number, "send", "id") if isinstance(step, Send) else ("steps", number, "id")
                self.wrong([one.document.problem(path, message)], frozenset({Journey.kind}))

    def channels(self, found: Sequence[Defined[Definition]], templates: Templates, heads: Heads) -> None:
        """Steps that send in a channel that there is not, or by a template of another one."""
        for one, path, send in _sends(found):
            if send.channel not in heads:
                message = f"{expected_channel(heads)} (found {send.channel!r})"
                self.wrong([one.document.problem((*path, "channel"), message)], frozenset({one.definition.kind}))
                continue
            others = {template.head.channel for template in templates.of(send.template).values()} - {send.channel}
            if others:
                message = f"template {send.template!r} is for {', '.join(sorted(others))}, not for {send.channel}"
                self.wrong([one.document.problem((*path, "template"), message)], frozenset({one.definition.kind}))

    def addresses(self, found: Sequence[Defined[Definition]], heads: Heads) -> None:
        """Steps that send where the identity file lacks the kind by which the channel reaches people."""
        identities = [(one.file, one.definition.kinds) for one in found if isinstance(one.definition, Identity)]
        for one, path, send in _sends(found):
            contact = heads[send.channel].contact if send.channel in heads else None
            for file in (file for file, kinds in identities if contact is not None and contact not in kinds):
                message = f"nobody could be written to: add {contact!r} at the end of `kinds` in {file}"
                self.wrong([one.document.problem((*path, "channel"), message)], frozenset({one.definition.kind}))


def _sends(found: Iterable[Defined[Definition]]) -> Iterator[tuple[Defined[Definition], Path, SendWhat]]:
    """Every step of a journey that sends, and where it stands."""
    for one in found:
        for number, step in enumerate(one.definition.steps if isinstance(one.definition, Journey) else ()):
            if isinstance(step, Send):
                yield one, ("steps", number, "send"), step.send


class _UnknownKind(DefinitionError):
    def __init__(self, file: str, keys: Sequence[str], kinds: Iterable[str]) -> None:
        known = list(kinds)
        near = next((match for key in keys[:NAMES_SHOWN] for match in difflib.get_close_matches(key, known, 1)), None)
        hint = f" (did you mean {near!r}?)" if near else ""
        super().__init__([Problem(file, 1, "", f"is of no known kind: expected one of the keys {', '.join(known)}{hint}")])
