"""Ingest: the tracking API on one port. `python -m services.ingest.main`; settings.py says what it reads from the environment."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI

from services.ingest.adapters.connections import DOORS, bounded
from services.ingest.adapters.inside import InsidePort
from services.ingest.adapters.keyring import Keyring
from services.ingest.adapters.log_writer import LogWriter, counting_failures
from services.ingest.adapters.server import serve
from services.ingest.adapters.tracking import Tracking
from services.ingest.app import IngestApp, build
from services.ingest.domain.circuit import Circuit
from services.ingest.metrics import METRICS, Metrics
from services.ingest.settings import read_settings
from shared.adapters.applied_sets import AppliedSets, OfNow
from shared.adapters.definition_topic import DefinitionTopic
from shared.adapters.kafka_producer import AcknowledgedProducer
from shared.adapters.key_topic import KeyTopic
from shared.adapters.prometheus import Registry
from shared.contracts.control import KeyKind
from shared.definitions.applied import external_kinds
from shared.runtime.collector import calm_collector
from shared.runtime.logs import configure_logs

FIRST_SECONDS = 5.0
_log = structlog.get_logger()


def create() -> IngestApp:
    """One process's application, wired to Kafka when its lifespan begins."""
    settings = read_settings()
    configure_logs(settings.log_level, "ingest")
    metrics = Metrics(Registry("ingest", METRICS))
    keys = KeyTopic(settings.kafka, "rapport-ingest-keys", KeyKind.WRITE, settings.key_secrets, metrics.key_refused)
    keyring = Keyring(keys, settings.rate_per_key)
    producer = AcknowledgedProducer(
        settings.kafka,
        "rapport-ingest",
        # A fatal error leaves nothing to drain: what was in flight fails, and SDKs send it again to the restarted process.
        on_failure=counting_failures(metrics, lambda: os._exit(1)),
        delivery_timeout_ms=int(settings.delivery_timeout_seconds * 1000),
        max_queued_bytes=settings.max_queued_bytes,
    )
    writer = LogWriter(producer, Circuit(settings.stall_seconds), metrics)
    sets = AppliedSets(DefinitionTopic(settings.kafka, "rapport-ingest-definitions", settings.key_secrets))
    tracking = Tracking(settings, keyring, writer, metrics, OfNow(sets, external_kinds))

    def readiness() -> dict[str, str | None]:
        return {
            "kafka": None if writer.available else "events cannot be stored now",
            "write_keys": keys.trouble,
            "definitions": None if sets.read_to_end else "not read yet",
        }

    def keys_changed() -> None:
        keyring.forget()
        metrics.write_keys.set(len(keys.keys))

    inside = InsidePort(settings.host, settings.health_port, readiness, metrics.registry.collectors)
    doors = bounded(settings, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        await inside.start()
        keys.start(keys_changed)
        sets.start(metrics.definition_refused)
        writer.start()
        # A process that shares its port should be able to answer its first request; but an outage must be told as a 503.
        await asyncio.gather(writer.wait(FIRST_SECONDS), *(asyncio.to_thread(one.wait, FIRST_SECONDS) for one in (keys, sets)))
        calm_collector()
        _log.info("started", host=settings.host, port=settings.port)
        yield {DOORS: doors}
        left = await writer.close(settings.delivery_timeout_seconds + 1)
        keys.stop()
        sets.stop()
        await inside.stop()
        _log.info("stopped", unacknowledged=left)

    return build(settings, tracking, keyring, readiness, lifespan)


if __name__ == "__main__":
    serve("services.ingest.main:create", read_settings())
