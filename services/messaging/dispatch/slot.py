"""One slot of the dispatcher: requests in, each settled once. README.md says what each kill leaves behind.

take over (fence, read the ledger) -> get places at the provider -> decide -> record `sending` -> call the provider -> record what came of
it -> only then is the request's offset free to be committed.
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
import structlog

from services.messaging.dispatch.book import Book
from services.messaging.dispatch.calls import Calls, Ended
from services.messaging.dispatch.class_queue import Item
from services.messaging.dispatch.decide import Decision, Desk, End, Fit, Go, Wait, claim, place_of
from services.messaging.dispatch.habits import IDLE_S, LISTED, Habits
from services.messaging.dispatch.intake import Intake
from services.messaging.dispatch.outlet import Outlet
from services.messaging.dispatch.places import Grant, Seat
from services.messaging.dispatch.ports import Change, Claim, Clock, Gate, LedgerLog, Observer, RequestLog
from services.messaging.dispatch.queue import Class, Queue
from services.messaging.dispatch.records import crashed, gone, state_of, told
from services.messaging.domain.ledger import Ledger, entry_of
from services.messaging.domain.outcome import Deferred, Failed, Sent
from services.messaging.domain.reasons import Reason
from shared.adapters.waiting import until_set
from shared.contracts.changes import MessageStatus
from shared.contracts.ledger import LedgerEntry
from shared.runtime.failpoints import failpoint
from shared.runtime.ports import Fenced, LogAway, StoreAway
from shared.runtime.stage import Record

_log = structlog.get_logger("dispatcher")


class DispatchSlot:
    """Settles the requests of one partition. `wanted` says whether Kafka still gives it to this process."""

    def __init__(
        self,
        partition: int,
        log: LedgerLog,
        requests: RequestLog,
        desk: Desk,
        gate: Gate,
        outlet: Outlet,
        clock: Clock,
        observer: Observer,
        habits: Habits,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self.partition = partition
        self.queue = Queue(habits.bounds)
        self.ready = False
        self.shut: str | None = None
        self.waits_for: str | None = None
        self._log, self._desk, self._gate, self._outlet = log, desk, gate, outlet
        self._book = Book(partition, log, clock, observer, wanted, habits.keeping)
        self._clock, self._observer, self._habits = clock, observer, habits
        self._wanted = wanted
        self._news = asyncio.Event()
        self._leaving = asyncio.Event()
        self._intake = Intake(partition, self.queue, requests, clock, observer, self.wake)
        self._seat = Seat(self.wake)
        self._calls = Calls(outlet, self.wake)
        self._spare = 0  # looked at beyond the places there are: many, while most messages end without a place

    @property
    def ledger(self) -> Ledger:
        """What is known of the slot's messages."""
        return self._book.ledger

    def receive(self, records: Sequence[Record]) -> None:
        """Records of the slot's partition, in order."""
        self._intake.receive(records)
        self.wake()

    async def run(self) -> None:
        """Until it is no longer wanted; what is under way is finished first. Any exception out of here is a fault of the program."""
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
                await self._overtaken()
                await until_set(self._leaving, self._habits.fenced_pause_s)
            except (StoreAway, LogAway) as away:
                self.waits_for = str(away)
                _log.warning("waiting for a server", slot=self.partition, detail=self.waits_for)
                await self._calls.wait(delay)
                delay = min(delay * 2, 2.0)
        await self._finish()

    def wake(self) -> None:
        """Let `run` look at what it has, and whether it is wanted."""
        self._news.set()

    def stop(self) -> None:
        """It is no longer wanted: `run` ends when it has settled what is under way."""
        self._leaving.set()
        self.wake()

    def close(self) -> None:
        """Let go of the ledger, and read nothing more."""
        self._intake.close()
        self._log.close()

    async def _take_over(self) -> None:
        ledger = await self._book.take_over()
        now = self._clock.wall_ms()
        self._intake.look_soon()
        lost = [crashed(entry, now) for entry in ledger.in_sending()]
        if lost:
            await self._book.record([Change(entry, told(entry)) for entry in lost])
            _log.error("messages whose outcome nobody knows", slot=self.partition, count=len(lost))
        self.ready = True
        self._observer.taken_over(self.partition)

    async def _overtaken(self) -> None:
        """Another owner calls what was under way unknown, and settles the rest; what is on the wire is let through."""
        self.ready = False
        self.queue.back(await self._calls.let_through())
        for item in self.queue.waiting():
            item.forget_records()

    async def _finish(self) -> None:
        try:
            while self._calls:
                await self._calls.wait()
                await self._settle_ended()
        except Fenced:
            await self._overtaken()
        self._observe()

    async def _round(self) -> None:
        """Record what has ended, read again what is due or has room, and begin as many messages as there are places."""
        await self._settle_ended()
        if self._intake.letters:
            await self._bury()
        self._intake.read_again()
        await self._end_gone()
        await self._book.keep(self.queue.position, self._desk.caps)
        self._observe()
        grant = await self._grant()
        try:
            if grant:
                await self._begin(grant)
        finally:
            grant.give_back(self._clock.steady_s())

    def _observe(self) -> None:
        for one, queue in self.queue.by_class.items():
            counts = (queue.in_hand, self.queue.unread(one), queue.put_off_count) if self._wanted() else (0, 0, 0)
            self._observer.waiting(self.partition, one.label, *counts)

    async def _bury(self) -> None:
        letters = list(self._intake.letters)
        await self._book.record([], letters)
        self._intake.buried(letters)  # only now: whoever is fenced here must find them again

    async def _end_gone(self) -> None:
        """Messages that wait for a request that does not come again end here: nobody else would end them."""
        now = self._clock.wall_ms()
        if entries := [gone(entry, now) for entry in self._intake.gone(self.ledger)]:
            await self._book.record([Change(entry, told(entry)) for entry in entries])
            await self._release([place_of(entry) for entry in entries if entry.claimed_at is not None])
            _log.error("requests left the log before their messages were settled", slot=self.partition, count=len(entries))
        self._intake.gone_ended()

    async def _grant(self) -> Grant:
        """Places at the provider, once there are some; none if there is something else to do first."""
        now, places = self._clock.steady_s(), self._outlet.places
        self._news.clear()
        if not self._wanted() or self._intake.letters or self._calls.any_ended:
            return Grant(places)
        if self._outlet.breaker.wait(now) > 0 and await self._list_waiting():
            return Grant(places)
        ready = self.queue.ready()
        places.ask(self._seat, {one: min(number, self._habits.batch) for one, number in ready.items()}, now)
        try:
            if not self._seat.granted:
                await until_set(self._news, self._until_next(now, any(ready.values())))
        except BaseException:
            places.leave(self._seat).give_back(self._clock.steady_s())
            raise
        return places.leave(self._seat)

    def _until_next(self, now: float, has_ready: bool) -> float:
        """Seconds after which it is worth looking without news."""
        waits = [IDLE_S] if (due := self._intake.next_due()) is None else [IDLE_S, max(0.0, due - now)]
        if has_ready and (shut := self._outlet.places.wait(now)) > 0:
            waits.append(shut)
        return min(waits)

    async def _list_waiting(self) -> bool:
        """While the provider is away: list those in hand as waiting for it, each once, and end those whose time is over."""
        now = self._clock.wall_ms()
        in_hand = list(self.queue.waiting())
        new = self._without_settled(in_hand)
        kept = {item.offset for item in new}
        self.queue.remove(repeats := [item for item in in_hand if item.offset not in kept])
        self.queue.remove(over := [item for item in new if now >= item.request.expires_at][:LISTED])
        listed = [item for item in new if self._recall(item) is None and now < item.request.expires_at][:LISTED]
        entries = [self._entry(item, MessageStatus.EXPIRED, Reason.TOO_LATE) for item in over]
        entries += [self._entry(item, MessageStatus.CLAIMED, Reason.PROVIDER_AWAY) for item in listed]
        try:
            await self._book.record([Change(entry, told(entry)) for entry in entries])
        except Fenced:
            self._put_back(over)
            raise
        for item in over:
            self.queue.settled(item)
        await self._release([claim(item, 0) for item in over if item.may_have_place])
        return bool(entries or repeats)

    async def _begin(self, grant: Grant) -> None:
        """Start as many messages as `grant` has places for; what is not used of it stays there."""
        looked_at = self._clock.steady_s()
        if await self._held_shut():
            grant.give_back(self._clock.steady_s())
            await self._calls.wait(self._habits.gate_pause_s)
            return
        most = self._habits.batch
        batch = self._without_settled(self.queue.take(min(most, len(grant) + self._spare)))
        try:
            decisions = await self._decide(batch, grant)
        except StoreAway:
            self._put_back(batch)
            raise
        self._spare = min(most, 2 * self._spare + 4) if grant else 0
        await self._carry_out(decisions, grant, looked_at)

    def _without_settled(self, batch: list[Item]) -> list[Item]:
        left = []
        for item in batch:
            if self.ledger.is_settled(item.request.dispatch_id):
                self._observer.duplicate()
                self.queue.settled(item)
                continue
            if self._recall(item) is None and self._is_forgotten(item):
                self._observer.forgotten()
                self.queue.settled(item)
                continue
            left.append(item)
        return left

    def _is_forgotten(self, item: Item) -> bool:
        """Whether it has ended and been told before, so long ago that its id is gone."""
        return item.request.expires_at <= self._clock.wall_ms() and self.ledger.was_settled(item.cause)

    def _recall(self, item: Item) -> tuple[MessageStatus, str | None] | None:
        """What the ledger has of it."""
        known = self.ledger.of(item.request.dispatch_id)
        if known is not None and item.recorded is None:
            item.attempts, item.claimed_at, item.recorded = known.attempts, known.claimed_at, (known.status, known.reason)
        return item.recorded

    async def _held_shut(self) -> bool:
        reason = await self._gate.closed()
        self.shut = reason
        self._observer.gate(self.partition, reason)
        if reason is None:
            await self._book.put_back_places(self._desk.caps)
        return reason is not None

    async def _decide(self, batch: list[Item], grant: Grant) -> list[tuple[Item, Decision, Class | None]]:
        """What becomes of each, with its place if it goes. Those that would go and find no place are back in hand."""
        now = self._clock.wall_ms()
        decided: list[tuple[Item, Decision, Class | None]] = []
        fit: list[tuple[Item, Fit]] = []
        places: list[Class] = []
        left: list[Item] = []
        for item, found in zip(batch, await self._desk.look_at(batch, now), strict=True):
            if not isinstance(found, Fit):
                decided.append((item, found, None))
            elif (place := grant.pledge(Class.of(item.request.message_class))) is not None:
                fit.append((item, found))
                places.append(place)
            else:
                left.append(item)
        prepared = await self._desk.prepare(fit, now)
        decided += [(item, made, place) for (item, _), made, place in zip(fit, prepared, places, strict=True)]
        self.queue.back(left)
        return decided

    async def _carry_out(self, decided: Sequence[tuple[Item, Decision, Class | None]], grant: Grant, looked_at: float) -> None:
        """The lease counts from `looked_at`, when gate, consent and caps were asked: Kafka may take its time to record what follows. After
        that somebody else may have the slot, or the person may have said something else.
        """
        going: list[tuple[Item, Go, Class]] = []
        waiting: list[tuple[Item, float]] = []
        ended: list[Item] = []
        changes: list[Change] = []
        for item, decision, place in decided:
            match decision:
                case Go():
                    assert place is not None
                    item.attempts += 1
                    going.append((item, decision, place))
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
            await self._book.record(changes)
        except Fenced:
            self._put_back([item for item, _, _ in decided])
            raise
        failpoint("dispatcher.after_sending")
        for item, go, place in going:
            grant.hand_over(place)
            self._calls.begin(item, go, place, looked_at + self._habits.lease_s)
        for item, seconds in waiting:
            self._put_off(item, seconds)
        for item in ended:
            self.queue.settled(item)
        await self._release([claim(item, 0) for item in ended if item.may_have_place])

    async def _settle_ended(self) -> None:
        ended = await self._calls.ended(self._habits.gather_s)
        if ended:
            failpoint("dispatcher.after_provider")
            await self._settle(ended)
            failpoint("dispatcher.after_settled")

    async def _settle(self, calls: Sequence[Ended]) -> None:
        changes: list[Change] = []
        for call in calls:
            item, outcome = call.item, call.outcome
            status, reason, provider_id = state_of(outcome)
            if reason is Reason.HELD_UP:
                item.attempts -= 1  # the call was not begun
            entry = self._entry(item, status, reason, provider_id)
            changes.append(Change(entry, told(entry, call.go.to_masked)))
            if not isinstance(outcome, Sent | Deferred):
                _log.warning("not sent", status=status.value, reason=reason, detail=outcome.detail, dispatch_id=entry.dispatch_id)
        try:
            await self._book.record(changes)
        except Fenced:
            self._put_back([call.item for call in calls])
            raise
        for call in calls:
            match call.outcome:
                case Deferred(reason=Reason.HELD_UP):
                    self.queue.back([call.item])
                case Deferred(away=True) if self._outlet.breaker.open:  # another may try whether the provider is back
                    self.queue.back([call.item], last=True)
                case Deferred(away=True):  # it may be the message that the provider cannot bear
                    self._put_off(call.item, self._habits.patience.after_breakdown(call.item.attempts))
                case Deferred():
                    self._put_off(call.item, self._habits.patience.after(call.item.attempts))
                case _:
                    self.queue.settled(call.item)
        await self._release([claim(call.item, 0) for call in calls if isinstance(call.outcome, Failed)])

    def _put_off(self, item: Item, seconds: float) -> None:
        """For so long, or until its time is over."""
        left = (item.request.expires_at - self._clock.wall_ms()) / 1000
        self.queue.put_off(item, self._clock.steady_s() + max(0.0, min(seconds, left)))

    async def _release(self, places: list[Claim]) -> None:
        try:
            if places:
                await self._desk.caps.release(places)
        except StoreAway as away:  # a place too many is taken until the window has passed
            _log.warning("places under caps not given back", count=len(places), detail=str(away))

    def _entry(self, item: Item, status: MessageStatus, reason: Reason | None, provider_id: str | None = None) -> LedgerEntry:
        now = self._clock.wall_ms()
        entry = entry_of(item.request, item.offset, status, now, item.profile_id, item.attempts, item.cause, item.claimed_at)
        item.recorded = (status, reason)
        called = item.attempts > 0
        return msgspec.structs.replace(
            entry,
            reason=None if reason is None else reason.value,
            provider=self._outlet.provider.name if called else None,
            provider_message_id=provider_id,
        )

    def _put_back(self, items: Sequence[Item]) -> None:
        for item in items:
            item.forget_records()
        self.queue.back(items)
