"""One slot of the dispatcher: requests in, each settled once. README.md says what each kill leaves behind.

take over (fence, read the ledger) -> get places at the provider -> decide -> record `sending` -> call the provider -> record what came of
it -> only then is the request's offset free to be committed.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from services.messaging.dispatch.book import WAITS_S, Book
from services.messaging.dispatch.calls import Calls, Ended
from services.messaging.dispatch.class_queue import Item
from services.messaging.dispatch.decide import Decision, Desk, End, Fit, Go, Wait, claim, place_of
from services.messaging.dispatch.entries import Entries
from services.messaging.dispatch.habits import IDLE_S, LISTED, Habits
from services.messaging.dispatch.intake import Intake
from services.messaging.dispatch.outlets import Grants, Outlets, Seats
from services.messaging.dispatch.ports import Change, Claim, Clock, Gate, LedgerLog, Observer, RequestLog
from services.messaging.dispatch.queue import Class, Lane, Queue
from services.messaging.dispatch.records import crashed, gone, state_of, told
from services.messaging.domain.ledger import Ledger
from services.messaging.domain.outcome import Deferred, Failed, Sent
from services.messaging.domain.reasons import Reason
from shared.adapters.waiting import until_set
from shared.contracts.changes import MessageStatus
from shared.runtime.backoff import Backoff
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
        outlets: Outlets,
        clock: Clock,
        observer: Observer,
        habits: Habits,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self.partition = partition
        self.queue = Queue(outlets.bounds)
        self.ready = False
        self.shut: str | None = None
        self.waits_for: str | None = None
        self._log, self._desk, self._gate, self._outlets = log, desk, gate, outlets
        self._book = Book(partition, log, clock, observer, wanted, habits.keeping)
        self._clock, self._observer, self._habits = clock, observer, habits
        self._wanted = wanted
        self._news = asyncio.Event()
        self._leaving = asyncio.Event()
        self._intake = Intake(partition, self.queue, requests, clock, observer, self.wake)
        self._entries = Entries(self._book, self.queue, outlets, clock, observer)
        self._seats = Seats(outlets, self.wake)
        self._calls = Calls(outlets, self.wake)
        self._spare: dict[Lane, int] = {}  # looked at beyond the places there are: many, while most messages end without a place

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
        backoff = Backoff(*WAITS_S)
        while self._wanted():
            try:
                if not self.ready:
                    await self._take_over()
                    self.waits_for = None  # a round may last until there is something to send
                await self._round()
                self.waits_for = None
                backoff.reset()
            except Fenced:
                _log.warning("slot taken by another process", slot=self.partition)
                await self._overtaken()
                await until_set(self._leaving, self._habits.fenced_pause_s)
            except (StoreAway, LogAway) as away:
                self.waits_for = str(away)
                _log.warning("waiting for a server", slot=self.partition, detail=self.waits_for)
                await self._calls.wait(backoff.next())
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
        lost = [crashed(entry, now, repeats=self._outlets.repeats(entry.channel)) for entry in ledger.in_sending()]
        if lost:
            await self._book.record([Change(entry, told(entry)) for entry in lost])
        if unknown := sum(not entry.in_doubt for entry in lost):
            _log.error("messages whose outcome nobody knows", slot=self.partition, count=unknown)
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
        grants = await self._grant()
        try:
            if grants:
                await self._begin(grants)
        finally:
            grants.give_back(self._clock.steady_s())

    def _observe(self) -> None:
        for (channel, label), counts in self.queue.counts().items():
            self._observer.waiting(self.partition, channel, label, *(counts if self._wanted() else (0, 0, 0)))

    async def _bury(self) -> None:
        letters = list(self._intake.letters)
        await self._book.record([], letters)
        self._intake.buried(letters)  # only now: whoever is fenced here must find them again

    async def _end_gone(self) -> None:
        """Messages that wait for a request that does not come again end here: nobody else would end them."""
        now = self._clock.wall_ms()
        if entries := [gone(entry, now) for entry in self._intake.gone(self.ledger)]:
            await self._book.record([Change(entry, told(entry)) for entry in entries])
            await self._release([place_of(entry) for entry in entries if entry.claimed_at is not None and not entry.in_doubt])
            _log.error("requests left the log before their messages were settled", slot=self.partition, count=len(entries))
        self._intake.gone_ended()

    async def _grant(self) -> Grants:
        """Places at providers, once there are some; none if there is something else to do first."""
        now = self._clock.steady_s()
        self._news.clear()
        if not self._wanted() or self._intake.letters or self._calls.any_ended:
            return Grants({})
        if (away := self._outlets.away(now)) and await self._list_waiting(away):
            return Grants({})
        ready = self.queue.ready()
        self._seats.ask(ready, self._habits.batch, now)
        try:
            if not self._seats.granted:
                due = self._intake.next_due()
                waits = [IDLE_S, *self._seats.waits(ready, now), *([] if due is None else [max(0.0, due - now)])]
                await until_set(self._news, min(waits))  # so long it is not worth looking without news
        except BaseException:
            self._seats.leave().give_back(self._clock.steady_s())
            raise
        return self._seats.leave()

    async def _list_waiting(self, away: set[Lane]) -> bool:
        """While providers are away: list those in hand as waiting for them, each once, and end those whose time is over."""
        now = self._clock.wall_ms()
        in_hand = list(self.queue.waiting(away))
        new = self._entries.without_settled(in_hand)
        kept = {item.offset for item in new}
        self.queue.remove(repeats := [item for item in in_hand if item.offset not in kept])
        self.queue.remove(over := [item for item in new if now >= item.request.expires_at][:LISTED])
        listed = [item for item in new if self._entries.recall(item) is None and now < item.request.expires_at][:LISTED]
        entries = [self._entries.of(item, MessageStatus.EXPIRED, Reason.TOO_LATE) for item in over]
        entries += [self._entries.of(item, MessageStatus.CLAIMED, Reason.PROVIDER_AWAY) for item in listed]
        try:
            await self._book.record([Change(entry, told(entry)) for entry in entries])
        except Fenced:
            self._put_back(over)
            raise
        for item in over:
            self.queue.settled(item)
        await self._release([claim(item, 0) for item in over if item.gives_back])
        return bool(entries or repeats)

    async def _begin(self, grants: Grants) -> None:
        """Start as many messages as `grants` has places for; what is not used of it stays there."""
        looked_at = self._clock.steady_s()
        if await self._held_shut():
            grants.give_back(self._clock.steady_s())
            await self._calls.wait(self._habits.gate_pause_s)
            return
        most, taken = self._habits.batch, list[Item]()
        for lane, grant in grants.by_lane.items():
            taken += self.queue.take(lane, min(most, len(grant) + self._spare.get(lane, 0)))
        batch = self._entries.without_settled(taken)
        try:
            decisions = await self._decide(batch, grants)
        except StoreAway:
            self._put_back(batch)
            raise
        self._spare = {lane: min(most, 2 * self._spare.get(lane, 0) + 4) for lane, grant in grants.by_lane.items() if len(grant)}
        await self._carry_out(decisions, grants, looked_at)

    async def _held_shut(self) -> bool:
        reason = await self._gate.closed()
        self.shut = reason
        self._observer.gate(self.partition, reason)
        if reason is None:
            await self._book.put_back_places(self._desk.caps)
        return reason is not None

    async def _decide(self, batch: list[Item], grants: Grants) -> list[tuple[Item, Decision, Class | None]]:
        """What becomes of each, with its place if it goes. Those that would go and find no place are back in hand."""
        now = self._clock.wall_ms()
        decided: list[tuple[Item, Decision, Class | None]] = []
        fit: list[tuple[Item, Fit]] = []
        places: list[Class] = []
        left: list[Item] = []
        for item, found in zip(batch, await self._desk.look_at(batch, now), strict=True):
            if not isinstance(found, Fit):
                decided.append((item, found, None))
            elif (place := grants.pledge(self.queue.line_of(item))) is not None:
                fit.append((item, found))
                places.append(place)
            else:
                left.append(item)
        prepared = await self._desk.prepare(fit, now)
        decided += [(item, made, place) for (item, _), made, place in zip(fit, prepared, places, strict=True)]
        self.queue.back(left)
        return decided

    async def _carry_out(self, decided: Sequence[tuple[Item, Decision, Class | None]], grants: Grants, looked_at: float) -> None:
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
                    changes.append(Change(self._entries.of(item, MessageStatus.SENDING, None)))
                case Wait(reason=reason, seconds=seconds):
                    waiting.append((item, seconds))
                    if item.recorded != (MessageStatus.CLAIMED, reason):
                        entry = self._entries.of(item, MessageStatus.CLAIMED, reason)
                        changes.append(Change(entry, told(entry)))
                case End(status=status, reason=reason, detail=detail):
                    entry = self._entries.of(item, status, reason)
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
            grants.hand_over(self.queue.line_of(item).lane, place)
            self._calls.begin(item, go, place, looked_at + self._habits.lease_s)
        for item, seconds in waiting:
            self._put_off(item, seconds)
        for item in ended:
            self.queue.settled(item)
        await self._release([claim(item, 0) for item in ended if item.gives_back])

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
            item.in_doubt |= isinstance(outcome, Deferred) and outcome.in_doubt
            status, reason, provider_id = state_of(outcome)
            if reason is Reason.HELD_UP:
                item.attempts -= 1  # the call was not begun
            entry = self._entries.of(item, status, reason, provider_id)
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
                case Deferred(away=True) if self._outlets.of(
                    call.item.request
                ).breaker.open:  # another may try whether the provider is back
                    self.queue.back([call.item], last=True)
                case Deferred(away=True):  # it may be the message that the provider cannot bear
                    self._put_off(call.item, self._habits.patience.after_breakdown(call.item.attempts))
                case Deferred(after_s=after_s):
                    self._put_off(call.item, max(after_s, self._habits.patience.after(call.item.attempts)))
                case _:
                    self.queue.settled(call.item)
        await self._release([claim(call.item, 0) for call in calls if isinstance(call.outcome, Failed) and call.item.gives_back])

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

    def _put_back(self, items: Sequence[Item]) -> None:
        for item in items:
            item.forget_records()
        self.queue.back(items)
