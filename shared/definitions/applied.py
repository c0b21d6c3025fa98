"""A set of definitions as it is used: its record, and what its files say."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from shared.contracts.definitions import DefinitionSet
from shared.contracts.ids import DEFAULT_EXTERNAL_KINDS
from shared.definitions.folder import Definitions
from shared.definitions.journey import Journey


def nothing_earlier(journey: str, version: int) -> Journey | None:
    """Of a set before which there was none."""
    return None


class Applied(NamedTuple):
    """A set, and what its files say.

    `removed`: (kind, name) of what earlier sets had -> `activated_at` of the set that lacks it. `earlier`: name and version of a journey
    -> the journey, if this set or one before it has that version.
    """

    set: DefinitionSet
    read: Definitions
    removed: Mapping[tuple[str, str], int]
    earlier: Callable[[str, int], Journey | None] = nothing_earlier


def external_kinds(applied: Applied | None) -> tuple[str, ...]:
    """The kinds of external id that identify, strongest first; None: no set was ever applied. Raises DefinitionError."""
    return DEFAULT_EXTERNAL_KINDS if applied is None else applied.read.external_kinds()


def removed(sets: Iterable[DefinitionSet]) -> dict[tuple[str, str], int]:
    """What the last of `sets` (oldest first) no longer has of what others before it had, and since when."""
    gone: dict[tuple[str, str], int] = {}
    before: frozenset[tuple[str, str]] = frozenset()
    for one in sets:
        names = frozenset(one.by_name)
        gone.update(dict.fromkeys(before - names, one.activated_at))
        for name in names & gone.keys():
            del gone[name]
        before = names
    return gone
