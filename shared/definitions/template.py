"""Template files: `<name>.<locale>.liquid` is front matter and the text, `<name>.<locale>.html.liquid` beside it the HTML part.

What the front matter holds depends on the channel. Who reads a folder to send hands in a model for each channel (`Heads`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, ClassVar, Final, Literal

import liquid
from pydantic import Field

from shared.definitions.files import TEMPLATE_SUFFIX, File
from shared.definitions.liquid_text import parse_liquid, person_names
from shared.definitions.models import Definition, plain_mapping, read
from shared.definitions.segment import Name
from shared.definitions.yaml_text import Budget, DefinitionError, Document, Problem, parse

HTML_SUFFIX: Final = f".html{TEMPLATE_SUFFIX}"
_FENCE: Final = "---\n"


class TemplateHead(Definition):
    """The front matter that every channel's templates have; `class` decides whether consent is needed. Each channel has a model of its own.

    `contact`: the kind of id by which the channel reaches a person; None: it addresses nobody. `html`: whether there may be an HTML part.
    `one_line`: fields that are one line of text and must not be empty.
    """

    kind: ClassVar[str] = "template"
    contact: ClassVar[str | None] = None
    html: ClassVar[bool] = False
    one_line: ClassVar[frozenset[str]] = frozenset()

    template: Name
    channel: Name
    class_: Literal["marketing", "transactional"] = Field(alias="class")
    locale: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z]{2,4})?$")]

    @property
    def endpoint(self) -> str | None:
        """Which of the channel's endpoints it goes to; None: the channel has none to choose from."""
        return None

    def liquid(self) -> Mapping[str, str]:
        """Fields that are Liquid too; one inside a field by both names, `fields.plan`."""
        return {}

    def value(self, said: str) -> str:
        """A text that a person has said of themselves as the channel may show it, where what it shows has marks of its own."""
        return said


Heads = Mapping[str, type[TemplateHead]]
"""Channel -> what its templates begin with."""


@dataclass(frozen=True)
class Template:
    """One template in one locale, compiled. `lines`: where the fields of its front matter stand."""

    file: str
    head: TemplateHead
    fields: Mapping[str, liquid.BoundTemplate]
    text: liquid.BoundTemplate
    html: liquid.BoundTemplate | None
    lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def person_names(self) -> frozenset[str]:
        parts = [*self.fields.values(), self.text, *([self.html] if self.html else [])]
        return frozenset().union(*(person_names(part) for part in parts))


class Templates:
    """All templates, by name and locale."""

    def __init__(self, found: Iterable[Template], default_locale: str = "en") -> None:
        self._by_name: dict[str, dict[str, Template]] = {}
        self._default = default_locale
        for one in found:
            self._by_name.setdefault(one.head.template, {})[one.head.locale.lower()] = one

    def __len__(self) -> int:
        """How many templates, each locale counted."""
        return sum(map(len, self._by_name.values()))

    def __iter__(self) -> Iterator[Template]:
        return (one for known in self._by_name.values() for one in known.values())

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    @property
    def names(self) -> list[str]:
        """Every name, sorted."""
        return sorted(self._by_name)

    def of(self, name: str) -> Mapping[str, Template]:
        """Locale -> template; empty if there is none of that name."""
        return self._by_name.get(name, {})

    def endpoint(self, name: str) -> str | None:
        """Where messages of this template go, if its channel has several endpoints; the same in every locale."""
        return next((one.head.endpoint for one in self.of(name).values()), None)

    def pick(self, name: str, locale: str | None) -> Template | None:
        """The template in the wanted locale, else its language, else the installation's, else the first; None: no such template."""
        known = self._by_name.get(name, {})
        for wanted in (locale or "", self._default):
            exact = wanted.lower().replace("_", "-")
            found = known.get(exact) or known.get(exact.partition("-")[0])
            if found is not None:
                return found
        return known[min(known)] if known else None

    @property
    def person_names(self) -> frozenset[str]:
        """Every trait that any template speaks of."""
        return frozenset().union(*(one.person_names for known in self._by_name.values() for one in known.values()))


def read_templates(
    files: Sequence[File], heads: Heads | None, budget: Budget | None = None
) -> tuple[list[Template], set[str], list[Problem]]:
    """(The templates that could be read, every name that a file claims, all problems) of these template files. Without `heads` only names
    are looked at. `budget`: of what is read together with them.
    """
    found: list[Template] = []
    names: set[str] = set()
    problems: list[Problem] = []
    by_name = {file.name: file for file in files}
    for file in files:
        try:
            if file.name.endswith(HTML_SUFFIX):
                if file.name.removesuffix(HTML_SUFFIX) + TEMPLATE_SUFFIX not in by_name:
                    raise DefinitionError([Problem(file.name, 1, "", "has no text part beside it")])
            else:
                names.add(file.own_name.partition(".")[0])
                if heads is None:
                    continue
                html = by_name.get(file.name.removesuffix(TEMPLATE_SUFFIX) + HTML_SUFFIX)
                found.append(_read_template(file, html, heads, budget))
        except DefinitionError as error:
            problems += error.problems
    return found, names, problems + _different_heads(found)


def _read_template(file: File, html_file: File | None, heads: Heads, budget: Budget | None) -> Template:
    whole = file.text()
    front, fence, body = whole.removeprefix(_FENCE).partition("\n" + _FENCE)
    if not whole.startswith(_FENCE) or not fence:
        raise DefinitionError([Problem(file.name, 1, "", "expected front matter between two lines `---`")])
    document = parse(front, file.name, 2, budget)
    head = read(document, _model(document, heads))
    expected = f"{head.template}.{head.locale}{TEMPLATE_SUFFIX}"
    if file.own_name != expected:
        raise DefinitionError([document.problem(("template",), f"the file must be called {expected}")])
    problems: list[Problem] = []

    def compiled(text: Callable[[], str], name: str, first_line: int, html: bool = False) -> liquid.BoundTemplate | None:
        try:
            return parse_liquid(text(), name, first_line, html=html)
        except DefinitionError as error:
            problems.extend(error.problems)
            return None

    said = {
        name: compiled(partial(str, source), file.name, document.line(tuple(name.split(".")))) for name, source in head.liquid().items()
    }
    text = compiled(lambda: body, file.name, front.count("\n") + 4)
    html = None if html_file is None else compiled(html_file.text, html_file.name, 1, html=True)
    if html_file is not None and not head.html:
        problems.append(Problem(html_file.name, 1, "", f"channel {head.channel} takes no HTML part"))
    lines = {str(path[0]): line for path, line in document.lines.items() if len(path) == 1}
    if text is None or problems:
        raise DefinitionError(problems)
    return Template(file.name, head, {name: one for name, one in said.items() if one is not None}, text, html, lines)


def _model(document: Document, heads: Heads) -> type[TemplateHead]:
    """By the channel that the front matter names. Raises DefinitionError if it names one that is not known."""
    channel: Any = plain_mapping(document.data).get("channel")
    if isinstance(channel, str) and channel in heads:
        return heads[channel]
    missing = channel is None
    message = "is missing" if missing else f"{expected_channel(heads)} (found {channel!r})"
    raise DefinitionError([document.problem(("channel",), message)])


def expected_channel(heads: Heads) -> str:
    """What is said of a channel that there is not."""
    return f"expected one of the channels {', '.join(sorted(heads))}"


def _different_heads(found: list[Template]) -> list[Problem]:
    """One name is one channel, one endpoint and one class, whatever the locale; one name in one locale is one file."""
    first: dict[str, Template] = {}
    places: dict[tuple[str, str], Template] = {}
    problems = []
    for one in found:
        other = first.setdefault(one.head.template, one)
        if (other.head.channel, other.head.class_) != (one.head.channel, one.head.class_):
            problems.append(Problem(one.file, 2, "class", f"channel and class must be those of {other.file}"))
        elif other.head.endpoint != one.head.endpoint:
            problems.append(Problem(one.file, 2, "to", f"must be that of {other.file}: {other.head.endpoint}"))
        same = places.setdefault((one.head.template, one.head.locale.lower()), one)
        if same is not one:
            problems.append(
                Problem(one.file, 2, "template", f"{one.head.template!r} in {one.head.locale} is already defined in {same.file}")
            )
    return problems
