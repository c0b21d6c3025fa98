"""An ingest application over fakes, and a client of it."""

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
from prometheus_client import generate_latest

from services.ingest.adapters.keyring import Keyring
from services.ingest.adapters.log_writer import LogWriter
from services.ingest.adapters.tracking import Tracking
from services.ingest.app import build
from services.ingest.domain.circuit import Circuit
from services.ingest.metrics import METRICS, Metrics
from services.ingest.settings import Settings
from shared.adapters.prometheus import Registry
from shared.contracts.events import EVENT_DECODER, REJECTED_DECODER, ReceivedEvent, RejectedEvent
from shared.contracts.ids import DEFAULT_EXTERNAL_KINDS
from shared.contracts.topics import EVENT_RECEIVED, EVENT_REJECTED
from shared.testing.producers import FakeKeyTopic, FakeProducer

KEY = "wk_good"
BASIC = {"authorization": "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()}


class Rig:
    """An ingest application over fakes, and a client of it."""

    def __init__(self, **changes: Any) -> None:
        self.producer, self.keys = FakeProducer(), FakeKeyTopic()
        self.kinds: Callable[[], tuple[str, ...]] = lambda: DEFAULT_EXTERNAL_KINDS
        self.keys.add(KEY, "shop")
        self.settings = Settings(kafka_bootstrap="none:0", internal_token="inside", **changes)
        self.metrics = Metrics(Registry("ingest", METRICS))
        self.circuit = Circuit(self.settings.stall_seconds)
        self.writer = LogWriter(self.producer, self.circuit, self.metrics)
        self.keyring = Keyring(self.keys, self.settings.rate_per_key)
        self.tracking = Tracking(self.settings, self.keyring, self.writer, self.metrics, lambda: self.kinds())
        self.app = build(self.settings, self.tracking, self.keyring, lambda: {"kafka": None})
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://ingest.test:8080")

    async def post(self, path: str, body: Any, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post(path, content=content, headers=BASIC if headers is None else headers, **more)

    def exposed(self) -> str:
        """The metrics as Prometheus reads them."""
        return generate_latest(self.metrics.registry.collectors).decode()

    def events(self) -> list[ReceivedEvent]:
        return [EVENT_DECODER.decode(record.value) for record in self.producer.log if record.topic == EVENT_RECEIVED]

    def rejected(self) -> list[RejectedEvent]:
        return [REJECTED_DECODER.decode(record.value) for record in self.producer.log if record.topic == EVENT_REJECTED]
