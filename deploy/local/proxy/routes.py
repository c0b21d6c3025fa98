"""Which process answers a path of the API."""

from enum import StrEnum
from typing import Final

PREFIX: Final = "/api/v1/"
DOCUMENT: Final = f"{PREFIX}openapi.json"


class Backend(StrEnum):
    """A process behind the one address: services/<name>."""

    QUERY = "query"
    CONTROL = "control"


OF_CONTROL: Final = frozenset({"keys", "rejected-events", "dead-letters", "rebuilds", "definitions", "system"})
"""The first step of a path below PREFIX, without a verb (`rebuilds:plan`). Every other path is query's: it says 404 to what nobody has."""


def backend_of(path: str) -> Backend:
    """Who answers `path`, decoded."""
    step = path.removeprefix(PREFIX).partition("/")[0].partition(":")[0] if path.startswith(PREFIX) else ""
    return Backend.CONTROL if step in OF_CONTROL else Backend.QUERY
