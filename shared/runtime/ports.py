"""The two things a slot needs from outside: a store that commits a chunk as one, and a log. Real ones stand in shared/adapters, in-memory
ones in shared/testing; the same behavioural tests run on both.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from shared.contracts.versions import NewerVersion
from shared.runtime.stage import IndexOp, Output, Record

TopicPartition = tuple[str, int]


class Fenced(Exception):
    """Another worker has taken the slot over: drop everything, do not try again with the same token."""


class RolledBack(Exception):
    """The store no longer holds what this worker last committed (restored, emptied): take over anew and refold."""


class StoreAway(Exception):
    """The store does not answer: wait and try again; whether the last call took effect is unknown."""


class NewerRelease(StoreAway):
    """The store or the log holds what a newer release wrote. The slot waits and says so; nothing is set aside or written over it."""


class PartlyLost(StoreAway):
    """The store lost a part of a slot, and what is left cannot be made again from the log. The slot waits for an operator and says so."""


@contextmanager
def waiting_for_update() -> Iterator[None]:
    """What a newer release wrote is waited for, as a store that is away is: raises NewerRelease for NewerVersion."""
    try:
        yield
    except NewerVersion as newer:
        raise NewerRelease(str(newer)) from newer


class LogAway(Exception):
    """The log does not answer: wait and try again."""


class Halted(Exception):
    """The worker must stop: going on would do harm (too many dead letters, a producer that lost its order)."""


@dataclass(slots=True)
class Commit:
    """All that one chunk changed. Applied whole or not at all, if the slot's token is `token` and its sequence number is `seq` - 1.

    `meta`: fields to set in the slot's meta hash. `states`: key -> blob. `timers`: key -> due in epoch ms, 0 removes. `sides`: (key, score,
    member), each capped at `side_cap`; `side_drops`: keys whose second blob goes. `gone`: keys whose state goes; none
    of them is among `states`. `outbox`: replaces the last one.
    """

    token: str
    seq: int
    meta: Mapping[str, str]
    states: Mapping[str, bytes]
    outbox: bytes = b""
    timers: Mapping[str, int] = field(default_factory=dict)
    indexes: Sequence[IndexOp] = ()
    sides: Sequence[tuple[str, float, bytes]] = ()
    side_drops: Sequence[str] = ()
    gone: Sequence[str] = ()
    side_cap: int = 50


class StateStore(Protocol):
    """The state of one slot. Every call may raise StoreAway."""

    async def take_over(self, token: str) -> tuple[dict[str, str], bytes]:
        """Make `token` the owner; answer the slot's meta fields and outbox."""

    async def holds(self) -> tuple[str, int]:
        """Owner token ("" if none) and number of the last commit."""

    async def damage(self, outbox: bool = True) -> str | None:
        """What is gone of that which the last commit left: its timers, and its `outbox`, if that is asked for. None: nothing."""

    async def forget(self, token: str, generation: int) -> None:
        """Delete all that the slot keeps, in bounded pieces. Its meta goes first: whoever follows one that died on the way begins again.

        What is left of the meta is the owner, that the slot is rebuilding, and `generation`. Raises Fenced, RolledBack.
        """

    async def restore_timers(self, token: str) -> None:
        """Make the timers again, exactly as they stand in the states, in bounded pieces. Raises Fenced, RolledBack, NewerRelease."""

    async def keeps_anything(self) -> bool:
        """Whether there is anything of the slot but its meta."""

    async def hold(self, token: str, generation: int | None) -> None:
        """Note in the meta at which order the slot stands still; None: it does no longer. Raises Fenced, RolledBack."""

    async def load(self, keys: Sequence[str], limit: int) -> list[bytes | None]:
        """State blobs in the order of `keys`: of the first at least, and no more once they have more than `limit` bytes together."""

    async def sides(self, keys: Sequence[str]) -> list[list[tuple[float, bytes]]]:
        """Second blobs in the order of `keys`."""

    async def indexes(self, names: Sequence[str]) -> list[list[str]]:
        """All members of each of these indexes of the slot, in the order of `names`."""

    async def index_page(self, name: str, after: str, limit: int) -> list[str]:
        """At most `limit` members of an index whose scores are all 0, in the order of their bytes, behind `after`."""

    async def index_states(self, token: str, name: str) -> None:
        """Put the key of every state into an index with score 0, in bounded pieces. Raises Fenced, RolledBack, NewerRelease."""

    async def in_index(self, members: Sequence[tuple[str, str]]) -> list[bool]:
        """Of each (index, member) whether it is there."""

    async def commit(self, commit: Commit) -> None:
        """Raises Fenced if the owner is another, RolledBack if the owner or the sequence number is gone or older."""

    async def due(self, until: int, limit: int) -> Sequence[str]:
        """At most `limit` keys with a timer due at or before `until` (epoch ms), ordered by (due, key)."""

    async def first_due(self) -> int | None:
        """The earliest timer of the slot, epoch ms."""


class Log(Protocol):
    """The log. Every call but `publish` may raise LogAway; `publish` waits as long as it takes."""

    async def publish(self, outputs: Sequence[Output]) -> Mapping[TopicPartition, int]:
        """Append in order (all values set); answer, when all are durable, the next offset after the last one per partition.

        Raises Halted if order can no longer be kept.
        """

    async def read(self, topic: str, partition: int, start: int, end: int) -> tuple[list[Record], int]:
        """Some records of [start, end) in order, and the offset to go on at (`end` when none is left)."""

    async def bounds(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """(first, next) offset of each partition."""

    async def at(self, partitions: Iterable[TopicPartition], when_ms: int) -> dict[TopicPartition, int]:
        """The first offset of each partition that was appended at `when_ms` (epoch ms) or later; its next offset if none was."""

    async def ends(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """The next offset of each partition."""

    async def committed(self, group: str, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Offsets committed by consumer group `group`; 0 where none is."""
