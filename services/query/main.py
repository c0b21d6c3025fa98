"""The query service: the internal HTTP API on one port. `python -m services.query.main`; settings.py says what it reads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI

from services.query.adapters.appends import KafkaAppends
from services.query.adapters.definitions import known_segments
from services.query.adapters.people import People
from services.query.adapters.rejected import IngestReplays
from services.query.app import build
from services.query.metrics import METRICS, Metrics
from services.query.parts import Parts
from services.query.settings import Settings, read_settings
from shared.adapters.environment import cannot_start
from shared.adapters.key_topic import KeyTopic
from shared.adapters.partitions import PartitionsOfLog
from shared.adapters.prometheus import Registry
from shared.adapters.rebuild_topic import RebuildTopic
from shared.contracts.control import KeyKind
from shared.contracts.topics import TOPICS
from shared.definitions.yaml_text import DefinitionError
from shared.http.app import Api
from shared.http.idempotency import Answered
from shared.http.key_access import KeyAccess
from shared.http.public_fields import public_fields
from shared.http.sealing import Sealer
from shared.http.server import serve
from shared.reading.kept_history import KeptHistory, asked_history
from shared.reading.live import RedisSpace
from shared.reading.log import KafkaReads
from shared.runtime.logs import configure_logs

_log = structlog.get_logger("query")


def create(settings: Settings) -> Api:
    """One process's application. Raises DefinitionError if a segment file cannot be read."""
    segments, public = known_segments(settings.definitions_dir), public_fields(settings.definitions_dir)
    metrics = Metrics(Registry("query", METRICS))
    secrets, refused = settings.key_secrets, metrics.key_refused
    stores = {kind: KeyTopic(settings.kafka, f"rapport-query-{kind.value}-keys", kind, secrets, refused) for kind in KeyKind}
    space = RedisSpace(settings.redis, settings.redis_seconds)
    asked = asked_history(settings, settings.query_series_threads)
    reads, appends = KafkaReads(settings.kafka, settings.query_waiting), KafkaAppends(settings.kafka, settings.query_waiting)
    history, orders = KeptHistory(asked, reads, settings.group_prefix), RebuildTopic(settings.kafka, "rapport-query-rebuilds")
    replays = IngestReplays(settings.ingest_url, settings.internal_token)
    access = KeyAccess(stores[KeyKind.QUERY], waiting=settings.query_waiting)
    sealer = Sealer(settings.cursor_secret.get_secret_value().encode())
    people, answered, region = People(space), Answered(), settings.phone_region
    count = PartitionsOfLog(settings.kafka, [topic.name for topic in TOPICS if topic.partitions is None])
    live = (space, people, history, reads, appends, replays)
    parts = Parts(*live, stores, secrets, access, sealer, answered, segments, metrics, region, public, count, orders)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for store in stores.values():
            store.start(lambda: metrics.keys.set(len(stores[KeyKind.QUERY].keys)))
        count.start()
        orders.start()
        _log.info("started", host=settings.host, port=settings.port, segments=len(segments))
        yield
        await count.stop()
        orders.stop()
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
    configure_logs(settings.log_level, "query")
    try:
        app = create(settings)
    except DefinitionError as error:
        cannot_start("query", *error.problems)
    serve(app, settings)


if __name__ == "__main__":
    main()
