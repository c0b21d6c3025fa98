"""What the query service needs to be ready."""

import asyncio

from services.query.parts import Parts
from shared.contracts.topics import KEY_CHANGED
from shared.http.health import Look, Troubles
from shared.reading.pools import Glance
from shared.reading.ports import standing_now


def look(parts: Parts) -> Look:
    """Redis, the number of partitions and the keys are needed. ClickHouse and Kafka are named: what asks neither goes on."""
    redis_now, clickhouse_now = Glance(parts.space.answers), Glance(lambda: standing_now(parts.history))
    kafka_now = Glance(lambda: parts.offsets.ends([(KEY_CHANGED, 0)]))

    async def now() -> tuple[Troubles, Troubles]:
        redis, kafka, clickhouse = await asyncio.gather(redis_now(), kafka_now(), clickhouse_now())
        needed = {
            "redis": None if redis else "does not answer",
            "partitions": parts.partitions.trouble if parts.partitions is not None else None,
            "query_keys": parts.keys.trouble,
            "definitions": "not read yet" if parts.sets is not None and not parts.sets.read_to_end else None,
        }
        named = {
            "kafka": None if kafka is not None else "does not answer",
            "clickhouse": clickhouse.hole if clickhouse is not None else "does not answer",
        }
        return needed, named

    return now
