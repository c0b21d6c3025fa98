"""One slot of the dispatcher: requests in, each settled once. README.md says what each kill leaves behind.

take over (fence, read the ledger) -> take a batch -> decide -> record `sending` -> call the provider -> record what came of it -> only
then is the request's offset free to be committed.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from services.messaging.dispatch.decide import Decision, Desk, End, Go, Wait, claim
from services.messaging.dispatch.ports import Change, Clock, Gate, LedgerLog, Observer, Provider
from services.messaging.dispatch.queue import Item, Queue
from services.messaging.dispatch.records import dead_letter, state_of, told
from services.messaging.domain.ledger import CAP_MEMORY_MS, Ledger, entry_of
from services.messaging.domain.outcome import Deferred, Failed, Outcome, Sent, Unknown
from services.messaging.domain.patience import Breaker, Patience
from services.messaging.domain.reasons import Reason
from shared.contracts.changes import MESSAGE_REQUESTED_DECODER, MessageStatus
from shared.contracts.failed import FailedRecord
from shared.contracts.ledger import LedgerEntry
from shared.runtime.failpoints import failpoint
from shared.runtime.ports import Fenced, LogAway, StoreAway
from shared.runtime.stage import Record

_log = structlog.get_logger("dispatcher")


@dataclass(frozen=True)
class Habits:
    """`batch`: most messages under way at once in a slot. `lease_s`: a provider call must begin so soon after `sending` went to the ledger.

    `fenced_pause_s`: who was overtaken waits so long before it takes over in turn; Kafka's group will have told it by then if the slot
    is another's now.
    """

    batch: int = 32
    lease_s: float = 5.0
    gate_pause_s: float = 0.5
    fenced_pause_s: float = 10.0
    gather_s: float = 0.02
    patience: Patience = field(default_factory=Patience)


class DispatchSlot:
    """Settles the requests of one partition. `wanted` says whether Kafka still gives it to this process."""

    def __init__(
        self,
        partition: int,
        log: LedgerLog,
        desk: Desk,
        gate: Gate,
        provider: Provider,
        breaker: Breaker,
        clock: Clock,
        observer: Observer,
        habits: Habits,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self.partition = partition
        self.queue = Queue()
        self.ledger = Ledger()
        self.ready = False
        self.shut: str | None = None
        self.waits_for: str | None = None
        self._log, self._desk, self._gate, self._provider = log, desk, gate, provider
        self._breaker, self._clock, self._observer, self._habits = breaker, clock, observer, habits
        self._wanted = wanted
        self._news = asyncio.Event()
        self._leaving = asyncio.Event()

    def receive(self, records: Sequence[Record]) -> None:
        """Records of the slot's partition, in order."""
        undecodable = []
        for record in records:
            if not self.queue.received(record.offset):
                continue
            try:
                request = MESSAGE_REQUESTED_DECODER.decode(record.value or b"")
                bytes.fromhex(request.dispatch_id)
            except (msgspec.DecodeError, ValueError) as error:
                undecodable.append(dead_letter(record, error, self._clock.wall_ms()))
                continue
            if not self.queue.add(Item(request, record.offset, request.profile_id)):
                self._observer.duplicate()
                self.queue.skip(record.offset)
        self._dead = [*self._dead, *undecodable]
        self.wake()

    _dead: Sequence[FailedRecord] = ()

    async def run(self) -> None:
        """Until it is no longer wanted. What is under way is finished first."""
        delay = 0.05
        while self._wanted():
            try:
                if not self.ready:
                    await self._take_over()
                    self.waits_for = None  # a round may last until there is something to send
                await self._round()
                delay, self.waits_for = 0.05, None
            except Fenced:
                _log.warning("slot taken by another process", slot=self.partition)
                self.ready = False
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._leaving.wait(), self._habits.fenced_pause_s)
            except (StoreAway, LogAway) as away:
                self.waits_for = str(away)
                _log.warning("waiting for a server", slot=self.partition, detail=self.waits_for)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)

    def wake(self) -> None:
        """Let `run` look at what it has, and whether it is wanted."""
        self._news.set()

    def stop(self) -> None:
        """It is no longer wanted: `run` ends when it has settled what is under way."""
        self._leaving.set()
        self.wake()

    def close(self) -> None:
        """Let go of the ledger."""
        self._log.close()

    async def _take_over(self) -> None:
        read = await self._log.take_over()
        ledger = Ledger()
        for entry in read.entries:
            ledger.apply(entry)
        self.ledger = ledger
        now = self._clock.wall_ms()
        lost = [
            msgspec.structs.replace(entry, status=MessageStatus.UNKNOWN, reason=Reason.CRASHED, at=now) for entry in ledger.in_sending()
        ]
        if lost:
            await self._record([Change(entry, told(entry)) for entry in lost])
            _log.error("messages whose outcome nobody knows", slot=self.partition, count=len(lost))
        self.ready = True
        _log.info("ledger read", slot=self.partition, messages=len(ledger))
        self._observer.taken_over(self.partition)

    async def _round(self) -> None:
        if self._dead:
            await self._bury()
        batch = self._without_settled(await self._next_batch())
        if not batch:
            return
        try:
            if await self._held_shut():
                self._put_back(batch)
                await asyncio.sleep(self._habits.gate_pause_s)
                return
            decisions = await self._decide(batch)
        except StoreAway:
            self._put_back(batch)
            raise
        await self._carry_out(batch, decisions)
        self._observer.waiting(self.partition, len(self.queue))

    async def _bury(self) -> None:
        dead = self._dead
        await self._insist([], dead)
        self._dead = self._dead[len(dead) :]  # only now: whoever is fenced here must find them again
        for letter in dead:
            self._observer.undecodable()
            self.queue.skip(letter.offset)

    async def _next_batch(self) -> list[Item]:
        wait = self.queue.next_turn(self._clock.steady_s())
        if wait != 0.0:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), wait)
        return self.queue.take(self._habits.batch, self._clock.steady_s()) if self._wanted() else []

    def _without_settled(self, batch: list[Item]) -> list[Item]:
        left = []
        for item in batch:
            if self.ledger.is_settled(item.request.dispatch_id):
                self._observer.duplicate()
                self.queue.settled(item)
                continue
            known = self.ledger.of(item.request.dispatch_id)
            if known is not None and item.recorded is None:
                item.attempts, item.recorded = known.attempts, (known.status, known.reason)
            left.append(item)
        return left

    async def _held_shut(self) -> bool:
        reason = await self._gate.closed()
        self.shut = reason
        self._observer.gate(self.partition, reason)
        if reason is None and not await self._desk.caps.kept(self.partition):
            since = self._clock.wall_ms() - CAP_MEMORY_MS
            await self._desk.caps.restore(self.partition, self.ledger.counted_since(since))
        return reason is not None

    async def _decide(self, batch: list[Item]) -> list[Decision]:
        """While the provider is away nothing goes out but one message that tries whether it is back."""
        decisions = await self._desk.decide(batch, self._clock.wall_ms())
        steady = self._clock.steady_s()
        for number, decision in enumerate(decisions):
            if isinstance(decision, Go) and self._breaker.open and not self._breaker.allow(steady):
                decisions[number] = Wait(Reason.PROVIDER_AWAY, max(self._breaker.wait(steady), 0.05))
        return decisions

    async def _carry_out(self, batch: list[Item], decisions: list[Decision]) -> None:
        going: list[tuple[Item, Go]] = []
        waiting: list[tuple[Item, float]] = []
        ended: list[Item] = []
        changes: list[Change] = []
        for item, decision in zip(batch, decisions, strict=True):
            match decision:
                case Go():
                    item.attempts += 1
                    going.append((item, decision))
                    changes.append(Change(self._entry(item, MessageStatus.SENDING, None)))
                case Wait(reason=reason, seconds=seconds):
                    waiting.append((item, seconds))
                    if item.recorded != (MessageStatus.CLAIMED, reason):
                        entry = self._entry(item, MessageStatus.CLAIMED, reason)
                        changes.append(Change(entry, told(entry)))
                case End(status=status, reason=reason, detail=detail):
                    entry = self._entry(item, status, reason)
                    changes.append(Change(entry, told(entry)))
                    ended.append(item)
                    if detail:
                        _log.info("not sent", journey=item.request.journey, reason=reason.value, detail=detail)
        failpoint("dispatcher.before_sending")
        try:
            owned = await self._record(changes)
        except Fenced:
            self._put_back(batch)
            raise
        failpoint("dispatcher.after_sending")
        for item, seconds in waiting:
            self.queue.put_back(item, self._clock.steady_s() + seconds)
        for item in ended:
            self.queue.settled(item)
        await self._release([item for item in ended if item.claimed or item.attempts])
        await self._send_all(going, owned + self._habits.lease_s)

    async def _send_all(self, going: list[tuple[Item, Go]], last_begin: float) -> None:
        """Hand over side by side; record outcomes as they come, so that a slow one keeps no other open."""
        tasks = {asyncio.create_task(self._send(go, last_begin)): (item, go) for item, go in going}
        try:
            while tasks:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if any(not task.done() for task in tasks):
                    await asyncio.wait(tasks, timeout=self._habits.gather_s)
                done = [task for task in tasks if task.done()]
                failpoint("dispatcher.after_provider")
                settled = [(*tasks.pop(task), task.result()) for task in done]
                await self._settle(settled)
                failpoint("dispatcher.after_settled")
        except Fenced:
            # Another owner calls what was under way unknown, and settles the rest; what is on the wire is let through.
            left = [item for item, _ in tasks.values()]
            if tasks:
                await asyncio.wait(tasks)
            self._put_back(left)
            raise

    async def _send(self, go: Go, last_begin: float) -> Outcome:
        begun = self._clock.steady_s()
        outcome = await self._provider.send(go.mail, lambda: self._clock.steady_s() < last_begin)
        now = self._clock.steady_s()
        match outcome:
            case Unknown() | Deferred(away=True):  # a provider that swallows messages is as bad as one that is not there
                self._breaker.failed(now)
            case Deferred(reason=Reason.HELD_UP):
                pass
            case Sent() | Failed() | Deferred():
                self._breaker.went_well()
        self._observer.provider(self._provider.name, now - begun, self._breaker.open)
        return outcome

    async def _settle(self, outcomes: list[tuple[Item, Go, Outcome]]) -> None:
        changes: list[Change] = []
        again: list[tuple[Item, float]] = []
        ended: list[Item] = []
        freed: list[Item] = []
        for item, go, outcome in outcomes:
            status, reason, provider_id = state_of(outcome)
            entry = self._entry(item, status, reason, provider_id)
            changes.append(Change(entry, told(entry, go.to_masked)))
            if isinstance(outcome, Deferred):
                again.append((item, self._pause(item, outcome)))
            else:
                ended.append(item)
            if isinstance(outcome, Failed):
                freed.append(item)
            if not isinstance(outcome, Sent):
                _log.warning("not sent", status=status.value, reason=reason, detail=outcome.detail, dispatch_id=entry.dispatch_id)
        try:
            await self._record(changes)
        except Fenced:
            self._put_back([item for item, _, _ in outcomes])
            raise
        for item, seconds in again:
            self.queue.put_back(item, self._clock.steady_s() + seconds)
        for item in ended:
            self.queue.settled(item)
        await self._release(freed)

    def _pause(self, item: Item, outcome: Deferred) -> float:
        if outcome.away:
            return max(self._breaker.wait(self._clock.steady_s()), self._habits.patience.provider_first)
        return 0.0 if outcome.reason is Reason.HELD_UP else self._habits.patience.after(item.attempts)

    async def _release(self, items: list[Item]) -> None:
        try:
            if items:
                await self._desk.caps.release([claim(item, 0) for item in items])
        except StoreAway as away:  # a place too many is taken until the window has passed
            _log.warning("places under caps not given back", count=len(items), detail=str(away))

    async def _record(self, changes: Sequence[Change]) -> float:
        """A moment (steady seconds) after which the slot was this process's for certain."""
        owned = await self._insist(changes, ()) if changes else self._clock.steady_s()
        for change in changes:
            self.ledger.apply(change.entry)
            if change.told is not None:
                self._observer.reached(change.entry.channel, change.entry.status.value, change.entry.reason)
        return owned

    async def _insist(self, changes: Sequence[Change], failed: Sequence[FailedRecord]) -> float:
        """Record however long Kafka is away: what has been sent must not be forgotten. Raises Fenced.

        Answers when (steady seconds) the call that went well began: Kafka took it later than that, so the slot was this process's then.
        When its answer comes says nothing: who sleeps before it may wake up overtaken.
        """
        delay = 0.05
        while True:
            begun = self._clock.steady_s()
            try:
                await self._log.record(changes, failed)
                return begun
            except LogAway as away:
                if not self._wanted():
                    raise Fenced("the slot went elsewhere while Kafka was away") from away
                _log.warning("Kafka does not answer, waiting", slot=self.partition, detail=str(away))
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)

    def _entry(self, item: Item, status: MessageStatus, reason: Reason | None, provider_id: str | None = None) -> LedgerEntry:
        entry = entry_of(item.request, item.offset, status, self._clock.wall_ms(), item.profile_id, item.attempts)
        item.recorded = (status, reason)
        called = item.attempts > 0
        return msgspec.structs.replace(
            entry,
            reason=None if reason is None else reason.value,
            provider=self._provider.name if called else None,
            provider_message_id=provider_id,
        )

    def _put_back(self, items: Sequence[Item]) -> None:
        for item in items:
            item.recorded = None
            self.queue.put_back(item)
