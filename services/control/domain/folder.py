"""The folder of an installation, applied where its processes start: whether it is to be, and as what."""

from collections.abc import Mapping, Sequence
from typing import Final

from shared.contracts.definitions import DefinitionSet, FileRef, text_hash
from shared.definitions.sets import Order

BY: Final = "start"
"""Who has applied such a set, in place of a key."""
WHY: Final = "the folder of definitions at the start"


def is_known(sets: Sequence[DefinitionSet], texts: Mapping[str, str], zone: str, default_locale: str) -> bool:
    """Whether the folder says what it said when it was applied last, or what the newest set says. `sets`: oldest first.

    Then what was applied by the API since stays: a folder that stands still has no say over it.
    """
    files = tuple(FileRef(path, text_hash(texts[path].encode())) for path in sorted(texts))
    last = next((one for one in reversed(sets) if one.applied_by == BY), None)
    return any(one is not None and (one.files, one.zone, one.default_locale) == (files, zone, default_locale) for one in (last, *sets[-1:]))


def order(zone: str, default_locale: str) -> Order:
    """Nobody is there to accept that a segment starts without history, so nothing is accepted: what has none is filling."""
    return Order(BY, BY, WHY, zone, default_locale)


def filling(wanted: DefinitionSet) -> str:
    """What whoever starts the installation is told of segments that have no members yet; "" if there are none."""
    if not wanted.filling:
        return ""
    names = ", ".join(sorted(wanted.filling))
    accepting = " ".join(f"--from-now {name}" for name in sorted(wanted.filling))
    return (
        f"; filling, since they ask what was not counted before, so nobody is in them: {names}. "
        f"To start them with what comes from now on, accept that: `rapport apply FOLDER {accepting}`"
    )
