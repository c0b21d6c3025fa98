"""Liquid as definitions may use it: limits on loops, output, depth and memory; a missing value is an error unless it has a default."""

from typing import ClassVar, Final

import liquid
from liquid.exceptions import LiquidError

from shared.definitions.yaml_text import DefinitionError, Problem

ROOTS: Final = frozenset({"person", "segment", "now"})
"""What a template may speak of."""


MAX_TAG: Final = 2_000
"""Characters of one tag or output: the parser's time for one can grow with the square of its length."""


class _Missing(liquid.FalsyStrictUndefined):
    """A value that is not there: `default` and `if` see that it is not, writing it out is an error."""

    force_liquid_default = True


class Limited(liquid.Environment):
    """An environment without files to include."""

    context_depth_limit: ClassVar[int] = 10
    block_nesting_limit: ClassVar[int] = 20
    loop_iteration_limit: ClassVar[int | None] = 2_000
    local_namespace_limit: ClassVar[int | None] = 200_000
    output_stream_limit: ClassVar[int | None] = 500_000


_TEXT: Final = Limited(undefined=_Missing, autoescape=False)
_HTML: Final = Limited(undefined=_Missing, autoescape=True)


def parse_liquid(text: str, file: str, first_line: int, *, html: bool) -> liquid.BoundTemplate:
    """Compile `text`, which begins on `first_line` of `file`. Values are escaped if `html`. Raises DefinitionError."""
    if (long := _too_long(text)) is not None:
        line = text[:long].count("\n") + first_line
        raise DefinitionError([Problem(file, line, "", f"expected at most {MAX_TAG} characters between the marks of one Liquid tag")])
    try:
        template = (_HTML if html else _TEXT).from_string(text)
        analysis = template.analyze(include_partials=False)
    except LiquidError as error:
        index = error.token.start_index if error.token else 0
        line = text[:index].count("\n") + first_line
        raise DefinitionError([Problem(file, line, "", f"no valid Liquid: {str(error).splitlines()[0]}")]) from None
    except RecursionError:
        raise DefinitionError([Problem(file, first_line, "", "no valid Liquid: it nests too deeply")]) from None
    problems = [
        Problem(file, text[: uses[0].span.index].count("\n") + first_line, name, f"expected one of {', '.join(sorted(ROOTS))}")
        for name, uses in analysis.globals.items()
        if name not in ROOTS
    ]
    problems += [
        Problem(file, text[: spans[0].index].count("\n") + first_line, tag, "a template cannot include others")
        for tag, spans in analysis.tags.items()
        if tag in ("include", "render")
    ]
    filters = {name: spans for name, spans in analysis.filters.items() if name not in _TEXT.filters}
    problems += [
        Problem(file, text[: spans[0].index].count("\n") + first_line, name, "is no filter of Liquid") for name, spans in filters.items()
    ]
    if problems:
        raise DefinitionError(problems)
    return template


def _too_long(text: str) -> int | None:
    """Where the first tag or output of more than MAX_TAG characters begins."""
    begin = _next_mark(text, 0)
    while begin is not None:
        end = text.find("%}" if text[begin + 1] == "%" else "}}", begin + 2)
        if (len(text) if end < 0 else end) - begin > MAX_TAG:
            return begin
        begin = None if end < 0 else _next_mark(text, end + 2)
    return None


def _next_mark(text: str, start: int) -> int | None:
    begin = text.find("{", start)
    while 0 <= begin < len(text) - 1:
        if text[begin + 1] in "{%":
            return begin
        begin = text.find("{", begin + 1)
    return None


def person_names(template: liquid.BoundTemplate) -> frozenset[str]:
    """The traits that a template speaks of."""
    uses = template.analyze(include_partials=False).globals.get("person", [])
    return frozenset(str(use.segments[1]) for use in uses if len(use.segments) > 1)
