"""Applies a set of definitions and activates it, as a process of its own that a failpoint may kill:
`python -m tests.integration.definition_applier BOOTSTRAP BASE WORD`."""

import sys
import time

from shared.adapters.definition_activations import DefinitionActivations
from shared.adapters.definition_topic import DefinitionTopic
from shared.adapters.definition_writer import DefinitionWriter
from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.definitions import DefinitionSet, FileRef, text_hash
from tests.key_secrets import SECRETS

PREFIX = "rapport"


def made(base: DefinitionSet | None, word: str, now_ms: int | None = None) -> tuple[DefinitionSet, dict[str, str]]:
    """A set of three files that say `word`, and their texts."""
    texts = {f"{name}.yaml": f"{name}: {word}\n" for name in ("a", "b", "c")} | {"same.yaml": "the same in every set\n"}
    now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    one = DefinitionSet(
        number=1 if base is None else base.number + 1,
        base=0 if base is None else base.number,
        activated_at=now if base is None else max(now, base.activated_at + 1),
        applied_at=now,
        applied_by="test",
        why=word,
        files=tuple(FileRef(path, text_hash(text.encode())) for path, text in sorted(texts.items())),
    )
    return one, texts


def main() -> None:
    bootstrap, base, word = sys.argv[1:]
    kafka = KafkaConnection(bootstrap)
    topic = DefinitionTopic(kafka, "applier", SECRETS)
    topic.start()
    assert topic.wait(60)
    head = topic.head
    assert (0 if head is None else head.number) == int(base)
    one, texts = made(head, word)
    DefinitionWriter(kafka, PREFIX, topic, SECRETS).write(one, texts)
    DefinitionActivations(kafka, "applier").complete(one)


if __name__ == "__main__":
    main()
