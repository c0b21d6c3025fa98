"""A process that asks Kafka for offsets as the query service and the workers do, of many threads, and says what it was told."""

import asyncio
import sys
import threading

from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.kafka_log import KafkaLog, Publisher
from shared.reading import away
from shared.reading.log import KafkaReads
from shared.runtime import ports

ASKERS = 3
PAUSE_SECONDS = 0.1


async def keep_asking(bootstrap: str, topic: str, partitions: int) -> None:
    """A line for each answer of Kafka, and for each that did not come, until standard input ends."""
    kafka = KafkaConnection(bootstrap)
    publisher = Publisher(kafka, "rapport-tests")
    log, reads = KafkaLog(kafka, publisher), KafkaReads(kafka)
    places = [(topic, partition) for partition in range(partitions)]
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)), daemon=True).start()
    questions = (
        lambda: reads.ends(places),
        lambda: reads.bounds(topic),
        lambda: reads.committed("rapport-tests-a", places),
        lambda: reads.committed("rapport-tests-b", places),
        lambda: log.bounds(places),
        lambda: log.committed("rapport-tests-a", places),
    )

    async def ask(number: int) -> None:
        while not ended.is_set():
            try:
                await questions[number % len(questions)]()
                said = "told"
            except (ports.LogAway, away.LogAway):
                said = "away"
            sys.stdout.write(f"{said} {number % len(questions)}\n")
            sys.stdout.flush()
            await asyncio.sleep(PAUSE_SECONDS)

    await asyncio.gather(*(ask(number) for number in range(ASKERS * len(questions))))
    reads.close()
    publisher.close()


if __name__ == "__main__":
    asyncio.run(keep_asking(sys.argv[1], sys.argv[2], int(sys.argv[3])))
