"""Fakes of the Kafka producer and of the key topic for services that take events over HTTP."""

import asyncio
from collections.abc import Sequence
from enum import Enum

from shared.adapters.kafka_producer import NotAcknowledged, QueueFull, Record
from shared.contracts.control import KeyChanged, KeyKind, key_hash
from shared.contracts.slots import partition_count


class Broker(Enum):
    """How the fake broker behaves."""

    WELL = "acknowledges everything"
    REFUSING = "acknowledges nothing, and says so"
    SILENT = "never answers"
    FULL = "the client's queue is full"


class FakeProducer:
    """Keeps what was acknowledged in `log`, in order; has the shape of shared.adapters.kafka_producer.AcknowledgedProducer."""

    def __init__(self) -> None:
        self.log: list[Record] = []
        self.broker = Broker.WELL
        self.waited = 0.0
        self.in_flight = 0

    def send(self, records: Sequence[Record]) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        match self.broker:
            case Broker.WELL:
                self.log += records
                future.set_result(None)
            case Broker.REFUSING:
                future.set_exception(NotAcknowledged("the broker refuses"))
            case Broker.SILENT:
                self.in_flight += len(records)
            case Broker.FULL:
                raise QueueFull
        return future

    def waiting_seconds(self) -> float:
        return self.waited

    def serve_events(self) -> None:
        """Nothing ever happens unasked."""

    async def partitions(self, topic: str, seconds: float) -> int | None:
        return partition_count() if self.broker in (Broker.WELL, Broker.FULL) else None

    async def close(self, seconds: float) -> int:
        return self.in_flight


class FakeKeyTopic:
    """Keys as in shared.adapters.key_topic.KeyTopic. `late` ones are in the topic, but not read yet."""

    def __init__(self) -> None:
        self.keys: dict[str, KeyChanged] = {}
        self.late: dict[str, KeyChanged] = {}
        self.read_to_end = True
        self.reachable = True
        self.questions = 0

    def write_key(self, secret: str, source_id: str, *, revoked_at: int | None = None, expires_at: int | None = None) -> KeyChanged:
        """A key's record, to be put into `keys` or `late`."""
        return KeyChanged(
            kind=KeyKind.WRITE,
            hash=key_hash(secret),
            name=source_id,
            created_at=0,
            source_id=source_id,
            revoked_at=revoked_at,
            expires_at=expires_at,
        )

    def add(self, secret: str, source_id: str) -> None:
        """Make a key known."""
        self.keys[key_hash(secret)] = self.write_key(secret, source_id)

    def caught_up(self, seconds: float) -> bool:
        """Reads what is late."""
        self.questions += 1
        if self.reachable:
            self.keys.update(self.late)
        return self.reachable
