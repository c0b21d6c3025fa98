"""A question to ClickHouse, and what it binds. No value stands in the text."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Bound = str | int | tuple[str, ...] | tuple[int, ...]
Column = tuple[str, str]
"""An alias and its expression."""


@dataclass(frozen=True)
class Query:
    """One SELECT. `sql` names every value as `{name:Type}`; `parameters` has the values."""

    sql: str
    parameters: Mapping[str, Bound]


class Parameters:
    """The values that one query binds, each once."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, Bound], str] = {}

    def bind(self, type_: str, value: Bound) -> str:
        """`value` as an expression of ClickHouse's type `type_`."""
        name = self._names.setdefault((type_, value), f"p{len(self._names)}")
        return f"{{{name}:{type_}}}"

    def text(self, value: str) -> str:
        return self.bind("String", value)

    def number(self, value: int) -> str:
        return self.bind("Int64", value)

    def values(self) -> dict[str, Bound]:
        """What was bound, by name."""
        return {name: value for (_, value), name in self._names.items()}


def layered(source: str, columns: Sequence[Column]) -> str:
    """A SELECT of everything in `source` and of `columns`, each of which may speak of those before it.

    What speaks of another stands in a SELECT around it: ClickHouse puts aliases of one SELECT in as text, and they would grow without end.
    """
    layers: dict[str, int] = {}
    for alias, sql in columns:
        layers[alias] = 1 + max((layers[word] for word in re.findall(r"\w+", sql) if word in layers), default=0)
    found = f"SELECT * FROM {source}"  # noqa: S608 no value stands in the text
    for layer in range(1, max(layers.values(), default=0) + 1):
        added = ", ".join(f"{sql} AS {alias}" for alias, sql in columns if layers[alias] == layer)
        found = f"SELECT *, {added} FROM ({found})"  # noqa: S608 as above
    return found


def let(body: str, **named: str) -> str:
    """`body`, which may speak of what is `named`. Each is computed once, and stands once in the text and in ClickHouse's plan."""
    return f"arrayMap(({', '.join(named)}) -> {body}, {', '.join(f'[{sql}]' for sql in named.values())})[1]"
