"""One slot: partition p of a stage's inputs, its states, its fence and its outbox; what others ask of it.

chunk in -> drop what is applied -> load states -> fold -> commit states, outbox and fence as one -> publish -> the caller acks.
"""

import time
from collections.abc import Collection, Sequence
from typing import TypeVar

import structlog

from shared.runtime.forgetting import still_held
from shared.runtime.stage import Record
from shared.runtime.takeover import TakingOver

S = TypeVar("S")
R = TypeVar("R")
_log = structlog.get_logger("runtime")

OUTBOX_IDLE_S = 10.0
"""After so long without a commit a slot's outbox, long since published, is replaced by nothing."""

SHORT_REREADING_S = 1.0
"""Reading again for so long keeps nobody waiting who matters, and what comes meanwhile need not be read twice."""


class Slot(TakingOver[S, R]):
    """Applies chunks to one slot, exactly once in effect. One chunk at a time: `lock` is held from load to delivery reports."""

    async def process(self, topic: str, records: Sequence[Record]) -> bool:
        """Apply consecutive records, publish what follows. True: all is durable. False: another owns the slot, ack nothing."""
        async with self.lock:
            self.leave_out(topic, records)  # until it is applied
            return await self._persist(lambda: self._chunk(topic, records))

    async def take_over(self) -> bool:
        """Become the owner now, publish what the last owner left, and refold what the store has lost."""
        async with self.lock:
            return await self._persist(self._nothing)

    @property
    def stands_still(self) -> bool:
        """Whether it takes nothing new for a while: it is not taken over yet, braked, or reads for long what is older."""
        rereading = self._rereading_since is not None and time.monotonic() - self._rereading_since > SHORT_REREADING_S
        return self.token is None or self.braked is not None or rereading

    def leave_out(self, topic: str, records: Sequence[Record]) -> None:
        """A chunk came while the slot stood still: it will be read again after one of those that wait for the slot."""
        self.delivered[topic] = max(self.delivered.get(topic, 0), records[-1].offset + 1)

    def missing(self) -> list[str]:
        """Inputs of which it has not read what it should have by now: up to the ends noted at the takeover, and what was left out."""
        if self.token is None:
            return []  # the takeover looks where it stands
        return [topic for topic in self.stage.inputs if self.position[topic] < self._due_end(topic)]

    def _due_end(self, topic: str) -> int:
        return max(self._targets.get(topic, 0) if self.meta.rebuilding else 0, self.delivered.get(topic, 0))

    async def catch_up(self, topics: Collection[str]) -> None:
        """Read what is missing of these inputs: nobody has brought it, and it may be that nobody will."""
        async with self.lock:
            if self.token is not None:
                await self._persist(lambda: self._fill(topics))

    async def _fill(self, topics: Collection[str]) -> None:
        for topic in topics:
            await self._read_up_to(topic, self._due_end(topic))

    async def check(self) -> None:
        """See whether the store still holds what this slot last committed: an idle slot would not notice that it was emptied."""
        async with self.lock:
            if self.token is not None:
                await self._persist(lambda: still_held(self.store, self.token, self.meta.seq))

    async def forget_outbox(self) -> None:
        """Replace the outbox of a slot that has been idle for a while by nothing, once: what it holds is published, and may be personal."""
        since = self._outbox_since
        if since is None or time.monotonic() - since < OUTBOX_IDLE_S:
            return
        async with self.lock:
            if self.token is not None and self._outbox_since == since:
                await self._persist(self._commit_alone)

    async def rebuild(self, generation: int, accept_loss: bool = False) -> None:
        """Forget all that is kept and go the way again from the log's start, for order `generation`; nothing if that has been done.

        What neither the log nor the archive can give back is kept, unless `accept_loss`.
        """
        async with self.lock:
            begun = self.token is not None and self.meta.generation < generation
            if begun and await self._persist(lambda: self._forget_for(generation, accept_loss)):
                await self._persist(self._nothing)

    async def _forget_for(self, generation: int, accept_loss: bool) -> None:
        """Once, however often a server is away meanwhile: a takeover in between may have done it."""
        if self.meta.generation >= generation:
            return
        if not accept_loss and not self.archived.gives_back and (gone := await self.archived.shortened()) is not None:
            self.meta.generation = generation
            await self._commit_alone()
            words = "kept as it is: what has left the log cannot be given back"
            _log.warning(words, stage=self.stage.name, slot=self.partition, detail=gone)
        else:
            await self.store.forget(self.token or "", generation)
            self.release()
