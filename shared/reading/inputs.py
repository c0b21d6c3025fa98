"""Which topics, and which of their partitions, a reader of the log reads: by the table of topics."""

from collections.abc import Sequence

from shared.contracts.slots import partition_count
from shared.contracts.topics import TOPICS

Where = tuple[str, int]


def inputs(reader: str) -> tuple[str, ...]:
    """The data topics that a stage reads, by the table of topics."""
    return tuple(topic.name for topic in TOPICS if reader in topic.readers and not topic.compacted and topic.partitions is None)


def partitions(topics: Sequence[str]) -> list[Where]:
    return [(topic, partition) for topic in topics for partition in range(partition_count())]
