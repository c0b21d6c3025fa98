"""How many partitions the data topics have: read from Kafka's metadata at the start of a process, and settled for all of it.

Whoever makes the topics chooses the count (deploy/local/topics.py). It is the same for all topics: a slot is one partition of several.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.slots import settle
from shared.runtime.ports import Halted, LogAway

CALL_SECONDS: Final = 5.0
AGAIN_SECONDS: Final = 0.5
DIFFER_SECONDS: Final = 5.0
NAMED: Final = 3
_log = structlog.get_logger("partitions")


def common_count(counts: dict[str, int]) -> int:
    """The one count of topics with these. Raises LogAway while a topic is absent (count 0), Halted where counts differ."""
    absent = sorted(name for name, count in counts.items() if not count)
    if absent:
        raise LogAway(f"topics are not there yet: {_named(absent)} (`python -m deploy.local.topics` makes them)")
    by_count: defaultdict[int, list[str]] = defaultdict(list)
    for name, count in sorted(counts.items()):
        by_count[count].append(name)
    if len(by_count) > 1:
        told = "; ".join(f"{count} partitions: {_named(names)}" for count, names in sorted(by_count.items()))
        raise Halted(
            f"topics that must have equal numbers of partitions differ: {told}. Use another cluster, or delete the topics that are wrong"
        )
    return next(iter(by_count))


def _named(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def read_count(admin: AdminClient, topics: Iterable[str]) -> int:
    """The number of partitions of these topics. Raises LogAway while Kafka or one of them is absent, Halted where they differ."""
    try:
        there = admin.list_topics(timeout=CALL_SECONDS).topics
    except KafkaException as error:
        raise LogAway(f"Kafka does not answer: {error.args[0].str()}") from error
    return common_count({name: _count(there.get(name)) for name in topics})


def _count(metadata: object) -> int:
    error: KafkaError | None = getattr(metadata, "error", None)
    return 0 if metadata is None or error is not None else len(metadata.partitions)  # type: ignore[attr-defined]


class PartitionsOfLog:
    """Reads the count for a process. `trouble`: why it is not settled yet, None once it is."""

    def __init__(self, kafka: KafkaConnection, topics: Iterable[str]) -> None:
        self.trouble: str | None = "the number of partitions has not been read from Kafka yet"
        self._topics = sorted(set(topics))
        self._kafka = kafka
        self._settling: asyncio.Task[None] | None = None

    async def settle(self) -> int:
        """Wait for Kafka and for the topics; settle the count and answer it. Raises Halted where the topics' counts differ."""
        admin = self._kafka.admin({"reconnect.backoff.max.ms": 500, "log_level": 0})
        while True:
            try:
                count = await asyncio.to_thread(read_count, admin, self._topics)
            except LogAway as away:
                if self.trouble != str(away):
                    _log.warning("waiting for the topics", detail=str(away))
                self.trouble = str(away)
                await asyncio.sleep(AGAIN_SECONDS)
            except Halted as differ:
                self.trouble = str(differ)
                raise
            else:
                settle(count)
                self.trouble = None
                return count

    def start(self) -> None:
        """Settle beside other work, for a process that serves what it can: where the counts differ it says so, and looks again."""
        self._settling = asyncio.create_task(self._keep_settling())

    async def stop(self) -> None:
        """Give up what `start` began."""
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.wait([self._settling])

    async def _keep_settling(self) -> None:
        while True:
            try:
                await self.settle()
            except Halted as differ:
                _log.error("the topics cannot be used", detail=str(differ))
                await asyncio.sleep(DIFFER_SECONDS)
            else:
                return
