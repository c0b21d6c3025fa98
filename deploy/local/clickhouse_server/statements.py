"""Reads as much of a statement as an HTTP interface must know: where its FORMAT stands and where an INSERT's data begin.

The engine parses for itself; what is read here decides only how a statement is handed to it, and which doors out of the
engine stay shut (files of this machine, objects of this Python process).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from deploy.local.clickhouse_server import errors

_TOKEN = re.compile(
    rb"""
      (?P<space>\s+)
    | (?P<comment>--[^\n]*|\#[ !][^\n]*|/\*.*?(?:\*/|\Z))
    | (?P<string>'(?:[^'\\]|\\.|'')*'?)
    | (?P<quoted>`(?:[^`\\]|\\.|``)*`?|"(?:[^"\\]|\\.|"")*"?)
    | (?P<heredoc>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
    | (?P<number>\d\w*)
    | (?P<word>[A-Za-z_\x80-\xff][\w\x80-\xff]*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_SKIPPED: Final = frozenset({"space", "comment"})

TARGET_AT: Final = 2  # INSERT INTO target: from here on FORMAT is a keyword and no table's name
LONGEST_QUOTE: Final = 100
NO_FORMATS: Final = (b"ASC", b"DESC", b"END")
"""What can stand last behind a column that is called `format`."""

CLOSED_FUNCTIONS: Final = frozenset({b"file", b"python"})
"""`file` as a plain function reads any file; `Python` reads objects of this process. Neither asks for a grant."""


@dataclass(frozen=True)
class Token:
    """One token; `depth` counts the brackets open around it."""

    kind: str
    text: bytes
    start: int
    end: int
    depth: int

    def says(self, *words: bytes) -> bool:
        """Whether this is one of these keywords (given in upper case)."""
        return self.kind == "word" and self.text.upper() in words


@dataclass(frozen=True)
class Statement:
    """A statement, cut where the interface must cut it. `text` is without its FORMAT clause and without a final semicolon.

    `tail` is what came after the FORMAT clause (a SETTINGS clause). `data_at` is where the data of an INSERT begin in what
    was read, and None if it carries none.
    """

    text: bytes
    tail: bytes = b""
    format: str | None = None
    data_at: int | None = None


def tokens(sql: bytes) -> Iterator[Token]:
    """Tokens without white space and comments. Text that cannot be closed (a string, a comment) runs to the end."""
    depth = 0
    for found in _TOKEN.finditer(sql):
        kind, text = found.lastgroup or "other", found[0]
        if kind in _SKIPPED:
            continue
        if text in (b")", b"]", b"}") and kind == "other":
            depth -= 1
        yield Token(kind, text, found.start(), found.end(), depth)
        if text in (b"(", b"[", b"{") and kind == "other":
            depth += 1


def insert_with_data(head: bytes) -> Statement | None:
    """The INSERT that `head` begins with, if its data follow it (`FORMAT X` or `VALUES`); None for anything else.

    `head` may end within the data, and must hold all before them. Raises ClickHouseError for closed doors.
    """
    before: Token | None = None
    for nth, token in enumerate(tokens(head)):
        if nth == 0 and not token.says(b"INSERT"):
            return None
        if token.depth == 0 and (token.text == b";" or token.says(b"SELECT", b"WITH", b"WATCH")):
            return None
        if before is not None:
            _refuse_closed(before, token)
        if token.depth == 0 and token.says(b"VALUES"):
            return Statement(head[: token.start], format="Values", data_at=token.end)
        if nth > TARGET_AT + 1 and before is not None and before.depth == 0 and before.says(b"FORMAT") and token.kind == "word":
            named = token.text.decode()
            return Statement(head[: before.start], format=named, data_at=_after_format(head, token.end))
        before = token
    return None


def of_file(statement: Statement, path: bytes) -> bytes:
    """The INSERT of `insert_with_data`, with its data in the file `path`, whose name needs no quoting."""
    cut = next((token.start for token in tokens(statement.text) if token.depth == 0 and token.says(b"SETTINGS")), len(statement.text))
    into, settings = statement.text[:cut].rstrip(), statement.text[cut:]
    form = (statement.format or "").encode()
    return b"%b\nFROM INFILE '%b' COMPRESSION 'none' %b\nFORMAT %b" % (into, path, settings, form)


def _after_format(head: bytes, at: int) -> int:
    """Data begin after the blanks and the one line break behind the format's name."""
    while head[at : at + 1] in (b" ", b"\t"):
        at += 1
    if head[at : at + 2] == b"\r\n":
        return at + 2
    return at + 1 if head[at : at + 1] == b"\n" else at


def whole(sql: bytes) -> Statement:
    """A statement that carries no data. Raises ClickHouseError for several statements in one, and for closed doors."""
    found = list(tokens(sql))
    for before, token in pairwise(found):
        if before.text == b";" and before.depth == 0:
            rest = sql[before.start : before.start + LONGEST_QUOTE].decode(errors="replace")
            sentence = f"Syntax error (Multi-statements are not allowed): failed at position {before.end} (end of query): {rest}."
            raise errors.refused(errors.SYNTAX_ERROR, sentence)
        _refuse_closed(before, token)
    if found and found[-1].text == b";" and found[-1].depth == 0:
        found.pop()
    for nth in range(len(found) - 1, 0, -1):
        keyword, name = found[nth - 1], found[nth]
        last = nth == len(found) - 1 or found[nth + 1].says(b"SETTINGS")
        if last and keyword.depth == 0 and keyword.says(b"FORMAT") and name.kind == "word" and not name.says(*NO_FORMATS):
            end = found[-1].end
            return Statement(sql[: keyword.start], sql[name.end : end], name.text.decode())
    if not found:
        raise errors.refused(errors.SYNTAX_ERROR, "Empty query: failed at position 1 (end of query).")
    return Statement(sql[: found[-1].end])


def _refuse_closed(before: Token, token: Token) -> None:
    if before.says(b"INTO", b"FROM") and token.says(b"OUTFILE", b"INFILE"):
        raise errors.refused(errors.SUPPORT_IS_DISABLED, f"{before.text.decode().upper()} {token.text.decode().upper()} is not allowed.")
    if token.text == b"(" and before.kind in ("word", "quoted") and before.text.strip(b'`"').lower() in CLOSED_FUNCTIONS:
        name = before.text.decode(errors="replace")
        raise errors.refused(errors.ACCESS_DENIED, f"Not enough privileges. {name} is closed here: it would leave the database.")
