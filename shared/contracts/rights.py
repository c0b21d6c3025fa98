"""What each process may do in Kafka, and nothing beyond it: derived from the table of topics. One user a process.

READ and WRITE of a topic include DESCRIBE. Idempotent producers need no right of their own beside WRITE (Kafka 2.8 or later).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shared.contracts.topics import TOPICS, Topic

PROCESSES: Final = {
    "ingest": ("ingest",),
    "profile": ("resolver", "folder", "runtime"),
    "segmentation": ("segmentation", "runtime"),
    "messaging": ("journeys", "dispatcher", "runtime"),
    "warehouse": ("warehouse",),
    "query": ("query",),
    "control": ("control",),
    "cli": ("cli",),
    "topics": (),
}
"""Process -> its names in the columns `written by` and `read by`. `cli`: who makes keys; `topics`: the job that makes the topics."""
STAGES: Final = ("resolver", "folder", "segmentation", "journeys")
"""They read the tails of what they write: a stage that folds again must not write twice."""
GROUPED: Final = (*STAGES, "dispatcher", "warehouse")
"""They share their partitions out in the consumer group <prefix>-<name>."""
READER_GROUP: Final = "rapport-reader"
"""Nobody is a member of it: what reads partitions by hand must name a group, and Kafka asks whether it may know of it."""
TOPIC_PREFIX: Final = "rapport."


class Kind(StrEnum):
    TOPIC = "topic"
    GROUP = "group"
    TRANSACTION = "transactional-id"


class Operation(StrEnum):
    READ = "Read"
    WRITE = "Write"
    DESCRIBE = "Describe"
    CREATE = "Create"
    DESCRIBE_CONFIGS = "DescribeConfigs"
    ALTER_CONFIGS = "AlterConfigs"


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """`process` may do `operation` on what is called `name`; on all whose names begin so, if `prefixed`."""

    process: str
    kind: Kind
    name: str
    operation: Operation
    prefixed: bool = False


def rights(group_prefix: str = "rapport") -> tuple[Right, ...]:
    """All rights of an installation whose consumer groups are <group_prefix>-<stage>."""
    return tuple(sorted({*_topics(), *_groups(group_prefix), *_administration(group_prefix)}))


def _topics() -> Iterator[Right]:
    for process, names in PROCESSES.items():
        for topic in TOPICS:
            if set(names) & set(topic.writers):
                yield Right(process, Kind.TOPIC, topic.name, Operation.WRITE)
            if set(names) & (set(topic.readers) | _tail_readers(topic)):
                yield Right(process, Kind.TOPIC, topic.name, Operation.READ)


def _tail_readers(topic: Topic) -> set[str]:
    return set(topic.writers) & set(STAGES)


def _groups(prefix: str) -> Iterator[Right]:
    for process, names in PROCESSES.items():
        for name in names:
            if name in GROUPED:
                yield Right(process, Kind.GROUP, f"{prefix}-{name}", Operation.READ)
        if names:
            yield Right(process, Kind.GROUP, READER_GROUP, Operation.DESCRIBE)
    # An offset of another's group is asked for, never committed: query asks how far ClickHouse should be, control how far every stage is.
    yield Right("query", Kind.GROUP, f"{prefix}-warehouse", Operation.DESCRIBE)
    yield Right("control", Kind.GROUP, f"{prefix}-", Operation.DESCRIBE, prefixed=True)
    yield Right("messaging", Kind.TRANSACTION, f"{prefix}-dispatcher-", Operation.WRITE, prefixed=True)
    yield Right("control", Kind.TRANSACTION, f"{prefix}-definitions", Operation.WRITE)


def _administration(prefix: str) -> Iterator[Right]:
    """The API asks for offsets and numbers of partitions; the topics job makes topics and sets how long they keep their records."""
    for process in ("query", "control"):
        yield Right(process, Kind.TOPIC, TOPIC_PREFIX, Operation.DESCRIBE, prefixed=True)
    for operation in (Operation.CREATE, Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS, Operation.ALTER_CONFIGS):
        yield Right("topics", Kind.TOPIC, TOPIC_PREFIX, operation, prefixed=True)
