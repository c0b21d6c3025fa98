"""A publication that Kafka does not acknowledge is seen to wait: librdkafka itself says nothing."""

import asyncio

from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.kafka_log import Publisher
from shared.runtime.stage import Output

NOBODY = "127.0.0.1:9"
DEADLINE_S = 10.0


async def test_the_wait_for_kafka_grows_until_nobody_waits() -> None:
    publisher = Publisher(KafkaConnection(NOBODY), "test")
    assert publisher.waiting_s() == 0.0
    waiting = asyncio.create_task(publisher.publish([Output("topic", 0, b"k", b"v", [], 0)]))
    async with asyncio.timeout(DEADLINE_S):
        while publisher.waiting_s() < 0.05:  # noqa: ASYNC110 - nothing says that time has passed
            await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert publisher.waiting_s() == 0.0
    publisher.close()
