"""A real ingest process for the tests, a write key of its own, and a reader of what it wrote."""

import base64
import json
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from deploy.local import keys, topics
from deploy.local.ports import HOST, free_port
from deploy.local.process import Process
from deploy.local.settings import PROJECT
from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.control import KeyKind
from shared.contracts.events import EVENT_DECODER, REJECTED_DECODER, ReceivedEvent, RejectedEvent
from shared.contracts.slots import partition_count
from shared.contracts.topics import EVENT_RECEIVED, EVENT_REJECTED, TOPICS
from tests.key_secrets import SECRETS
from tests.waiting import wait_until


@dataclass(frozen=True)
class Logged:
    """One record of event.received."""

    partition: int
    key: str
    event: ReceivedEvent

    @property
    def context(self) -> dict[str, Any]:
        return dict(json.loads(bytes(self.event.context)))

    @property
    def properties(self) -> dict[str, Any]:
        return dict(json.loads(bytes(self.event.properties)))

    @property
    def traits(self) -> dict[str, Any]:
        return dict(json.loads(bytes(self.event.traits)))


class Ingest:
    """One running ingest service with a source and write key of its own on a broker that others may use as well."""

    def __init__(self, kafka: Process, folder: Path, **settings: Any) -> None:
        self.bootstrap: str = kafka.bootstrap  # type: ignore[attr-defined]
        topics.ensure(AdminClient({"bootstrap.servers": self.bootstrap}), TOPICS, topics.TopicSettings(kafka_bootstrap=self.bootstrap))
        self.new_source()
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        inside = free_port()
        self.inside = f"http://{HOST}:{inside}"
        env = {"RAPPORT_KAFKA_BOOTSTRAP": self.bootstrap, "RAPPORT_PORT": str(self.port), "RAPPORT_HEALTH_PORT": str(inside)}
        env |= {f"RAPPORT_{name.upper()}": str(value) for name, value in settings.items()}
        argv = [sys.executable, "-m", "services.ingest.main"]
        self.process = Process("ingest", argv, folder / f"ingest-{self.port}.log", env, PROJECT, f"{self.url}/readyz")

    def new_source(self) -> Self:
        """From now on send and read as a new source with a write key of its own."""
        self.source = f"source-{uuid.uuid4().hex[:8]}"
        self.write_key = keys.create(KafkaConnection(self.bootstrap), SECRETS, KeyKind.WRITE, self.source).secret
        self._from = self._ends()
        return self

    def basic(self) -> dict[str, str]:
        return {"authorization": "Basic " + base64.b64encode(f"{self.write_key}:".encode()).decode()}

    def post(self, body: Any, path: str = "/v1/batch", seconds: float = 20) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.post(self.url + path, content=content, headers=self.basic(), timeout=seconds)

    def logged(self) -> list[Logged]:
        """Everything of this source that stands in event.received now, by partition and offset."""
        found = []
        for partition, key, value in self._read(EVENT_RECEIVED):
            event = EVENT_DECODER.decode(value)
            if event.source_id == self.source:
                found.append(Logged(partition, key.decode(), event))
        return found

    def wait_for(self, count: int, deadline_s: float = 60) -> list[Logged]:
        """What was logged, as soon as `count` different message ids are."""

        def enough() -> list[Logged]:
            found = self.logged()
            return found if len({one.event.message_id for one in found}) >= count else []

        return list(wait_until(f"{count} events in Kafka", enough, deadline_s))

    def rejected(self) -> list[RejectedEvent]:
        found = [REJECTED_DECODER.decode(value) for _, _, value in self._read(EVENT_REJECTED)]
        return [one for one in found if one.source_id == self.source]

    def _partitions(self) -> list[TopicPartition]:
        return [TopicPartition(topic, p) for topic in (EVENT_RECEIVED, EVENT_REJECTED) for p in range(partition_count())]

    def _ends(self) -> dict[tuple[str, int], int]:
        def ask() -> dict[tuple[str, int], int]:
            try:
                with _consumer(self.bootstrap) as consumer:
                    return {(tp.topic, tp.partition): consumer.get_watermark_offsets(tp, timeout=20)[1] for tp in self._partitions()}
            except KafkaException:  # partitions made a moment ago have no leader yet
                return {}

        return dict(wait_until("Kafka tells where the topics end", ask))

    def _read(self, topic: str) -> Iterator[tuple[int, bytes, bytes]]:
        ends = self._ends()
        wanted = {p: (self._from[topic, p], ends[topic, p]) for p in range(partition_count()) if ends[topic, p] > self._from[topic, p]}
        if not wanted:
            return
        with _consumer(self.bootstrap) as consumer:
            consumer.assign([TopicPartition(topic, p, first) for p, (first, _) in wanted.items()])
            left = {p: end - first for p, (first, end) in wanted.items()}
            deadline = time.monotonic() + 30
            while any(count > 0 for count in left.values()):
                assert time.monotonic() < deadline, f"{topic} could not be read"
                for message in consumer.consume(500, 0.5):
                    assert message.error() is None, message.error()
                    if left[message.partition()] > 0:
                        yield message.partition(), message.key(), message.value()
                    left[message.partition()] -= 1


@contextmanager
def _consumer(bootstrap: str) -> Iterator[Consumer]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "ingest-tests", "enable.auto.commit": False})
    try:
        yield consumer
    finally:
        consumer.close()


@contextmanager
def running(kafka: Process, folder: Path, **settings: Any) -> Iterator[Ingest]:
    """A ready ingest service that is stopped at the end."""
    ingest = Ingest(kafka, folder, **settings)
    with ingest.process:
        yield ingest
