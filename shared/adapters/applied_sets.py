"""Sets of definitions as processes use them: found in the log, and read once.

Stages ask for the set of an instant (shared/runtime/plans.py); what always goes by the newest asks for `newest`.
"""

import threading
from collections import OrderedDict
from typing import Final

import structlog

from shared.adapters.definition_topic import DefinitionTopic, MissingText
from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.definitions import DefinitionSet
from shared.definitions.applied import Applied, removed
from shared.definitions.folder import read_texts
from shared.definitions.template import Heads

KEPT: Final = 4
"""So many sets are kept read: plans made of them last longer (shared/runtime/plans.py)."""
_log = structlog.get_logger("definitions")


class AppliedSets:
    """Asked by any thread. What cannot be read is a mistake of the set, as of a folder."""

    def __init__(self, kafka: KafkaConnection, client_id: str, heads: Heads | None = None) -> None:
        """`heads`: the channels that there are, for who uses templates (shared/definitions/folder.py)."""
        self._topic = DefinitionTopic(kafka, client_id)
        self._heads = heads
        self._read: OrderedDict[int, Applied] = OrderedDict()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to follow."""
        self._topic.start()

    def wait(self, seconds: float) -> bool:
        """Wait until `read_to_end`; returns it."""
        return self._topic.wait(seconds)

    def stop(self) -> None:
        self._topic.stop()

    @property
    def read_to_end(self) -> bool:
        return self._topic.read_to_end

    @property
    def number(self) -> int:
        """Of the newest set; 0: none was ever applied."""
        head = self._topic.head
        return 0 if head is None else head.number

    @property
    def newest(self) -> Applied | None:
        """The newest set whose texts are all there; None: none was ever applied."""
        head = self._topic.head
        return None if head is None else self._of(head)

    def at(self, activated_at: int) -> Applied | None:
        """As DefinitionTopic.at."""
        found = self._topic.at(activated_at)
        return None if found is None else self._of(found)

    def before(self, until: int) -> int:
        """When the last set before `until` was activated, epoch ms; 0 if there is none."""
        return max((one.activated_at for one in self._topic.sets if one.activated_at < until), default=0)

    def _of(self, one: DefinitionSet) -> Applied | None:
        with self._lock:
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
            applied = Applied(one, read_texts(texts, one.default_locale, heads=self._heads), removed(earlier))
            self._read[one.number] = applied
            if len(self._read) > KEPT:
                self._read.popitem(last=False)
            return applied
