"""A log and a store between a slot and the real ones (or the fakes): they fail where a test says."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from shared.runtime.ports import Commit, Log, StateStore, StoreAway
from shared.runtime.ports import TopicPartition as Where
from shared.runtime.stage import Output, Record
from shared.testing.fakes import Crash


class Fate(Protocol):
    """What befalls all stores of a world. `away`: Redis is; `refused`: it was asked then; `commits`: how many there were."""

    away: bool
    refused: asyncio.Event
    commits: int


class FlakyLog:
    """A log whose user dies after `publish_limit` more published records, or `read_limit` more readings of at most `page` records.

    Where nobody is to die there are no small pages: topics that all tests share hold what others wrote.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self.publish_limit: int | None = None
        self.read_limit: int | None = None
        self.page = 1000
        self.begins: dict[Where, int] = {}
        """Partitions that have lost their oldest records, as far as anybody is told."""

    async def publish(self, outputs: Sequence[Output]) -> Mapping[Where, int]:
        limit = self.publish_limit
        if limit is None:
            return await self._log.publish(outputs)
        ends = await self._log.publish(outputs[:limit]) if outputs[:limit] else {}
        self.publish_limit = limit - len(outputs[:limit])
        if limit < len(outputs):
            raise Crash("in the middle of a publication")
        return ends

    async def read(self, topic: str, partition: int, start: int, end: int) -> tuple[list[Record], int]:
        if self.read_limit is not None:
            if self.read_limit == 0:
                raise Crash("in the middle of reading")
            self.read_limit -= 1
            end = min(end, start + self.page)
        return await self._log.read(topic, partition, start, end)

    async def bounds(self, partitions: Iterable[Where]) -> dict[Where, tuple[int, int]]:
        found = await self._log.bounds(partitions)
        return {where: (max(first, self.begins.get(where, 0)), end) for where, (first, end) in found.items()}

    async def ends(self, partitions: Sequence[Where]) -> Mapping[Where, int]:
        return await self._log.ends(partitions)

    async def at(self, partitions: Iterable[Where], when_ms: int) -> dict[Where, int]:
        found = await self._log.at(partitions, when_ms)
        return {where: max(offset, self.begins.get(where, 0)) for where, offset in found.items()}

    async def committed(self, group: str, partitions: Iterable[Where]) -> dict[Where, int]:
        return dict(await self._log.committed(group, partitions))


class FlakyStore:
    """A store whose server may be `away`. `lose_reply`: the next commit takes effect and its answer is lost."""

    def __init__(self, store: StateStore, fate: "Fate") -> None:
        self._store = store
        self._fate = fate
        self.lose_reply = False

    def _asked(self) -> StateStore:
        if self._fate.away:
            self._fate.refused.set()
            raise StoreAway("Redis is away")
        return self._store

    async def take_over(self, token: str) -> tuple[dict[str, str], bytes]:
        return await self._asked().take_over(token)

    async def holds(self) -> tuple[str, int]:
        return await self._asked().holds()

    async def damage(self, outbox: bool = True) -> str | None:
        return await self._asked().damage(outbox)

    async def forget(self, token: str, generation: int) -> None:
        await self._asked().forget(token, generation)

    async def restore_timers(self, token: str) -> None:
        await self._asked().restore_timers(token)

    async def keeps_anything(self) -> bool:
        return await self._asked().keeps_anything()

    async def hold(self, token: str, generation: int | None) -> None:
        await self._asked().hold(token, generation)

    async def load(self, keys: Sequence[str], limit: int) -> list[bytes | None]:
        return await self._asked().load(keys, limit)

    async def sides(self, keys: Sequence[str]) -> list[list[tuple[float, bytes]]]:
        return await self._asked().sides(keys)

    async def indexes(self, names: Sequence[str]) -> list[list[str]]:
        return await self._asked().indexes(names)

    async def index_page(self, name: str, after: str, limit: int) -> list[str]:
        return await self._asked().index_page(name, after, limit)

    async def index_states(self, token: str, name: str) -> None:
        await self._asked().index_states(token, name)

    async def in_index(self, members: Sequence[tuple[str, str]]) -> list[bool]:
        return await self._asked().in_index(members)

    async def commit(self, commit: Commit) -> None:
        await self._asked().commit(commit)
        self._fate.commits += 1
        if self.lose_reply:
            self.lose_reply = False
            raise StoreAway("the reply of a commit was lost")

    async def due(self, until: int, limit: int) -> Sequence[str]:
        return await self._asked().due(until, limit)

    async def first_due(self) -> int | None:
        return await self._asked().first_due()
