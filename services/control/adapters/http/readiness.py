"""What the control service needs to be ready."""

import asyncio

from services.control.parts import Parts
from shared.contracts.topics import KEY_CHANGED
from shared.http.health import Look, Troubles
from shared.reading.pools import Glance
from shared.reading.ports import standing_now


def look(parts: Parts) -> Look:
    """The number of partitions and the keys are needed. The stores are named: the status is told whichever of them is away."""
    redis_now, clickhouse_now = Glance(parts.space.answers), Glance(lambda: standing_now(parts.history))
    kafka_now = Glance(lambda: parts.reads.ends([(KEY_CHANGED, 0)]))

    async def now() -> tuple[Troubles, Troubles]:
        redis, kafka, clickhouse = await asyncio.gather(redis_now(), kafka_now(), clickhouse_now())
        needed = {
            "partitions": parts.partitions.trouble if parts.partitions is not None else None,
            "query_keys": next((store.trouble for store in parts.stores.values() if store.trouble is not None), None),
        }
        named = {
            "redis": None if redis else "does not answer",
            "kafka": None if kafka is not None else "does not answer",
            "clickhouse": clickhouse.hole if clickhouse is not None else "does not answer",
        }
        return needed, named

    return now
