"""The folder of an installation, applied where its processes start: whether it is to be, and as what."""

from collections.abc import Mapping, Sequence
from typing import Final

from shared.contracts.definitions import DefinitionSet, FileRef, text_hash
from shared.definitions.folder import Definitions
from shared.definitions.segment import Segment
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


def order(read: Definitions, zone: str, default_locale: str) -> Order:
    """Nobody is there to be asked: what has no history starts from now."""
    return Order(BY, BY, WHY, zone, default_locale, frozenset(one.definition.name for one in read.of(Segment)))
