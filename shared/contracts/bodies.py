"""How large the body of a request may be."""

from typing import Final

MAX_BODY: Final = 1024 * 1024
MAX_FOLDER_BYTES: Final = 16 * 1024 * 1024
"""All definition files of a folder together."""
MAX_DEFINITIONS_BODY: Final = MAX_FOLDER_BYTES * 3 // 2
"""A folder of definitions as JSON: line breaks and quotes take two bytes there."""
MOST_LARGE: Final = 2
"""Bodies above MAX_BODY that a process holds at a time; for others it is 429."""
_WITH_FILES: Final = frozenset({"/api/v1/definitions:plan", "/api/v1/definitions:apply"})


def most_bytes(path: str) -> int:
    """Of a request to `path`, decoded."""
    return MAX_DEFINITIONS_BODY if path in _WITH_FILES else MAX_BODY
