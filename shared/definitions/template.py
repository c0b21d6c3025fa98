"""Template files: `<name>.<locale>.liquid` is front matter and the text, `<name>.<locale>.html.liquid` beside it the HTML part."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

import liquid
from pydantic import Field

from shared.definitions.files import MAX_FILE_BYTES
from shared.definitions.liquid_text import parse_liquid, person_names
from shared.definitions.models import Definition, read
from shared.definitions.segment import Name
from shared.definitions.yaml_text import DefinitionError, Problem, parse

_FENCE: Final = "---\n"


class TemplateHead(Definition):
    """The front matter. `class` decides whether consent is needed; `subject` is Liquid too."""

    kind: ClassVar[str] = "template"

    template: Name
    channel: Literal["email"]
    class_: Literal["marketing", "transactional"] = Field(alias="class")
    locale: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z]{2,4})?$")]
    subject: Annotated[str, Field(min_length=1, max_length=500)]


@dataclass(frozen=True)
class Template:
    """One template in one locale, compiled."""

    file: str
    head: TemplateHead
    subject: liquid.BoundTemplate
    text: liquid.BoundTemplate
    html: liquid.BoundTemplate | None

    @property
    def person_names(self) -> frozenset[str]:
        parts = [self.subject, self.text, *([self.html] if self.html else [])]
        return frozenset().union(*(person_names(part) for part in parts))


class Templates:
    """All templates, by name and locale."""

    def __init__(self, found: Iterable[Template], default_locale: str = "en") -> None:
        self._by_name: dict[str, dict[str, Template]] = {}
        self._default = default_locale
        for one in found:
            self._by_name.setdefault(one.head.template, {})[one.head.locale.lower()] = one

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def of(self, name: str) -> Mapping[str, Template]:
        """Locale -> template; empty if there is none of that name."""
        return self._by_name.get(name, {})

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


def load_templates(folder: Path, default_locale: str = "en") -> Templates:
    """Every template below `folder`. Raises DefinitionError with all problems; a folder that is absent holds none."""
    found: list[Template] = []
    problems: list[Problem] = []
    paths = sorted(path for path in folder.rglob("*.liquid") if path.is_file() and not path.name.startswith("."))
    for path in paths:
        try:
            if path.name.endswith(".html.liquid"):
                if path.with_name(path.name.removesuffix(".html.liquid") + ".liquid") not in paths:
                    raise DefinitionError([Problem(str(path.relative_to(folder)), 1, "", "has no text part beside it")])
            else:
                found.append(_read_template(folder, path))
        except DefinitionError as error:
            problems += error.problems
    problems += _different_heads(found)
    if problems:
        raise DefinitionError(problems)
    return Templates(found, default_locale)


def _read_text(path: Path, file: str) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DefinitionError([Problem(file, 1, "", f"is larger than {MAX_FILE_BYTES} bytes")])
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DefinitionError([Problem(file, 1, "", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise DefinitionError([Problem(file, 1, "", "is not UTF-8")]) from None


def _read_template(folder: Path, path: Path) -> Template:
    file = str(path.relative_to(folder))
    whole = _read_text(path, file)
    front, fence, body = whole.removeprefix(_FENCE).partition("\n" + _FENCE)
    if not whole.startswith(_FENCE) or not fence:
        raise DefinitionError([Problem(file, 1, "", "expected front matter between two lines `---`")])
    document = parse(front, file, first_line=2)
    head = read(document, TemplateHead)
    expected = f"{head.template}.{head.locale}.liquid"
    if path.name != expected:
        raise DefinitionError([document.problem(("template",), f"the file must be called {expected}")])
    html_path = path.with_name(path.name.removesuffix(".liquid") + ".html.liquid")
    html = None
    if html_path.exists():
        html_file = str(html_path.relative_to(folder))
        html = parse_liquid(_read_text(html_path, html_file), html_file, 1, html=True)
    subject = parse_liquid(head.subject, file, document.line(("subject",)), html=False)
    return Template(file, head, subject, parse_liquid(body, file, front.count("\n") + 4, html=False), html)


def _different_heads(found: list[Template]) -> list[Problem]:
    """One name is one channel and one class, whatever the locale."""
    first: dict[str, Template] = {}
    problems = []
    for one in found:
        other = first.setdefault(one.head.template, one)
        if (other.head.channel, other.head.class_) != (one.head.channel, one.head.class_):
            problems.append(Problem(one.file, 2, "class", f"channel and class must be those of {other.file}"))
    return problems
