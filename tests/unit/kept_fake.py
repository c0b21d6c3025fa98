"""What the sweep looks at, in memory."""

from collections.abc import AsyncIterator, Sequence

from services.profile.sweep import Key
from shared.contracts.ids import is_anonymous
from shared.contracts.slots import slot
from shared.runtime.ports import StoreAway
from shared.testing.fakes import FakeRedis


class FakeKept:
    """`KeptStates` over a FakeRedis. `away`: every call fails. Pages have two ids."""

    def __init__(self, redis: FakeRedis) -> None:
        self._redis = redis
        self.away = False

    def _answer(self) -> None:
        if self.away:
            raise StoreAway("the fake Redis is away")

    async def pages(self, stage: str) -> AsyncIterator[list[Key]]:
        self._answer()
        ids = sorted(one for one in self._redis.states(stage) if is_anonymous(one))
        for start in range(0, len(ids) + 1, 2):
            yield [Key(slot(one), one) for one in ids[start : start + 2]]

    async def load(self, stage: str, ids: Sequence[str]) -> list[bytes | None]:
        self._answer()
        return [self._redis.states(stage).get(one) for one in ids]

    async def is_whole(self, stage: str, partition: int) -> bool:
        self._answer()
        return self._redis.slots[stage, partition].fields.get("rb") == "0"
