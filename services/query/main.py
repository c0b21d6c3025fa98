"""The query service: reads of the API. `python -m services.query.main`; settings.py says what it reads from the environment."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI

from services.query.adapters.definitions import known_segments
from services.query.adapters.people import People
from services.query.app import build
from services.query.parts import Parts
from services.query.settings import Settings, read_settings
from shared.adapters.applied_sets import AppliedSets, OfNow
from shared.adapters.definition_topic import DefinitionTopic
from shared.adapters.key_topic import KeyTopic
from shared.adapters.partitions import PartitionsOfLog
from shared.adapters.prometheus import Registry
from shared.contracts.control import KeyKind
from shared.contracts.topics import TOPICS
from shared.http.app import Api
from shared.http.key_access import KeyAccess
from shared.http.metrics import HTTP_METRICS, HttpMetrics
from shared.http.public_fields import public_fields
from shared.http.sealing import Sealer
from shared.http.server import serve
from shared.reading.kept_history import KeptHistory, asked_history
from shared.reading.live import RedisSpace
from shared.reading.log import KafkaReads
from shared.runtime.logs import configure_logs

_log = structlog.get_logger("query")


def create(settings: Settings) -> Api:
    """One process's application."""
    metrics = HttpMetrics(Registry("query", HTTP_METRICS))
    keys = KeyTopic(settings.kafka, "rapport-query-keys", KeyKind.QUERY, settings.key_secrets, metrics.key_refused)
    space = RedisSpace(settings.redis, settings.redis_seconds)
    asked = asked_history(settings, settings.query_series_threads)
    reads = KafkaReads(settings.kafka, settings.query_waiting)
    history = KeptHistory(asked, reads, settings.group_prefix)
    access, sealer = KeyAccess(keys, waiting=settings.query_waiting), Sealer(settings.cursor_secret.get_secret_value().encode())
    count = PartitionsOfLog(settings.kafka, [topic.name for topic in TOPICS if topic.partitions is None])
    stores = (space, People(space), history, reads, keys, access)
    sets = AppliedSets(DefinitionTopic(settings.kafka, "rapport-query-definitions", settings.key_secrets))
    of_sets = (OfNow(sets, known_segments), OfNow(sets, public_fields))
    parts = Parts(*stores, sealer, *of_sets, metrics, settings.phone_region, count, sets)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        keys.start(lambda: metrics.keys.set(len(keys.keys)))
        count.start()
        sets.start(metrics.definition_refused)
        _log.info("started", host=settings.host, port=settings.port)
        yield
        await count.stop()
        keys.stop()
        sets.stop()
        await space.close()
        for closing in (asked, reads):
            closing.close()
        _log.info("stopped")

    return build(parts, lifespan)


def main() -> None:
    """Serve until SIGTERM or SIGINT; then stop listening and answer what is under way."""
    settings = read_settings()
    configure_logs(settings.log_level, "query")
    serve(create(settings), settings)


if __name__ == "__main__":
    main()
