"""Rendering within bounds of time and size, beside those of the environment (liquid_text.py).

Time is looked at where Liquid writes, reads a value, calls a filter or enters a loop. One call of one filter is not interrupted. What
bounds it is the size of what it is given (traits of at most 512 bytes, numbers of no more than some 40 digits, MOST_IN_LIST values), and of
what it would make where that is a product of what it is given (MOST_MADE).
"""

from collections.abc import Callable, Mapping
from io import StringIO
from typing import Any, Final, TextIO

import liquid
from liquid.context import RenderContext
from liquid.output import LimitedStringIO

MOST_IN_LIST: Final = 2_000
"""Longest range `(1..n)` or list that a filter is given: some compare each value with every other."""
MOST_MADE: Final = 1_000_000
"""Most characters that one call of a filter makes out of two values of a template."""


class OutOfBoundsError(Exception):
    """Rendering took too long, or became too large. The message says which."""


class Bounds:
    """What is left for one message: seconds of `cpu_s`, bytes of output. Several templates may use it up together."""

    def __init__(self, seconds: float, size: int, cpu_s: Callable[[], float]) -> None:
        self._cpu_s, self._seconds, self._size = cpu_s, seconds, size
        self._end = cpu_s() + seconds
        self._left = size

    def check(self) -> None:
        """Raises OutOfBoundsError once the time is over."""
        if self._cpu_s() > self._end:
            raise OutOfBoundsError(f"rendering takes more than {self._seconds * 1000:g} ms")

    def use(self, text: str) -> None:
        """`text` becomes part of the message. Raises OutOfBoundsError."""
        self._left -= len(text.encode())
        if self._left < 0:
            raise OutOfBoundsError(f"the message is larger than {self._size} bytes")


class _Buffer(LimitedStringIO):
    """Where a template or a part of it (`capture`) writes."""

    def __init__(self, limit: int, bounds: Bounds) -> None:
        super().__init__(limit)
        self._bounds = bounds

    def write(self, text: str, /) -> int:
        self._bounds.check()
        return super().write(text)


class _Context(RenderContext):
    """Looks at the time at every step that can be made often."""

    bounds: Bounds

    def get_buffer(self, buf: TextIO | None = None) -> StringIO:
        made = super().get_buffer(buf)
        return _Buffer(made.limit, self.bounds) if isinstance(made, LimitedStringIO) else made

    def get(self, path: list[object], **options: Any) -> object:
        self.bounds.check()
        return super().get(path, **options)

    def raise_for_loop_limit(self, length: int = 1) -> None:
        self.bounds.check()
        super().raise_for_loop_limit(length)

    def filter(self, name: str, token: Any) -> Callable[..., object]:
        self.bounds.check()
        called = super().filter(name, token)

        def within(left: object, *arguments: object, **named: object) -> object:
            given = (left, *arguments, *named.values())
            if any(isinstance(value, range | list | tuple) and len(value) > MOST_IN_LIST for value in given):
                raise OutOfBoundsError(f"{name} is given a range or a list of more than {MOST_IN_LIST} values")
            if name in _PRODUCTS and _PRODUCTS[name](*map(_length_of, given)) > MOST_MADE:
                raise OutOfBoundsError(f"{name} might make more than {MOST_MADE} characters")
            return called(left, *arguments, **named)

        return within


def _length_of(value: object) -> int:
    return len(value) if isinstance(value, range | list | tuple | str) else 0


def _replaced(text: int, seek: int = 0, put: int = 0) -> int:
    """Of these lengths, at most: `seek` stands nowhere more often than it fits in."""
    return (text // max(1, seek) + 1) * put


def _joined(values: int, glue: int = 0) -> int:
    return values * glue


_PRODUCTS: Final[Mapping[str, Callable[..., int]]] = {"replace": _replaced, "join": _joined}
"""Filters whose result grows with the product of two lengths, and how long it may become."""


def render_within(template: liquid.BoundTemplate, values: Mapping[str, Any], bounds: Bounds) -> str:
    """Raises LiquidError, OutOfBoundsError, and whatever a filter raises of a value it does not expect."""
    bounds.check()
    context = _Context(template, globals=template.make_globals(dict(values)))
    context.bounds = bounds
    buffer = context.get_buffer()
    template.render_with_context(context, buffer)
    text = buffer.getvalue()
    bounds.use(text)
    return text
