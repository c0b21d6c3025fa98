"""Who reads another owner's keys meets what a newer release wrote: it says so, and decides nothing by it."""

from collections.abc import Sequence
from typing import cast

import pytest
import redis.asyncio as redis

from services.messaging.adapters.people import RedisPeople
from shared.contracts.journey_blob import VERSION
from shared.contracts.versions import stamped
from shared.runtime.envelope import Entry, close_entry
from shared.runtime.ports import NewerRelease

NEWER = close_entry(Entry[bytes](), stamped(b"\x94", VERSION + 1))


class Stored(RedisPeople):
    """People of whom all have the same stored state."""

    def __init__(self, state: bytes) -> None:
        super().__init__(cast(redis.Redis, None))
        self._state = state

    async def _states(self, keys: Sequence[str]) -> list[bytes | None]:
        return [self._state for _ in keys]


@pytest.mark.parametrize("state", [NEWER, b"\x07of a later release"], ids=["state", "envelope"])
async def test_the_dispatcher_waits_with_people_whom_a_newer_release_wrote(state: bytes) -> None:
    with pytest.raises(NewerRelease, match="written by a newer release"):
        await Stored(state).read(["u:1"])
