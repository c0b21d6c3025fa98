"""Whether anything may be sent: not while a stage that the dispatcher relies on is refolding what Redis lost.

Shut, too, while a slot of such a stage says nothing (an emptied Redis) or stands before a place at which it was seen (a Redis that was
rolled back), until it has begun a new life. Slots are looked at twice a second, and what was seen is written with each record of the
ledger. A process that begins reads what the ledgers of *all* slots say before it sends anything: the one that is needed may be another's.
"""

import redis.asyncio as redis
import structlog

from services.messaging.domain.standing import Standing
from shared.adapters.redis_store import answering
from shared.contracts.redis_keys import COMMIT, LIFE, REBUILDING, meta_key
from shared.contracts.slots import partition_count

UPSTREAM = ("resolver", "segmentation", "journeys")
_log = structlog.get_logger("dispatcher")


class RedisGate:
    """Open while every slot of every stage upstream says that it has caught up. A slot that says nothing has not.

    An older copy of Redis says so too, until its stage notices and takes the slot over anew. So a slot that stands before a place at which
    it was seen, by this process or by one that sent before it (`standing`), counts as not caught up until it has begun a new life.
    """

    def __init__(self, client: redis.Redis, standing: Standing) -> None:
        self._client = client
        self._standing = standing
        self._open = True
        self._slots = [(stage, partition) for stage in UPSTREAM for partition in range(partition_count())]

    async def closed(self) -> str | None:
        if not self._standing.is_whole:
            return "how far the stages before it had come is being read"
        seen = self._standing.seen()  # several look at a time, and an answer may come after that to a later question
        async with answering(), self._client.pipeline(transaction=False) as pipe:
            for stage, partition in self._slots:
                pipe.hmget(meta_key(stage, partition), [REBUILDING, COMMIT, LIFE])
            found = await pipe.execute()
        behind = []
        for (stage, partition), (rebuilding, commit, life) in zip(self._slots, found, strict=True):
            place = (int(life or 0), int(commit or 0))
            if place < seen.get((stage, partition), place):
                behind.append(f"{stage} {partition} (Redis was rolled back)")
                continue
            self._standing.remember(stage, partition, place)
            if rebuilding != b"0":
                behind.append(f"{stage} {partition}")
        if bool(behind) == self._open:  # one line for all slots that ask
            self._open = not behind
            if behind:
                _log.warning("messages are held", not_caught_up=behind)
            else:
                _log.info("messages are sent again")
        return None if not behind else f"not caught up: {', '.join(behind[:4])}{' …' if len(behind) > 4 else ''}"
