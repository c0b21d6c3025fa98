"""Journeys as sets before the newest had them, found by name and version: a passage goes by the version that it entered.

Which there are follows from the log: a version is there under a set if that set has it, or one before it that is kept. They are as many as
the history of sets holds (shared/definitions/sets.py bounds it); a file is read when somebody is found inside, and few are kept read.
"""

import threading
from collections import OrderedDict
from typing import Final, NamedTuple

import structlog

from shared.adapters.definition_topic import DefinitionTopic
from shared.contracts.definitions import DefinitionSet
from shared.definitions.journey import Journey
from shared.definitions.models import read
from shared.definitions.yaml_text import DefinitionError, parse

KEPT: Final = 200
"""So many journeys are kept read."""
_log = structlog.get_logger("definitions")


class _Written(NamedTuple):
    """Where a version stands first: in the set of `since`, in the file `path`."""

    since: int
    path: str
    sha256: str


class EarlierJourneys:
    """Asked by any thread."""

    def __init__(self, topic: DefinitionTopic) -> None:
        self._topic = topic
        self._lock = threading.Lock()
        self._written: dict[tuple[str, int], _Written] = {}
        self._learnt: tuple[int, int] = (0, 0)
        self._read: OrderedDict[str, Journey] = OrderedDict()

    def find(self, name: str, version: int, until: int) -> Journey | None:
        """The journey `name` as it was in `version`, if a set that was activated at `until` or before has it."""
        with self._lock:
            self._learn(self._topic.sets)
            written = self._written.get((name, version))
            return None if written is None or written.since > until else self._journey(written)

    def _learn(self, sets: list[DefinitionSet]) -> None:
        """Of sets that came since; of all, if the oldest have been deleted: so what is known is a matter of the log alone."""
        first, last = self._learnt
        if not sets or sets[0].number != first:
            self._written.clear()
            last = 0
        for one in sets:
            if one.number > last:
                self._take(one)
        self._learnt = (sets[0].number, sets[-1].number) if sets else (0, 0)

    def _take(self, one: DefinitionSet) -> None:
        hashes = {file.path: file.sha256 for file in one.files}
        for definition in one.definitions:
            if definition.kind == Journey.kind and (path := next(iter(definition.files), None)) in hashes:
                self._written.setdefault((definition.name, definition.version), _Written(one.activated_at, path, hashes[path]))

    def _journey(self, written: _Written) -> Journey | None:
        if (known := self._read.get(written.sha256)) is not None:
            self._read.move_to_end(written.sha256)
            return known
        text = self._topic.text(written.sha256)
        if text is None:
            _log.error("the text of an earlier journey is not in the log", file=written.path)
            return None
        try:
            journey = read(parse(text, written.path), Journey)
        except DefinitionError as error:
            _log.error("an earlier journey cannot be read by this release", detail=str(error))
            return None
        self._read[written.sha256] = journey
        if len(self._read) > KEPT:
            self._read.popitem(last=False)
        return journey
