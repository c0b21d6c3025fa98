"""What journeys knows of people, read where journeys keeps it; the same service owns both, and this side never writes there."""

from collections.abc import Sequence
from typing import Final

import redis.asyncio as redis

from services.messaging.dispatch.ports import Known
from shared.adapters.redis_store import answering
from shared.contracts.journey_blob import Person, decode_person
from shared.contracts.redis_keys import state_key
from shared.runtime.envelope import Entry, open_entry

MOST_MERGES: Final = 32


class RedisPeople:
    """Follows merges to the person of today."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    async def read(self, profile_ids: Sequence[str]) -> dict[str, Known | None]:
        """A person of whom nothing is kept is known to be blank."""
        paths: dict[str, list[str]] = {asked: [asked] for asked in profile_ids}
        known: dict[str, Known | None] = {}
        for _ in range(MOST_MERGES):
            open_paths = [path for asked, path in paths.items() if asked not in known]
            if not open_paths:
                break
            for path, raw in zip(open_paths, await self._states([path[-1] for path in open_paths]), strict=True):
                entry: Entry[Person] = open_entry(raw)
                if entry.winner is not None:
                    path.append(entry.winner)
                elif entry.awaiting or not set(path[:-1]) <= (entry.absorbed or set()):
                    known[path[0]] = None
                else:
                    known[path[0]] = Known(path[-1], decode_person(entry.blob or b""))
        return {asked: known.get(asked) for asked in profile_ids}

    async def _states(self, keys: Sequence[str]) -> list[bytes | None]:
        async with answering(), self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.get(state_key("journeys", key))
            return list(await pipe.execute())
