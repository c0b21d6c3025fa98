"""Ingest: the tracking API on one port. `python -m services.ingest.main`; settings.py says what it reads from the environment."""

import gc
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import uvicorn
from fastapi import FastAPI

from services.ingest.adapters.keyring import Keyring
from services.ingest.adapters.log_writer import LogWriter, counting_failures
from services.ingest.adapters.tracking import Tracking
from services.ingest.app import IngestApp, build
from services.ingest.domain.circuit import Circuit
from services.ingest.metrics import METRICS, Metrics
from services.ingest.settings import Settings
from shared.adapters.kafka_producer import AcknowledgedProducer
from shared.adapters.key_topic import KeyTopic
from shared.adapters.prometheus import Registry
from shared.contracts.control import KeyKind
from shared.runtime.logs import configure_logs

_log = structlog.get_logger()


def create() -> IngestApp:
    """One process's application, wired to Kafka when its lifespan begins."""
    settings = Settings()
    configure_logs(settings.log_level, "ingest")
    metrics = Metrics(Registry("ingest", METRICS))
    keys = KeyTopic(settings.kafka_bootstrap, "rapport-ingest-keys", KeyKind.WRITE)
    keyring = Keyring(keys, settings.rate_per_key)
    producer = AcknowledgedProducer(
        settings.kafka_bootstrap,
        "rapport-ingest",
        on_failure=counting_failures(metrics, lambda: os.kill(os.getpid(), signal.SIGTERM)),
        delivery_timeout_ms=int(settings.delivery_timeout_seconds * 1000),
        max_queued_bytes=settings.max_queued_bytes,
    )
    writer = LogWriter(producer, Circuit(settings.stall_seconds), metrics)
    tracking = Tracking(settings, keyring, writer, metrics)

    def readiness() -> dict[str, str | None]:
        return {
            "kafka": None if writer.available else "events cannot be stored now",
            "write_keys": None if keys.read_to_end else "not read to the end yet",
        }

    def keys_changed() -> None:
        keyring.forget()
        metrics.write_keys.set(len(keys.keys))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        keys.start(keys_changed)
        writer.start()
        # What is there now stays: the collector need not walk it again. Requests make no cycles, so it may run seldom.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        _log.info("started", host=settings.host, port=settings.port)
        yield
        left = await writer.close(settings.delivery_timeout_seconds + 1)
        keys.stop()
        _log.info("stopped", unacknowledged=left)

    return build(settings, tracking, keyring, readiness, metrics, lifespan)


def main() -> None:
    """Serve until SIGTERM or SIGINT; then stop listening, answer what is under way, flush."""
    settings = Settings()
    if settings.ingest_processes > 1:
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix="rapport-ingest-metrics-"))
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again when it has drained: then it is no death
    uvicorn.run(
        "services.ingest.main:create",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.ingest_processes,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(settings.drain_seconds),
        backlog=4096,
    )


if __name__ == "__main__":
    main()
