"""The folder of an installation, applied where its processes start: whether it is to be, and as what."""

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Final

from shared.contracts.definitions import DefinitionSet, FileRef, text_hash
from shared.definitions.sets import Order

BY: Final = "start"
"""Who has applied such a set, in place of a key."""
WHY: Final = "the folder of definitions at the start"
WHY_SETTINGS: Final = "the time zone and the locale of the settings at the start"


class AtStart(Enum):
    """What is to be applied: nothing; the folder; what holds, under the time zone and the locale of now."""

    NOTHING = auto()
    FOLDER = auto()
    WHAT_HOLDS = auto()


def at_start(sets: Sequence[DefinitionSet], texts: Mapping[str, str], zone: str, default_locale: str) -> AtStart:
    """`sets`: oldest first; `texts`: of the folder.

    A folder that says what it said when it was applied last, or what the newest set says, has no say over what the API applied since.
    """
    if not sets:
        return AtStart.FOLDER
    files = tuple(FileRef(path, text_hash(texts[path].encode())) for path in sorted(texts))
    head = sets[-1]
    last = next((one for one in reversed(sets) if (one.applied_by, one.why) == (BY, WHY)), head)
    if files not in (head.files, last.files):
        return AtStart.FOLDER
    return AtStart.NOTHING if (head.zone, head.default_locale) == (zone, default_locale) else AtStart.WHAT_HOLDS


def order(what: AtStart, zone: str, default_locale: str) -> Order:
    """Nobody is there to accept that a segment starts without history, so nothing is accepted: what has none is filling."""
    return Order(BY, BY, WHY if what is AtStart.FOLDER else WHY_SETTINGS, zone, default_locale)


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
