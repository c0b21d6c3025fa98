"""How large the body of a request may be."""

from typing import Final

MAX_BODY: Final = 1024 * 1024
MAX_FOLDER_BYTES: Final = 16 * 1024 * 1024
"""All definition files of a folder together."""
MAX_DEFINITIONS_BODY: Final = MAX_FOLDER_BYTES * 3 // 2
"""A folder of definitions as JSON: line breaks and quotes take two bytes there."""
MAX_FILES: Final = 2_000
"""Of a set of definitions."""
MOST_LARGE: Final = 2
"""Bodies above MAX_BODY that a process holds at a time; for others it is 429."""
MOST_STRINGS: Final = 4 * MAX_FILES
"""Strings of a body above MAX_BODY: each file has two, and each segment that is accepted one."""
MOST_COMMAS: Final = 2_000_000
"""A comma in eight bytes of all files. Beyond these two, reading the JSON alone would keep everybody else waiting."""
_WITH_FILES: Final = frozenset({"/api/v1/definitions:plan", "/api/v1/definitions:apply"})


def most_bytes(path: str) -> int:
    """Of a request to `path`, decoded."""
    return MAX_DEFINITIONS_BODY if path in _WITH_FILES else MAX_BODY


def too_many_parts(body: bytes | bytearray) -> str | None:
    """Why a large body is not read as JSON; None if it is. Counted without reading it: more than there are is never found."""
    if body.count(b'"') - body.count(b'\\"') > 2 * MOST_STRINGS:
        return f"a body of more than {MAX_BODY} bytes has at most {MOST_STRINGS} strings: {MAX_FILES} files are the most of a set"
    if body.count(b",") > MOST_COMMAS:
        return f"a body of more than {MAX_BODY} bytes has at most {MOST_COMMAS} commas"
    return None
