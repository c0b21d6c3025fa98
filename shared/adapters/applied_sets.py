"""Sets of definitions as processes use them: found in the log, and read once.

Stages ask for the set of an instant (shared/runtime/plans.py). What always goes by the newest is made of it by `OfNow`.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final, Generic, TypeVar

import structlog

from shared.adapters.definition_topic import DefinitionTopic, MissingText
from shared.adapters.earlier_journeys import EarlierJourneys
from shared.contracts.definitions import DefinitionRefusal, DefinitionSet
from shared.definitions.applied import Applied, removed
from shared.definitions.folder import read_texts
from shared.definitions.template import Heads

T = TypeVar("T")

KEPT: Final = 4
"""So many sets are kept read: plans made of them last longer (shared/runtime/plans.py)."""
_log = structlog.get_logger("definitions")


class AppliedSets:
    """Asked by any thread. What cannot be read is a mistake of the set, as of a folder.

    Reading a large folder takes a processor for seconds. The follower's thread reads each new set as it comes, so who asks for the newest
    waits for nothing: until it is read, that is the one before.
    """

    def __init__(self, topic: DefinitionTopic, heads: Heads | None = None) -> None:
        """`heads`: the channels that there are, for who uses templates (shared/definitions/folder.py)."""
        self._topic, self._heads = topic, heads
        self._read: OrderedDict[int, Applied] = OrderedDict()
        self._lock = threading.Lock()
        self._earlier = EarlierJourneys(topic)
        self._newest: Applied | None = None

    def start(self, on_refused: Callable[[DefinitionRefusal], None] = lambda refusal: None) -> None:
        """Begin to follow. `on_refused`: as DefinitionTopic.start."""
        self._topic.start(self._came, on_refused)

    def wait(self, seconds: float) -> bool:
        """Wait until `read_to_end`, and read the newest set; returns whether that is done."""
        if not self._topic.wait(seconds):
            return False
        self._look()
        return True

    def stop(self) -> None:
        self._topic.stop()

    @property
    def read_to_end(self) -> bool:
        """Whether all sets of the log are known."""
        return self._topic.read_to_end

    @property
    def newest(self) -> Applied | None:
        """The newest set that has been read; None: none was ever applied."""
        if self._newest is None and self._topic.head is not None:
            self._look()
        return self._newest

    def at(self, activated_at: int) -> Applied | None:
        """As DefinitionTopic.at; None also while another thread reads a set."""
        found = self._topic.at(activated_at)
        return None if found is None else self._of(found, blocking=False)

    def before(self, until: int) -> int:
        """When the last set before `until` was activated, epoch ms; 0 if there is none."""
        return max((one.activated_at for one in self._topic.sets if one.activated_at < until), default=0)

    def _came(self) -> None:
        if self._topic.read_to_end:  # of a history only the newest is of use
            self._look()

    def _look(self) -> None:
        head = self._topic.head
        self._newest = (None if head is None else self._of(head)) or self._newest

    def _of(self, one: DefinitionSet, blocking: bool = True) -> Applied | None:
        if not self._lock.acquire(blocking):
            return None
        try:
            known = self._read.get(one.number)
            if known is not None and known.set.activated_at == one.activated_at:
                self._read.move_to_end(one.number)
                return known
            try:
                texts = self._topic.texts(one)
            except MissingText as missing:
                _log.error("a set of definitions is not whole", detail=str(missing))
                return None
            earlier = (other for other in self._topic.sets if other.activated_at <= one.activated_at)
            read = read_texts(texts, one.default_locale, heads=self._heads)
            applied = Applied(one, read, removed(earlier), partial(self._earlier.find, until=one.activated_at))
            self._read[one.number] = applied
            if len(self._read) > KEPT:
                self._read.popitem(last=False)
            return applied
        finally:
            self._lock.release()


class OfNow(Generic[T]):
    """Calling it answers what `made` has made of the newest set, once a set. `made` is given None before a set was ever applied."""

    def __init__(self, sets: AppliedSets, made: Callable[[Applied | None], T]) -> None:
        self._sets, self._made = sets, made
        self._kept: tuple[int, T] | None = None

    def __call__(self) -> T:
        """Raises what `made` raises."""
        newest = self._sets.newest
        number = 0 if newest is None else newest.set.number
        if self._kept is None or self._kept[0] != number:
            self._kept = number, self._made(newest)
        return self._kept[1]
