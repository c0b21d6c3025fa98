"""From an id to its root, through any number of merges: many ids side by side, one round trip a hop.

A forward says under one id to which id it leads: a link of the resolver, or the marker of a merged key. Nobody counts hops: a chain of a
thousand merges is one person. A long chain is remembered for a while after it was read, so that the next question about it costs one
round trip. A short one costs less than remembering it.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeVar

LONG: Final = 8
"""A chain of more hops than this is remembered."""
REMEMBERED_HOPS: Final = 20_000
REMEMBERED_SECONDS: Final = 60.0

Read = Callable[[Sequence[str]], Awaitable[Sequence[bytes | None]]]
Forward = Callable[[bytes], str | None]
T = TypeVar("T")


@dataclass(frozen=True)
class Way:
    """`path`: from the id asked for to the one that holds now. `raw`: what is stored under the last one; None if nothing is.

    `endless`: the forwards form a ring, which no stage writes: the store is broken, and nobody can be said to hold.
    """

    path: tuple[str, ...]
    raw: bytes | None
    endless: bool = False

    @property
    def root(self) -> str:
        """Where the forwards end: the id that holds now."""
        return self.path[-1]


class _Walk:
    """One way under way; `path` keeps its order and knows what it has passed."""

    def __init__(self, asked: str) -> None:
        self.path: dict[str, None] = {asked: None}
        self.end = asked
        self.endless = False
        self.from_memory = False

    def step(self, following: str) -> None:
        self.endless = following in self.path
        if not self.endless:
            self.path[following] = None
            self.end = following


class Forwards:
    """Follows the forwards of one stage. `read` gives what is stored under ids, `forward` where a stored value leads, if it does."""

    def __init__(self, read: Read, forward: Forward, clock: Callable[[], float] = time.monotonic) -> None:
        self._read, self._forward, self._clock = read, forward, clock
        self._hops: dict[str, tuple[str, float]] = {}
        self._bare: dict[str, float] = {}

    async def follow(self, ids: Sequence[str]) -> dict[str, Way]:
        """The way of each id. Raises what `read` raises."""
        found = await self._walk(ids)
        # An end without anything, where something was, may be a store put back to an older copy: its own forwards are asked.
        doubted = [asked for asked, (walk, raw) in found.items() if walk.from_memory and raw is None and not self._was_bare(walk.end)]
        if doubted:
            for asked in doubted:
                for one in found[asked][0].path:
                    self._hops.pop(one, None)
            found |= await self._walk(doubted)
        for walk, raw in found.values():
            self._remember(walk, bare=raw is None)
        return {asked: Way(tuple(walk.path), raw, walk.endless) for asked, (walk, raw) in found.items()}

    async def _walk(self, ids: Sequence[str]) -> dict[str, tuple[_Walk, bytes | None]]:
        walks = {asked: _Walk(asked) for asked in ids}
        found: dict[str, tuple[_Walk, bytes | None]] = {}
        while walks:
            for walk in walks.values():
                self._leap(walk)
            raws = await self._read([walk.end for walk in walks.values()])
            for (asked, walk), raw in zip(list(walks.items()), raws, strict=True):
                following = None if raw is None else self._forward(raw)
                if following is not None:
                    walk.step(following)
                if following is None or walk.endless:
                    found[asked] = (walk, raw)
                    del walks[asked]
        return found

    def _leap(self, walk: _Walk) -> None:
        """Go as far as memory leads."""
        now = self._clock()
        while (hop := self._hops.get(walk.end)) is not None and hop[1] > now and not walk.endless:
            walk.step(hop[0])
            walk.from_memory = True

    def _was_bare(self, end: str) -> bool:
        return self._bare.get(end, 0.0) > self._clock()

    def _remember(self, walk: _Walk, *, bare: bool) -> None:
        """The hops of a long chain that was read, and whether anything stands where it ends."""
        if walk.from_memory or walk.endless or len(walk.path) <= LONG + 1:
            return
        until = self._clock() + REMEMBERED_SECONDS
        path = list(walk.path)[: REMEMBERED_HOPS + 1]
        for one, following in pairwise(path):
            _put_last(self._hops, one, (following, until))
        self._bare.pop(walk.end, None)
        if bare:
            _put_last(self._bare, walk.end, until)


def _put_last(memory: dict[str, T], key: str, value: T) -> None:
    """REMEMBERED_HOPS are kept, the newest last."""
    memory.pop(key, None)
    memory[key] = value
    while len(memory) > REMEMBERED_HOPS:
        del memory[next(iter(memory))]
