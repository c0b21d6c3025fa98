"""What one query reads of each event: the events that leaves name, and values out of the record's own text.

Of equal keys the last one counts, a dot in a key is a dot, a number keeps its digits, as values.py reads it. Most records are read by
ClickHouse's own parser of JSON. It makes doubles of numbers, so a record with a number that a double may not hold is cut into tokens.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shared.rules.sql.numbers import scaled
from shared.rules.sql.query import Column, Parameters

_VAST: Final = r"'[:,\\[]\\s*-?(?:[0-9.]{16}|[0-9.]+[eE])'"
"""Finds every number of more than 15 digits or with an exponent, and some texts. Any other number is a double, printed as it was."""
_TOKENS: Final = r"""'"(?:[^"\\\\]|\\\\.)*"(?:\\s*:)?|[^\\s"{}\\[\\]:,]+|[{}\\[\\]]'"""
"""A key with its colon; a text; a number, truth value or null; a bracket."""
_DEPTHS: Final = "arrayCumSum(x -> multiIf(x IN ('{', '['), 1, x IN ('}', ']'), -1, 0), tokens)"
"""How deep it stands: a key of the record 1, of an object in it 2."""
_NAME: Final = "if(position(x.1, '\\\\') = 0, extract(x.1, '^\"([^\"]*)\"'), JSONExtractString(extract(x.1, '^(.*\")\\\\s*:$')))"
_OWNER: Final = "arrayFill((x, depth) -> depth = 1 AND endsWith(x, ':'), tokens, depths)"
"""The key of the record in whose value it stands."""
_CUT: Final = (
    f"arrayMap(x -> ({_NAME}, x.2, x.3), arrayFilter(x -> x.4 = 2 AND endsWith(x.1, ':'),"
    f" arrayZip(tokens, arrayShiftLeft(tokens, 1), {_OWNER}, depths)))"
)
"""(name, JSON or its first token, owner) of whatever stands in an object of the record, in order."""
_RECORD: Final = (
    ("is_vast", f"match(raw, {_VAST})"),
    ("tokens", f"extractAll(if(is_vast, raw, ''), {_TOKENS})"),
    ("depths", _DEPTHS),
    ("cut", _CUT),
    ("plain", "if(is_vast, '', raw)"),
)


class Section(StrEnum):
    """Where in a record values stand."""

    PROPERTIES = "properties"
    TRAITS = "traits"


@dataclass
class Value:
    """One property or trait. `token` is its JSON, empty where it is absent; the other two are made only for those who ask."""

    token: str
    reads_text: bool = False
    reads_number: bool = False

    @property
    def said(self) -> str:
        """Of a trait, its JSON in one row, empty where that row does not say it."""
        return f"{self.token}_said"

    @property
    def text(self) -> str:
        """Its text, NULL if it is none."""
        self.reads_text = True
        return f"{self.token}_text"

    @property
    def number(self) -> str:
        """Its number in ten-thousandths, of a decimal text too, NULL if it is none."""
        self.reads_number = True
        return f"{self.token}_number"

    @property
    def is_there(self) -> str:
        return f"{self.token} NOT IN ('', 'null')"

    def columns(self) -> list[Column]:
        """What was asked for."""
        found = []
        if self.reads_text or self.reads_number:
            found.append((f"{self.token}_text", f"if(startsWith({self.token}, '\"'), JSONExtractString({self.token}), NULL)"))
        if self.reads_number:
            found.append((f"{self.token}_number", scaled(f"ifNull({self.token}_text, {self.token})")))
        return found


class Reading:
    """Collects what the leaves of one query need; what two of them need is read once."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.events: dict[str, int | None] = {}
        self._values: dict[tuple[Section, str], Value] = {}
        self._aggregates: dict[str, str] = {}

    def event(self, name: str, since: int | None) -> str:
        """The condition that a row is an event `name`; those before `since` (None: none) need not be read."""
        before = self.events.get(name, since)
        self.events[name] = None if since is None or before is None else min(since, before)
        return f"event_name = {self.parameters.text(name)}"

    def value(self, section: Section, name: str) -> Value:
        """The value `name` of the row's record; of a trait, the one that holds of the person."""
        prefix = "v" if section is Section.PROPERTIES else "t"
        return self._values.setdefault((section, name), Value(f"{prefix}{len(self._values)}"))

    def aggregate(self, sql: str) -> str:
        """The column of an aggregate over a person's rows."""
        return self._aggregates.setdefault(sql, f"a{len(self._aggregates)}")

    def traits(self) -> dict[str, Value]:
        return {name: value for (section, name), value in self._values.items() if section is Section.TRAITS}

    def properties(self) -> dict[str, Value]:
        return {name: value for (section, name), value in self._values.items() if section is Section.PROPERTIES}

    def aggregates(self) -> list[Column]:
        return [(alias, sql) for sql, alias in self._aggregates.items()]

    def members(self) -> list[Column]:
        """Columns of a row that cut its record up, as far as anything asks for it."""
        found: list[Column] = list(_RECORD) if self._values else []
        for section in sorted({section for section, _ in self._values}):
            theirs = f"arrayMap(x -> (x.1, x.2), arrayFilter(x -> x.3 = '\"{section}\":', cut))"
            found.append((section, f"arrayConcat(JSONExtractKeysAndValuesRaw(plain, '{section}'), {theirs})"))
        for (section, name), value in self._values.items():
            alias = value.said if section is Section.TRAITS else value.token
            found.append((alias, f"arrayLast(x -> x.1 = {self.parameters.text(name)}, {section}).2"))
        return found
