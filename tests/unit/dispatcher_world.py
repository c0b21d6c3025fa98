"""A partition of requests, a ledger, a provider, and processes that come and go, in memory: for tests of the dispatcher's slot."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from services.messaging.channels.email import EMAIL, composer
from services.messaging.channels.registry import HEADS
from services.messaging.channels.socket import Draft
from services.messaging.dispatch.class_queue import Bounds
from services.messaging.dispatch.decide import Desk, Go, Rulebook, Writing
from services.messaging.dispatch.habits import Habits
from services.messaging.dispatch.outlet import Outlet
from services.messaging.dispatch.outlets import Outlets
from services.messaging.dispatch.places import Places
from services.messaging.dispatch.ports import Caps, Change, Claim, Known, Observer, Page
from services.messaging.dispatch.queue import Class, Lane, Line
from services.messaging.dispatch.slot import DispatchSlot
from services.messaging.domain.admission import Reach, Rules
from services.messaging.domain.ledger import Ledger, resume
from services.messaging.domain.mail import Mail, Sender
from services.messaging.domain.outcome import Deferred, Outcome, Sent, Unknown
from services.messaging.domain.patience import Breaker, Pace, Patience
from services.messaging.domain.reasons import Reason
from services.messaging.domain.rendering import NotRendered, Rendered
from shared.contracts.changes import CHANGE_ENCODER, MessageChanged, MessageRequested
from shared.contracts.failed import FailedRecord
from shared.contracts.journey_blob import Consent, Fact, Person
from shared.contracts.ledger import Checkpoint, LedgerEntry
from shared.contracts.topics import MESSAGE_REQUESTED
from shared.definitions.folder import read_folder
from shared.definitions.template import TemplateHead, Templates
from shared.runtime.ports import Fenced, LogAway, StoreAway
from shared.testing.fakes import FakeRecord

NOW = 1_700_000_000_000
HOUR = 3600 * 1000
MAIL = Lane("email")
MARKETING = Line(MAIL, Class.MARKETING)
YES = {"email": Consent(1, "m", "s", True)}


def person(email: str | None = "ann@example.com", consents: dict[str, Consent] | None = None) -> Person:
    fact = None if email is None else Fact(1, "m", "s", msgspec.json.encode(email))
    return Person({} if fact is None else {"email": fact}, consents=YES if consents is None else consents)


def request(number: int, **changes: object) -> MessageRequested:
    base = MessageRequested(
        dispatch_id=f"{number:032x}",
        entry_id="e",
        journey="keep",
        journey_version=1,
        step="steps[0]",
        profile_id=f"u:{number}",
        channel="email",
        template="hello",
        message_class="marketing",
        requested_at=NOW,
        expires_at=NOW + HOUR,
        person={"firstName": msgspec.Raw(b'"Ann"')},
    )
    return msgspec.structs.replace(base, **changes)


@dataclass
class FakeClock:
    now: float = 0.0

    def wall_ms(self) -> int:
        return NOW + int(self.now * 1000)

    def steady_s(self) -> float:
        return self.now


@dataclass
class SharedLedger:
    """The log behind all owners: the last to take over is the one who may write."""

    entries: list[LedgerEntry] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    read: int = 0
    told: list[MessageChanged] = field(default_factory=list)
    letters: list[FailedRecord] = field(default_factory=list)
    owner: int = 0
    away: int = 0
    transactions: int = 0
    before: Callable[[], None] = lambda: None
    refused: Callable[[], None] = lambda: None
    answered: Callable[[], None] = lambda: None

    def folded(self) -> Ledger:
        """As adapters/ledger_reader.py reads it; `read`: entries that had to be read."""
        resumed = resume(self.checkpoints[-1] if self.checkpoints else None, self.checkpoints)
        tail = self.entries[resumed.upto :]
        for entry in tail:
            resumed.ledger.apply(entry)
        self.read = len(tail)
        return resumed.ledger

    def last(self) -> dict[str, LedgerEntry]:
        return {entry.dispatch_id: entry for entry in self.entries}


class FakeLedger:
    def __init__(self, shared: SharedLedger) -> None:
        self.shared = shared
        self.me = -1

    @property
    def end(self) -> int:
        return len(self.shared.entries)

    async def take_over(self) -> Ledger:
        self.shared.owner += 1
        self.me = self.shared.owner
        return self.shared.folded()

    async def checkpoint(self, checkpoint: Checkpoint, again: Sequence[LedgerEntry]) -> None:
        await self._may_write()
        self.shared.checkpoints.append(checkpoint)
        self.shared.entries += again

    async def counted(self, since_ms: int, position: int) -> AsyncGenerator[Sequence[LedgerEntry], None]:
        yield [entry for entry in self.shared.entries[position:] if entry.at >= since_ms]

    async def _may_write(self) -> None:
        await asyncio.sleep(0)
        self.shared.before()
        if self.shared.owner != self.me:
            raise Fenced("another")
        if self.shared.away:
            self.shared.away -= 1
            self.shared.refused()
            raise LogAway("Kafka is away")

    async def record(self, changes: Sequence[Change], failed: Sequence[FailedRecord] = ()) -> None:
        await self._may_write()
        self.shared.transactions += 1
        self.shared.entries += [change.entry for change in changes]
        self.shared.told += [change.told for change in changes if change.told is not None]
        self.shared.letters += failed
        self.shared.answered()

    def close(self) -> None:
        self.me = -1


@dataclass
class FakeProvider:
    """Answers by script: outcomes per dispatch id, used up one by one, else Sent. Calls of `slow` ones hang until `release`."""

    name: str = "fake"
    got: list[str] = field(default_factory=list)
    content: dict[str, bytes] = field(default_factory=dict)
    to: list[str] = field(default_factory=list)
    script: dict[str, list[Outcome]] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None
    hold: asyncio.Event | None = None
    slow: set[str] = field(default_factory=set)
    release: asyncio.Event | None = None

    async def send(self, message: Mail, may_begin: Callable[[], bool]) -> Outcome:
        self.before()
        if self.hold is not None:
            await self.hold.wait()
        if not may_begin():
            return Deferred(Reason.HELD_UP, "late")
        if message.dispatch_id in self.slow and self.release is not None:
            await self.release.wait()
        outcomes = self.script.get(message.dispatch_id)
        outcome = outcomes.pop(0) if outcomes else Sent()
        if isinstance(outcome, Sent | Unknown):
            self.got.append(message.dispatch_id)
            self.content[message.dispatch_id] = message.content
            self.to.append(message.to.addr_spec)
        return outcome


@dataclass
class FakeRequestLog:
    """The records of the world's partition, `page` of them at a time; those before `start` are gone."""

    records: list[FakeRecord]
    page: int = 3
    start: int = 0
    away: int = 0
    reads: int = 0

    async def begins(self, partition: int) -> int:
        await self._answer()
        return self.start

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        self.reads += 1
        if self.away:
            self.away -= 1
            raise LogAway("Kafka is away")

    async def read(self, partition: int, start: int, one: Class) -> Page:
        await self._answer()
        found = [record for record in self.records if record.offset >= max(start, self.start)][: self.page]
        return Page(found, found[-1].offset + 1 if found else len(self.records))


@dataclass
class FakePeople:
    people: dict[str, Known | None] = field(default_factory=dict)
    away: bool = False
    asked: int = 0
    reads: int = 0

    async def read(self, profile_ids: Sequence[str]) -> dict[str, Known | None]:
        if self.away:
            raise StoreAway("Redis is away")
        self.reads += 1
        self.asked += len(profile_ids)
        return {asked: self.people.get(asked, Known(asked, person())) for asked in profile_ids}


@dataclass
class FakeCaps:
    places: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    left: int | None = None
    """What the dispatcher wrote last; None: Redis is not as it left it."""
    restored: list[int] = field(default_factory=list)

    async def missing(self) -> int | None:
        return 0 if self.left is None else None

    async def restore(self, pages: AsyncIterator[Sequence[LedgerEntry]], end: int) -> None:
        async for page in pages:
            for entry in page:
                places = self.places.setdefault((entry.profile_id, entry.message_class), {})
                places.pop(entry.dispatch_id, None)
                if entry.counts_from is not None:
                    places[entry.dispatch_id] = entry.counts_from
        self.left = end
        self.restored.append(end)

    async def noted(self, end: int) -> None:
        self.left = end

    async def claim(self, wanted: Sequence[Claim]) -> list[bool]:
        if self.left is None:
            raise StoreAway("places are missing")
        return [self._claim(one) for one in wanted]

    def _claim(self, one: Claim) -> bool:
        places = self.places.setdefault((one.profile_id, one.message_class), {})
        taken = sum(at > one.at - one.per for key, at in places.items() if key != one.dispatch_id)
        if one.limit and taken >= one.limit:
            places.pop(one.dispatch_id, None)
            return False
        places[one.dispatch_id] = one.at
        return True

    async def release(self, places: Sequence[Claim]) -> None:
        for one in places:
            self.places.get((one.profile_id, one.message_class), {}).pop(one.dispatch_id, None)


@dataclass
class FakeGate:
    reason: str | None = None
    asked: int = 0

    async def closed(self) -> str | None:
        self.asked += 1
        return self.reason


def write_templates(folder: Path) -> Templates:
    """`hello` makes do without a name, `needs` cannot do without a plan, `sums` fails for one that is no number."""
    subject = "\"Hi {{{{ person.firstName | default: 'you' }}}}\""
    head = f"---\ntemplate: {{}}\nchannel: email\nclass: marketing\nlocale: en\nsubject: {subject}\n---\n"
    (folder / "hello.en.liquid").write_text(head.format("hello") + "Hello {{ person.firstName | default: 'you' }}\n")
    (folder / "needs.en.liquid").write_text(head.format("needs") + "Your {{ person.plan }}\n")
    (folder / "sums.en.liquid").write_text(head.format("sums") + "Your {{ person.plan | sum }}\n")
    return read_folder(folder, heads=HEADS).needed(TemplateHead).templates


class MailOnly:
    """The channel of e-mail as a desk sees it, without a server."""

    def __init__(self) -> None:
        self.compose = composer(Sender.parse("Shop <shop@example.com>"))

    def reach(self, request: MessageRequested) -> Reach | None:
        return EMAIL.reach if request.channel == EMAIL.name else None

    def repeats(self, request: MessageRequested) -> bool:
        return False

    def write(self, request: MessageRequested, head: TemplateHead, rendered: Rendered, to: str | None, now_ms: int) -> Go | NotRendered:
        made = self.compose(Draft(request, head, rendered, to, now_ms))
        return Go(made.message, made.to_masked)


class World:
    """A partition of requests, a ledger, and the processes that come and go."""

    def __init__(self, templates: Templates) -> None:
        self.clock = FakeClock()
        self.ledger = SharedLedger()
        self.provider = FakeProvider()
        self.people = FakePeople()
        self.caps = FakeCaps()
        self.gate = FakeGate()
        self.rules = Rules({})
        self.observer = Observer()
        self.templates = templates
        self.channels: Writing = MailOnly()
        self.other_lanes: dict[Lane, Outlet] = {}
        self.repeats = False
        self.records: list[FakeRecord] = []
        self.log = FakeRequestLog(self.records)
        self.patience = Patience(10.0, 100.0, 1.0, 8.0, failures=3)
        self.bounds = Bounds()
        self.places, self.kept, self.pace = 4, 0, Pace()
        self.wanted: set[int] = set()
        self.tasks: list[asyncio.Task[None]] = []

    def ask(self, *requests: MessageRequested | bytes) -> None:
        for one in requests:
            value = one if isinstance(one, bytes) else CHANGE_ENCODER.encode(one)
            self.records.append(FakeRecord(MESSAGE_REQUESTED, 0, len(self.records), NOW, b"u:1", value))

    def outlet(self) -> Outlet:
        """The provider as a process of its own has it."""
        breaker = Breaker(self.patience)
        places = Places(self.places, self.kept, breaker, self.pace)
        return Outlet(self.provider, places, breaker, self.clock, Observer(), self.bounds, self.repeats)

    def outlets(self, outlet: Outlet) -> Outlets:
        return Outlets({MAIL: outlet, **self.other_lanes}, self.clock, Observer())

    def slot(self, wanted: Callable[[], bool], outlet: Outlet | None = None) -> DispatchSlot:
        """Of a new process; nothing has been received."""
        desk = self.desk(self.caps)
        habits = Habits(4, 5.0, gate_pause_s=0.001, fenced_pause_s=0.1, gather_s=0.0, patience=self.patience)
        ledger, outlets = FakeLedger(self.ledger), self.outlets(outlet or self.outlet())
        return DispatchSlot(0, ledger, self.log, desk, self.gate, outlets, self.clock, self.observer, habits, wanted)

    def desk(self, caps: Caps) -> Desk:
        return Desk(self.people, caps, lambda: Rulebook(self.templates, self.rules), self.channels)

    def start(self, *, from_offset: int = 0, outlet: Outlet | None = None) -> DispatchSlot:
        """A new process; its slot gets every record from its committed offset on."""
        number = len(self.tasks)
        slot = self.slot(lambda: number in self.wanted, outlet)
        slot.receive(self.records[from_offset:])
        self.wanted.add(number)
        self.tasks.append(asyncio.create_task(slot.run()))
        return slot

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                for task in self.tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.001)

    async def as_time_goes_by(self, slot: DispatchSlot, seconds: float, holds: Callable[[], bool]) -> None:
        """Let `seconds` pass at each look until `holds`."""

        def look() -> bool:
            if holds():
                return True
            self.clock.now += seconds
            slot.wake()
            return False

        await self.until(look)

    async def settle(self, slot: DispatchSlot) -> None:
        await self.until(lambda: slot.queue.position == len(self.records))

    async def stop(self, slot: DispatchSlot) -> None:
        self.wanted.clear()
        slot.stop()
        await asyncio.wait_for(asyncio.gather(*self.tasks), 10)
        slot.close()

    def status(self, number: int) -> tuple[str, str | None]:
        entry = self.ledger.last()[f"{number:032x}"]
        return entry.status.value, entry.reason
