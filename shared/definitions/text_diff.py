"""What differs between two texts, as lines that people know from version control. Bounded: it costs up to the square of the lines."""

import difflib
from typing import Final

MAX_LINES: Final = 2_000
"""Of either text; longer ones are named and not compared."""
CONTEXT: Final = 3


def text_diff(path: str, before: str | None, after: str | None) -> list[str]:
    """Lines of a unified diff; None: there is no such file. Empty if both are equal."""
    if before == after:
        return []
    old, new = _lines(before), _lines(after)
    names = ("/dev/null" if before is None else f"a/{path}", "/dev/null" if after is None else f"b/{path}")
    if max(len(old), len(new)) > MAX_LINES:
        return [f"--- {names[0]}", f"+++ {names[1]}", f"too long to compare: {len(old)} lines before, {len(new)} after"]
    return [line.rstrip("\n") for line in difflib.unified_diff(old, new, *names, n=CONTEXT)]


def _lines(text: str | None) -> list[str]:
    return (text or "").splitlines(keepends=True)
