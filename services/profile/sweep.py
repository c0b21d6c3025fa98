"""Asks the resolver, once a day, to forget anonymous people who never came back.

The sweep only asks, and may ask for too many: it reads what stands in Redis by the clock of its host. The resolver's slot decides, by
the order and the times of the log (resolver_stage.py).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import structlog

from services.profile.domain.node import Node
from services.profile.domain.person import is_forgettable
from shared.contracts.headers import KIND, KIND_EXPIRED
from shared.contracts.identity import Expiry
from shared.contracts.profile_blob import Profile, decode_profile
from shared.contracts.slots import slot
from shared.contracts.topics import EVENT_RECEIVED
from shared.contracts.versions import NewerVersion
from shared.runtime.envelope import Entry, open_entry
from shared.runtime.ports import Log, LogAway, StoreAway
from shared.runtime.slot import Slot
from shared.runtime.stage import Output

RESOLVER: Final = "resolver"
FOLDER: Final = "folder"
BEHIND: Final = ("segmentation", "journeys")
"""Stages that may know somebody whom resolver and folder have forgotten: rebuilt of ClickHouse, which has no row of an expiry."""
ASKED_A_SECOND: Final = 200
FIRST_S: Final = 3600.0
"""How long after its start a process begins: by then the workers of an older release, which cannot read an expiry, have been replaced."""
EVERY_S: Final = 24 * 3600.0
PAUSE_S: Final = 0.01
"""Between two pages, so that the scan takes nothing from those who wait for Redis."""
LOADED: Final = 100
"""Ids whose states are read at once."""
_log = structlog.get_logger("sweep")
_encode: Final = msgspec.json.Encoder().encode


class Key(NamedTuple):
    """A typed id and its slot."""

    partition: int
    id: str


class KeptStates(Protocol):
    """What stages keep under anonymous ids. Every call may raise StoreAway."""

    def pages(self, stage: str) -> AsyncIterator[list[Key]]:
        """All ids of which `stage` keeps a state, in pages that may be empty; an id may come twice."""

    async def load(self, stage: str, ids: Sequence[str]) -> list[bytes | None]:
        """The stored states (envelope and blob) in the order of `ids`."""

    async def is_whole(self, stage: str, partition: int) -> bool:
        """Whether a slot holds all that follows from the log: it is there, and does not refold."""


class Sweep:
    """Looks through the slots of the resolver that this process owns. `unseen_ms`: how long nobody must have come."""

    def __init__(
        self,
        slots: Callable[[], Iterable[Slot[Any, Any]]],
        kept: KeptStates,
        log: Log,
        unseen_ms: int,
        wall_ms: Callable[[], int] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._slots = slots
        self._kept = kept
        self._log = log
        self._unseen_ms = unseen_ms
        self._wall_ms = wall_ms or (lambda: time.time_ns() // 1_000_000)
        self._sleep = sleep

    async def run(self) -> None:
        """For ever: an hour after the start, then daily; an hour after one that found a server away."""
        pause = FIRST_S
        while True:
            await self._sleep(pause)
            try:
                asked = await self.sweep()
            except (StoreAway, LogAway) as away:
                _log.warning("looks for anonymous people who never came back later: a server does not answer", detail=str(away))
                pause = FIRST_S
            except NewerVersion as newer:
                _log.warning("cannot look for anonymous people who never came back", detail=str(newer))
                pause = EVERY_S
            else:
                _log.info("looked for anonymous people who never came back", asked=asked)
                pause = EVERY_S

    async def sweep(self) -> int:
        """One round; answers of how many it asked."""
        asked = 0
        for stage in (RESOLVER, FOLDER, *BEHIND):  # all but the resolver's for those whose answer they missed: it knows them no more
            async for page in self._kept.pages(stage):
                owned = await self._owned() if page else frozenset()
                ids = [key.id for key in page if key.partition in owned]
                for start in range(0, len(ids), LOADED):
                    asked += await self._ask(stage, ids[start : start + LOADED])
                await self._sleep(PAUSE_S)
        return asked

    async def _owned(self) -> frozenset[int]:
        """Slots of ours that hold everything, here and in the folder: who is missing there is not unknown, but yet to be folded."""
        ours = [mine.partition for mine in self._slots() if mine.token is not None and not mine.meta.rebuilding]
        return frozenset([one for one in ours if all([await self._kept.is_whole(stage, one) for stage in (RESOLVER, FOLDER)])])

    async def _ask(self, stage: str, ids: Sequence[str]) -> int:
        """Ask for those of `ids`, found with `stage`, that may be forgotten, and let as much time pass as they take."""
        before = self._wall_ms() - self._unseen_ms
        nodes = dict(zip(ids, await self._kept.load(RESOLVER, ids), strict=True))
        old = [one for one, raw in nodes.items() if (stage != RESOLVER if raw is None else stage == RESOLVER and _rests(raw, before))]
        if not old:
            return 0
        profiles = await self._kept.load(FOLDER, old)
        if stage in BEHIND:  # nothing but their absence speaks of them, so it must be none of a Redis that was emptied meanwhile
            owned = await self._owned()
            gone = [one for one, raw in zip(old, profiles, strict=True) if raw is None and slot(one) in owned]
        else:
            there = [(one, raw) for one, raw in zip(old, profiles, strict=True) if raw is not None or stage == RESOLVER]
            gone = [one for one, raw in there if _may_go(raw, before)]
        if not gone:
            return 0
        await self._log.publish([self._question(one) for one in gone])
        await self._sleep(len(gone) / ASKED_A_SECOND)
        return len(gone)

    def _question(self, one: str) -> Output:
        value = _encode(Expiry(one, self._unseen_ms))
        return Output(EVENT_RECEIVED, slot(one), one.encode(), value, [(KIND, KIND_EXPIRED)], 0)


def _rests(raw: bytes, before: int) -> bool:
    """Whether an id of the resolver stands for itself and nothing came under it since `before`. Raises NewerVersion."""
    try:
        entry: Entry[Node] = open_entry(raw)
        node = Node.load(entry.blob or b"")
    except msgspec.DecodeError:
        return False  # who folds into it says what is wrong
    return node.forward is None and node.seen.until <= before


def _may_go(raw: bytes | None, before: int) -> bool:
    """Whether the folder's state of an id may be forgotten; where there is none, nothing speaks against it. Raises NewerVersion."""
    try:
        entry: Entry[Profile] = open_entry(raw)
        profile = decode_profile(entry.blob or b"")
    except msgspec.DecodeError:
        return False
    merged = entry.winner is not None or entry.absorbed or entry.awaiting
    return not merged and profile.last_seen <= before and is_forgettable(profile)
