"""The topics of definitions in memory: compared and set, and told to whoever follows."""

from collections.abc import Mapping
from typing import Any

from services.control.adapters.definitions import AppliedDefinitions
from services.control.channels import HEADS
from shared.adapters.definition_topic import DefinitionTopic
from shared.adapters.definition_writer import BaseMoved
from shared.contracts.definitions import DefinitionRecord, DefinitionRefusal, DefinitionSet, set_record, text_record
from shared.contracts.key_signature import KeySecrets
from tests.key_secrets import SECRETS


class Told:
    """A message of the topic."""

    def __init__(self, record: DefinitionRecord) -> None:
        self._record = record

    def key(self) -> bytes:
        return self._record.key

    def value(self) -> bytes | None:
        return self._record.value

    def headers(self) -> list[tuple[str, bytes]]:
        return list(self._record.headers)

    def offset(self) -> int:
        return 0


class MemoryTopic(DefinitionTopic):
    """The follower, without a log; `away` makes it unable to read on."""

    def __init__(self, secrets: KeySecrets | None = None) -> None:
        self.refused: list[DefinitionRefusal] = []
        self.away = False
        self._know_nothing(secrets)
        self._on_refused = self.refused.append

    @property
    def read_to_end(self) -> bool:
        return not self.away

    def caught_up(self, seconds: float) -> bool:
        return not self.away

    def told(self, *records: DefinitionRecord) -> "MemoryTopic":
        for record in records:
            message: Any = Told(record)
            self._take(message)
        return self


class MemoryDefinitionLog:
    """Writer and activations over such a topic. `activated`: numbers of the sets that partitions were told of."""

    def __init__(self) -> None:
        self.topic = MemoryTopic(SECRETS)
        self.activated: list[int] = []
        self.failing: Exception | None = None
        used: Any = self
        self.applied = AppliedDefinitions(self.topic, used, used, HEADS)

    def write(self, one: DefinitionSet, texts: Mapping[str, str]) -> None:
        if self.failing is not None:
            raise self.failing
        head = self.topic.head
        if one.base != (0 if head is None else head.number):
            raise BaseMoved(one.base, 0 if head is None else head.number)
        self.topic.told(*(text_record(text.encode()) for text in texts.values()), set_record(one, SECRETS))

    def complete(self, head: DefinitionSet) -> list[int]:
        self.activated.append(head.number)
        return []
