"""The control service: what the API writes. `python -m services.control.main`; settings.py says what it reads from the environment."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI

from services.control.adapters.appends import KafkaAppends
from services.control.adapters.definitions import applied_definitions
from services.control.adapters.rejected import IngestReplays
from services.control.app import build
from services.control.channels import HEADS
from services.control.metrics import Metrics
from services.control.parts import Parts
from services.control.settings import Settings, read_settings
from shared.adapters.key_topic import KeyTopic
from shared.adapters.partitions import PartitionsOfLog
from shared.adapters.rebuild_topic import RebuildTopic
from shared.contracts.control import KeyKind
from shared.contracts.topics import TOPICS
from shared.http.app import Api
from shared.http.idempotency import Answered
from shared.http.key_access import KeyAccess
from shared.http.sealing import Sealer
from shared.http.server import serve
from shared.reading.kept_history import KeptHistory, asked_history
from shared.reading.live import RedisSpace
from shared.reading.log import KafkaReads
from shared.runtime.logs import configure_logs

_log = structlog.get_logger("control")


def create(settings: Settings) -> Api:
    """One process's application."""
    metrics = Metrics()
    secrets, refused, waiting = settings.key_secrets, metrics.key_refused, settings.query_waiting
    stores = {kind: KeyTopic(settings.kafka, f"rapport-control-{kind.value}-keys", kind, secrets, refused) for kind in KeyKind}
    space, asked = RedisSpace(settings.redis, settings.redis_seconds), asked_history(settings)
    reads, appends = KafkaReads(settings.kafka, waiting), KafkaAppends(settings.kafka, waiting)
    history, orders = KeptHistory(asked, reads, settings.group_prefix), RebuildTopic(settings.kafka, "rapport-control-rebuilds")
    replays = IngestReplays(settings.ingest_url, settings.internal_token)
    access = KeyAccess(stores[KeyKind.QUERY], waiting=waiting)
    sealer = Sealer(settings.cursor_secret.get_secret_value().encode())
    count = PartitionsOfLog(settings.kafka, [topic.name for topic in TOPICS if topic.partitions is None])
    definitions = applied_definitions(settings.kafka, settings.group_prefix, secrets, HEADS)
    of_definitions = (definitions, settings.timezone, settings.default_locale)
    live = (space, history, reads, appends, replays)
    parts = Parts(*live, stores, secrets, access, sealer, Answered(), metrics, definitions.catalogue, count, orders, *of_definitions)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for store in stores.values():
            store.start(lambda: metrics.keys.set(len(stores[KeyKind.QUERY].keys)))
        count.start()
        orders.start()
        definitions.start(metrics.definition_refused)
        _log.info("started", host=settings.host, port=settings.port)
        yield
        await count.stop()
        orders.stop()
        await definitions.stop()
        for store in stores.values():
            store.stop()
        await space.close()
        await replays.close()
        for closing in (asked, reads, appends):
            closing.close()
        _log.info("stopped")

    return build(parts, settings.group_prefix, lifespan)


def main() -> None:
    """Serve until SIGTERM or SIGINT; then stop listening and answer what is under way."""
    settings = read_settings()
    configure_logs(settings.log_level, "control")
    serve(create(settings), settings)


if __name__ == "__main__":
    main()
