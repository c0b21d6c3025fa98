"""A broker that restarts leads its partitions in a new epoch: who still holds the old one must learn that, not ask in vain for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

import pytest

from deploy.local.kafka import Kafka
from shared.adapters.kafka_log import KafkaLog, Publisher
from shared.reading import away
from shared.reading.log import KafkaReads
from shared.runtime import ports
from tests.integration.topic import make_topic

pytestmark = pytest.mark.real

TOPIC = "rapport.tests.restarted.v1"
PLACES = [(TOPIC, partition) for partition in range(8)]
RESTARTS = 3
DEADLINE_SECONDS = 60.0


@pytest.fixture
def broker(fresh_kafka: Kafka) -> Kafka:
    """A Kafka of this test alone, with one topic."""
    make_topic(fresh_kafka.bootstrap, TOPIC, len(PLACES))
    return fresh_kafka


async def answered(ask: Callable[[], Awaitable[object]]) -> object:
    """The first answer. Raises LogAway when there is none within the deadline."""
    end = monotonic() + DEADLINE_SECONDS
    while True:
        try:
            return await ask()
        except (ports.LogAway, away.LogAway):
            if monotonic() > end:
                raise
            await asyncio.sleep(0.5)


async def test_offsets_are_told_again_after_the_broker_was_killed_and_restarted(broker: Kafka) -> None:
    publisher = Publisher(broker.connection, "rapport-tests")
    log, reads = KafkaLog(broker.connection, publisher), KafkaReads(broker.connection)
    wanted = dict.fromkeys(PLACES, 0)
    try:
        for _ in range(RESTARTS):
            assert await answered(lambda: log.ends(PLACES)) == wanted
            assert await answered(lambda: reads.ends(PLACES)) == wanted
            await asyncio.to_thread(broker.kill)
            await asyncio.to_thread(broker.__enter__)
        assert await answered(lambda: log.ends(PLACES)) == wanted
        assert await answered(lambda: reads.ends(PLACES)) == wanted
    finally:
        reads.close()
        publisher.close()
