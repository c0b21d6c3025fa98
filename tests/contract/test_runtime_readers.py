"""The log's readers on real Kafka: one that has nothing left to read gives back what it holds, and nobody who reads notices."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from time import monotonic
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.local.process import Process
from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.kafka_log import KafkaLog, Publisher
from shared.contracts.slots import partition_count
from shared.runtime.stage import Output

pytestmark = pytest.mark.real

RECORDS = 20
DEADLINE_S = 30.0


class Filled:
    """A topic with `RECORDS` records in each partition, and logs that read it."""

    def __init__(self, bootstrap: str, publisher: Publisher) -> None:
        self.topic = f"readers-{uuid4().hex[:8]}"
        self._bootstrap = bootstrap
        self._publisher = publisher
        self._logs: list[KafkaLog] = []

    async def fill(self) -> None:
        admin = AdminClient({"bootstrap.servers": self._bootstrap})
        await asyncio.to_thread(admin.create_topics([NewTopic(self.topic, partition_count(), 1)])[self.topic].result, 30)
        await self.append(range(RECORDS))

    async def append(self, numbers: Iterable[int]) -> None:
        """A record for each number to each partition."""
        await self._publisher.publish(
            [Output(self.topic, partition, b"key", str(n).encode(), [], 0) for n in numbers for partition in range(partition_count())]
        )

    def log(self, reader_idle_s: float) -> KafkaLog:
        self._logs.append(KafkaLog(KafkaConnection(self._bootstrap), self._publisher, reader_idle_s))
        return self._logs[-1]

    async def read(self, log: KafkaLog, partition: int, page: int = RECORDS) -> list[bytes | None]:
        """The values of a partition, read in ranges of `page` records."""
        found: list[bytes | None] = []
        for start in range(0, RECORDS, page):
            at, end = start, min(start + page, RECORDS)
            while at < end:
                records, at = await log.read(self.topic, partition, at, end)
                found += [record.value for record in records]
        return found

    def close(self) -> None:
        for log in self._logs:
            log.close_readers()


@pytest.fixture
async def filled(kafka: Process) -> AsyncIterator[Filled]:
    bootstrap: str = kafka.bootstrap  # type: ignore[attr-defined]
    publisher = Publisher(KafkaConnection(bootstrap), "readers")
    made = Filled(bootstrap, publisher)
    await made.fill()
    yield made
    await asyncio.to_thread(made.close)
    publisher.close()


async def closed(log: KafkaLog) -> None:
    """Return once no reader is open."""
    end = monotonic() + DEADLINE_S
    while log.open_readers:
        assert monotonic() < end, f"{log.open_readers} readers are still open"
        await asyncio.sleep(0.02)


ALL = [str(n).encode() for n in range(RECORDS)]


async def test_readers_with_nothing_left_to_read_are_closed_and_open_again_when_asked(filled: Filled) -> None:
    log = filled.log(reader_idle_s=0.3)
    assert await asyncio.gather(*(filled.read(log, partition) for partition in range(partition_count()))) == [ALL] * partition_count()
    await closed(log)
    await filled.append([RECORDS])
    records, at = await log.read(filled.topic, 0, RECORDS, RECORDS + 1)  # on from where it stood
    assert ([record.value for record in records], at) == ([str(RECORDS).encode()], RECORDS + 1)
    assert await filled.read(log, 1) == ALL
    await closed(log)


async def test_a_reader_that_is_asked_again_in_time_stays_open(filled: Filled) -> None:
    log = filled.log(reader_idle_s=3600.0)
    assert await filled.read(log, 3, page=4) == ALL
    assert log.open_readers == 1
    assert await filled.read(log, 3) == ALL
    assert log.open_readers == 1


async def test_closing_never_disturbs_those_who_read(filled: Filled) -> None:
    """Readers are closed all the time: under one who goes on where it stood, and under several, each at its own place."""
    log = filled.log(reader_idle_s=0.0)
    reading = asyncio.gather(*(filled.read(log, partition, page) for partition, page in ((0, 1), (1, 1), (1, 3), (1, 7))))
    while not reading.done():
        await asyncio.to_thread(log.close_readers)
    assert await reading == [ALL] * 4
    await closed(log)


async def test_a_reader_whose_asker_went_away_is_closed_too(filled: Filled) -> None:
    log = filled.log(reader_idle_s=0.3)
    asker = asyncio.create_task(log.read(filled.topic, 0, 0, RECORDS))
    await asyncio.sleep(0)  # it has asked, and has no answer yet
    asker.cancel()
    assert isinstance((await asyncio.gather(asker, return_exceptions=True))[0], asyncio.CancelledError)
    assert await filled.read(log, 1) == ALL
    await closed(log)
