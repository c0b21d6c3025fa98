"""Whether anything may be sent: not while a stage that the dispatcher relies on is refolding what Redis lost."""

import redis.asyncio as redis
import structlog

from shared.adapters.redis_store import answering
from shared.contracts.redis_keys import meta_key
from shared.contracts.slots import partition_count

UPSTREAM = ("resolver", "segmentation", "journeys")
REBUILDING = "rb"
"""Field of a slot's meta (shared/runtime/meta.py): `0` once the slot has passed the end that it noted when it was taken over."""


_log = structlog.get_logger("dispatcher")


class RedisGate:
    """Open while every slot of every stage upstream says that it has caught up. A slot that says nothing has not."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._open = True
        self._slots = [(stage, partition) for stage in UPSTREAM for partition in range(partition_count())]

    async def closed(self) -> str | None:
        async with answering(), self._client.pipeline(transaction=False) as pipe:
            for stage, partition in self._slots:
                pipe.hget(meta_key(stage, partition), REBUILDING)
            found = await pipe.execute()
        behind = [f"{stage} {partition}" for (stage, partition), value in zip(self._slots, found, strict=True) if value != b"0"]
        if bool(behind) == self._open:  # one line for all slots that ask
            self._open = not behind
            if behind:
                _log.warning("messages are held", not_caught_up=behind)
            else:
                _log.info("messages are sent again")
        return None if not behind else f"not caught up: {', '.join(behind[:4])}{' …' if len(behind) > 4 else ''}"
