"""What journeys knows of people, read where journeys keeps it; the same service owns both, and this side never writes there."""

from collections.abc import Sequence

import redis.asyncio as redis

from services.messaging.dispatch.ports import Known
from shared.adapters.absorbed import have_absorbed
from shared.adapters.forwards import Forwards, Way
from shared.adapters.redis_store import answering
from shared.contracts.journey_blob import Person, decode_person
from shared.contracts.redis_keys import state_key
from shared.runtime.envelope import Entry, open_entry, peek
from shared.runtime.ports import waiting_for_update


class RedisPeople:
    """Follows merges to the person of today."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._markers = Forwards(self._states, lambda raw: peek(raw)[0])

    async def read(self, profile_ids: Sequence[str]) -> dict[str, Known | None]:
        """A person of whom nothing is kept is known to be blank. Of one whose markers form a ring nothing is known."""
        with waiting_for_update():
            ways = await self._markers.follow(profile_ids)
            return {asked: await self._known(ways[asked]) for asked in profile_ids}

    async def _known(self, way: Way) -> Known | None:
        """The person at the end; None while the state of anybody on the way there has not arrived."""
        if way.endless:
            return None
        entry: Entry[Person] = open_entry(way.raw)
        if entry.awaiting or not await have_absorbed(self._client, "journeys", way.root, entry, way.path[:-1]):
            return None
        return Known(way.root, decode_person(entry.blob or b""))

    async def _states(self, keys: Sequence[str]) -> list[bytes | None]:
        async with answering(), self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.get(state_key("journeys", key))
            return list(await pipe.execute())
