"""One slot of the dispatcher on fakes: every message is settled once, whatever is away, and whoever takes over."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from email.headerregistry import Address
from pathlib import Path

import msgspec
import pytest

from services.messaging.dispatch.decide import Desk
from services.messaging.dispatch.ports import Change, Claim, Known, Observer, Outgoing, Read
from services.messaging.dispatch.slot import DispatchSlot, Habits
from services.messaging.domain.admission import Rules
from services.messaging.domain.mail import Sender
from services.messaging.domain.outcome import Deferred, Failed, Outcome, Sent, Unknown
from services.messaging.domain.patience import Breaker, Patience
from services.messaging.domain.reasons import Reason
from shared.contracts.changes import CHANGE_ENCODER, MessageChanged, MessageRequested, MessageStatus
from shared.contracts.failed import FailedRecord
from shared.contracts.journey_blob import Consent, Fact, Person
from shared.contracts.ledger import LedgerEntry
from shared.contracts.topics import MESSAGE_REQUESTED
from shared.definitions.template import Templates, load_templates
from shared.runtime.ports import Fenced, LogAway, StoreAway
from shared.testing.fakes import FakeRecord

NOW = 1_700_000_000_000
HOUR = 3600 * 1000
YES = {"email": Consent(1, "m", "s", True)}


def person(email: str | None = "ann@example.com", consents: dict[str, Consent] | None = None) -> Person:
    fact = None if email is None else Fact(1, "m", "s", msgspec.json.encode(email))
    return Person(email=fact, consents=YES if consents is None else consents)


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
    told: list[MessageChanged] = field(default_factory=list)
    letters: list[FailedRecord] = field(default_factory=list)
    owner: int = 0
    away: int = 0
    transactions: int = 0

    def last(self) -> dict[str, LedgerEntry]:
        return {entry.dispatch_id: entry for entry in self.entries}


class FakeLedger:
    def __init__(self, shared: SharedLedger) -> None:
        self.shared = shared
        self.me = -1

    async def take_over(self) -> Read:
        self.shared.owner += 1
        self.me = self.shared.owner
        return Read(list(self.shared.entries), len(self.shared.entries))

    async def record(self, changes: Sequence[Change], failed: Sequence[FailedRecord] = ()) -> None:
        await asyncio.sleep(0)
        if self.shared.owner != self.me:
            raise Fenced("another")
        if self.shared.away:
            self.shared.away -= 1
            raise LogAway("Kafka is away")
        self.shared.transactions += 1
        self.shared.entries += [change.entry for change in changes]
        self.shared.told += [change.told for change in changes if change.told is not None]
        self.shared.letters += failed

    def close(self) -> None:
        self.me = -1


@dataclass
class FakeProvider:
    """Answers by script: outcomes per dispatch id, used up one by one, else Sent."""

    name: str = "fake"
    got: list[str] = field(default_factory=list)
    content: dict[str, bytes] = field(default_factory=dict)
    to: list[Address] = field(default_factory=list)
    script: dict[str, list[Outcome]] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None
    hold: asyncio.Event | None = None

    async def send(self, mail: Outgoing, may_begin: Callable[[], bool]) -> Outcome:
        self.before()
        if self.hold is not None:
            await self.hold.wait()
        if not may_begin():
            return Deferred(Reason.HELD_UP, "late")
        outcomes = self.script.get(mail.dispatch_id)
        outcome = outcomes.pop(0) if outcomes else Sent()
        if isinstance(outcome, Sent | Unknown):
            self.got.append(mail.dispatch_id)
            self.content[mail.dispatch_id] = mail.content
            self.to.append(mail.to)
        return outcome


@dataclass
class FakePeople:
    people: dict[str, Known | None] = field(default_factory=dict)
    away: bool = False

    async def read(self, profile_ids: Sequence[str]) -> dict[str, Known | None]:
        if self.away:
            raise StoreAway("Redis is away")
        return {asked: self.people.get(asked, Known(asked, person())) for asked in profile_ids}


@dataclass
class FakeCaps:
    places: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    marks: set[int] = field(default_factory=set)

    async def kept(self, partition: int) -> bool:
        return partition in self.marks

    async def restore(self, partition: int, entries: Iterable[LedgerEntry]) -> None:
        for entry in entries:
            self.places.setdefault((entry.profile_id, entry.message_class), {})[entry.dispatch_id] = entry.at
        self.marks.add(partition)

    async def claim(self, wanted: Sequence[Claim]) -> list[bool]:
        return [self._claim(one) for one in wanted]

    def _claim(self, one: Claim) -> bool:
        places = self.places.setdefault((one.profile_id, one.message_class), {})
        taken = sum(at > one.at - one.per for key, at in places.items() if key != one.dispatch_id)
        if one.limit and taken >= one.limit:
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


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    folder: Path = tmp_path_factory.mktemp("templates")
    subject = "\"Hi {{{{ person.firstName | default: 'you' }}}}\""
    head = f"---\ntemplate: {{}}\nchannel: email\nclass: marketing\nlocale: en\nsubject: {subject}\n---\n"
    (folder / "hello.en.liquid").write_text(head.format("hello") + "Hello {{ person.firstName | default: 'you' }}\n")
    (folder / "needs.en.liquid").write_text(head.format("needs") + "Your {{ person.plan }}\n")
    return load_templates(folder)


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
        self.templates = templates
        self.records: list[FakeRecord] = []
        self.patience = Patience(10.0, 100.0, 1.0, 8.0, failures=3)
        self.wanted: set[int] = set()
        self.tasks: list[asyncio.Task[None]] = []

    def ask(self, *requests: MessageRequested | bytes) -> None:
        for one in requests:
            value = one if isinstance(one, bytes) else CHANGE_ENCODER.encode(one)
            self.records.append(FakeRecord(MESSAGE_REQUESTED, 0, len(self.records), NOW, b"u:1", value))

    def start(self, *, from_offset: int = 0) -> DispatchSlot:
        """A new process; its slot gets every record from its committed offset on."""
        desk = Desk(self.people, self.caps, self.templates, self.rules, Sender.parse("Shop <shop@example.com>"))
        number = len(self.tasks)
        slot = DispatchSlot(
            0,
            FakeLedger(self.ledger),
            desk,
            self.gate,
            self.provider,
            Breaker(self.patience),
            self.clock,
            Observer(),
            Habits(batch=4, lease_s=5.0, gate_pause_s=0.001, fenced_pause_s=0.1, gather_s=0.0, patience=self.patience),
            lambda: number in self.wanted,
        )
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

    def status(self, number: int) -> tuple[str, str | None]:
        entry = self.ledger.last()[f"{number:032x}"]
        return entry.status.value, entry.reason


@pytest.fixture
def world(templates: Templates) -> World:
    return World(templates)


async def test_each_message_is_sent_once_and_told_once(world: World) -> None:
    world.ask(*(request(number) for number in range(10)), *(request(number) for number in range(5)))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    assert sorted(world.provider.got) == sorted(f"{number:032x}" for number in range(10))
    assert [told.status for told in world.ledger.told] == [MessageStatus.SENT] * 10
    assert {told.to_masked for told in world.ledger.told} == {"a***@example.com"}


async def test_many_messages_share_a_transaction(world: World) -> None:
    world.ask(*(request(number) for number in range(40)))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    assert len(world.provider.got) == 40
    assert world.ledger.transactions <= 40


async def test_sending_is_recorded_before_the_provider_is_called(world: World) -> None:
    seen: list[str] = []
    world.provider.before = lambda: seen.append(world.status(1)[0])
    world.ask(request(1))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    assert seen == ["sending"]


async def test_what_was_under_way_when_its_process_died_is_unknown_and_never_sent_again(world: World) -> None:
    world.ask(request(1), request(2))
    world.provider.hold = asyncio.Event()
    world.start()
    await world.until(lambda: len(world.ledger.entries) == 2)
    world.provider.hold = None
    successor = world.start()
    await world.settle(successor)
    assert [world.status(n) for n in (1, 2)] == [("unknown", "crashed")] * 2
    assert world.provider.got == []
    assert [told.status.value for told in world.ledger.told] == ["unknown", "unknown"]
    world.tasks.pop(0).cancel()
    await world.stop(successor)


async def test_a_process_that_was_overtaken_while_it_slept_sends_nothing_more(world: World) -> None:
    hold = world.provider.hold = asyncio.Event()
    world.ask(request(1))
    zombie = world.start()
    await world.until(lambda: len(world.ledger.entries) == 1)
    world.clock.now += 60
    world.wanted.discard(0)
    world.provider.hold = None
    successor = world.start()
    await world.settle(successor)
    hold.set()
    await asyncio.wait_for(world.tasks[0], 10)
    assert zombie.ready is False
    assert world.provider.got == []
    assert world.status(1) == ("unknown", "crashed")
    await world.stop(successor)


async def test_two_owners_at_once_never_send_the_same_message_twice(world: World) -> None:
    world.ask(*(request(number) for number in range(30)))
    first = world.start()
    await world.until(lambda: len(world.provider.got) > 3)
    second = world.start()
    await world.until(lambda: all(f"{n:032x}" in world.ledger.last() for n in range(30)) and len(second.queue) == 0)
    first.stop()
    await world.stop(second)
    assert len(world.provider.got) == len(set(world.provider.got))
    assert {world.status(n)[0] for n in range(30)} <= {"sent", "unknown"}


async def test_a_restart_finds_what_is_settled_in_the_ledger(world: World) -> None:
    world.ask(*(request(number) for number in range(6)))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    again = world.start()
    await world.settle(again)
    await world.stop(again)
    assert len(world.provider.got) == 6


@pytest.mark.parametrize(
    ("known", "changes", "expected"),
    [
        (person(consents={}), {}, ("suppressed", "no_consent")),
        (person(consents={"email": Consent(1, "m", "s", False)}), {}, ("suppressed", "no_consent")),
        (person(consents={}), {"message_class": "transactional"}, ("sent", None)),
        (person(email=None), {}, ("suppressed", "unreachable")),
        (person(email="a@b@c"), {}, ("suppressed", "unreachable")),
        (person(email="a@b.com\r\nBcc: x@y.z"), {}, ("suppressed", "unreachable")),
        (person(), {"expires_at": NOW}, ("expired", "too_late")),
        (person(), {"template": "gone"}, ("suppressed", "no_template")),
        (person(), {"template": "needs"}, ("suppressed", "missing_value")),
        (person(), {"channel": "sms", "message_class": "transactional"}, ("suppressed", "no_provider")),
    ],
)
async def test_what_is_not_sent_is_recorded_with_its_reason(
    world: World, known: Person, changes: dict[str, object], expected: tuple[str, str | None]
) -> None:
    world.people.people["u:1"] = Known("u:1", known)
    world.ask(request(1, **changes))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    assert world.status(1) == expected
    assert [told.status.value for told in world.ledger.told] == [expected[0]]
    assert len(world.provider.got) == (expected[0] == "sent")


async def test_opt_out_sends_to_who_has_said_nothing(world: World) -> None:
    world.rules = Rules({"email": "opt_out"})
    world.people.people["u:1"] = Known("u:1", person(consents={}))
    world.people.people["u:2"] = Known("u:2", person(consents={"email": Consent(1, "m", "s", False)}))
    world.ask(request(1), request(2))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    assert (world.status(1)[0], world.status(2)[0]) == ("sent", "suppressed")


async def test_caps_count_every_message_of_the_class_and_a_refused_one_frees_its_place(world: World) -> None:
    for number in range(4):
        world.people.people[f"u:{number}"] = Known("u:x", person())
    world.provider.script[f"{0:032x}"] = [Failed(Reason.REFUSED, "550 no")]
    cap = {"cap_messages": 2, "cap_per": HOUR}
    world.ask(request(0, **cap))
    slot = world.start()
    await world.settle(slot)
    world.ask(request(1), request(2, **cap), request(3, **cap))
    slot.receive(world.records[1:])
    await world.settle(slot)
    await world.stop(slot)
    assert [world.status(n) for n in range(4)] == [("failed", "refused"), ("sent", None), ("sent", None), ("suppressed", "capped")]


async def test_caps_come_back_from_the_ledger_when_redis_was_emptied(world: World) -> None:
    for number in range(3):
        world.people.people[f"u:{number}"] = Known("u:x", person())
    world.ask(request(0), request(1))
    slot = world.start()
    await world.settle(slot)
    world.caps.places.clear()
    world.caps.marks.clear()
    world.ask(request(2, cap_messages=2, cap_per=HOUR))
    slot.receive(world.records[2:])
    await world.settle(slot)
    await world.stop(slot)
    assert world.status(2) == ("suppressed", "capped")


async def test_a_message_put_off_is_tried_again_later_and_listed_meanwhile(world: World) -> None:
    world.provider.script[f"{1:032x}"] = [Deferred(Reason.TRY_LATER, "450 busy"), Deferred(Reason.TRY_LATER, "450 busy")]
    world.ask(request(1))
    slot = world.start()
    await world.until(lambda: bool(world.ledger.told))
    assert world.status(1) == ("claimed", "try_later")
    assert slot.queue.position == 0
    await world.as_time_goes_by(slot, 1, lambda: slot.queue.position == 1)
    await world.stop(slot)
    assert world.status(1) == ("sent", None)
    assert len(world.provider.got) == 1
    assert [told.status.value for told in world.ledger.told] == ["claimed", "claimed", "sent"]


async def test_a_message_that_cannot_be_sent_in_time_expires(world: World) -> None:
    world.provider.script[f"{1:032x}"] = [Deferred(Reason.PROVIDER_AWAY, "refused", away=True)] * 1000
    world.ask(request(1))
    slot = world.start()
    await world.until(lambda: bool(world.ledger.told))
    world.clock.now += 3601
    slot.wake()
    await world.settle(slot)
    await world.stop(slot)
    assert world.status(1) == ("expired", "too_late")
    assert world.provider.got == []


async def test_consent_withdrawn_while_a_message_waits_is_heeded(world: World) -> None:
    world.provider.script[f"{1:032x}"] = [Deferred(Reason.TRY_LATER, "450 busy")]
    world.ask(request(1))
    slot = world.start()
    await world.until(lambda: bool(world.ledger.told))
    world.people.people["u:1"] = Known("u:1", person(consents={"email": Consent(2, "m", "s", False)}))
    world.clock.now += 11
    slot.wake()
    await world.settle(slot)
    await world.stop(slot)
    assert world.status(1) == ("suppressed", "no_consent")
    assert world.provider.got == []


async def test_a_reply_that_was_lost_is_unknown_and_never_tried_again(world: World) -> None:
    world.provider.script[f"{1:032x}"] = [Unknown(Reason.REPLY_LOST, "eof")]
    world.ask(request(1), request(1))
    slot = world.start()
    await world.settle(slot)
    world.clock.now += 3600
    await world.stop(slot)
    assert world.status(1) == ("unknown", "reply_lost")
    assert len(world.provider.got) == 1


async def test_while_the_provider_is_away_one_message_tries_and_the_rest_wait(world: World) -> None:
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    world.provider.before = count
    away: list[Outcome] = [Deferred(Reason.PROVIDER_AWAY, "refused", away=True)]
    for number in range(20):
        world.provider.script[f"{number:032x}"] = away * 50
    world.ask(*(request(number) for number in range(20)))
    slot = world.start()
    await world.until(lambda: len(world.ledger.last()) == 20 and all(world.status(n)[0] == "claimed" for n in range(20)))
    assert calls <= 8
    began, before = world.clock.now, calls
    await world.as_time_goes_by(slot, 0.25, lambda: calls >= before + 5)
    assert world.clock.now - began >= 2 + 4 + 8 + 8
    world.provider.script.clear()
    await world.as_time_goes_by(slot, 1, lambda: slot.queue.position == 20)
    await world.stop(slot)
    assert sorted(world.provider.got) == sorted(f"{n:032x}" for n in range(20))


async def test_nothing_is_sent_while_a_stage_before_is_catching_up(world: World) -> None:
    world.gate.reason = "not caught up: journeys 3"
    world.ask(request(1))
    slot = world.start()
    await world.until(lambda: world.gate.asked > 5)
    assert world.ledger.entries == []
    world.gate.reason = None
    await world.settle(slot)
    await world.stop(slot)
    assert world.status(1)[0] == "sent"


async def test_redis_or_kafka_being_away_delays_and_loses_nothing(world: World) -> None:
    world.people.away = True
    world.ask(request(1))
    slot = world.start()
    await world.until(lambda: world.gate.asked > 1)
    assert world.provider.got == []
    world.people.away = False
    world.ledger.away = 2
    await world.settle(slot)
    world.ledger.away = 1
    world.ask(request(2))
    slot.receive(world.records[1:])
    await world.settle(slot)
    await world.stop(slot)
    assert len(world.provider.got) == 2


async def test_a_person_in_the_middle_of_a_merge_is_waited_for(world: World) -> None:
    world.people.people["u:1"] = None
    world.ask(request(1))
    slot = world.start()
    await world.until(lambda: bool(world.ledger.told))
    assert world.status(1) == ("claimed", "held_up")
    world.people.people["u:1"] = Known("u:winner", person(email="win@example.com"))
    world.clock.now += 1
    slot.wake()
    await world.settle(slot)
    await world.stop(slot)
    assert world.ledger.last()[f"{1:032x}"].profile_id == "u:winner"
    assert [to.addr_spec for to in world.provider.to] == ["win@example.com"]


async def test_a_request_that_cannot_be_read_is_set_aside_and_the_next_one_is_sent(world: World) -> None:
    world.ask(b"{", request(1), request(2, dispatch_id="not hexadecimal"))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    assert world.status(1)[0] == "sent"
    assert [letter.offset for letter in world.ledger.letters] == [0, 2]
    assert world.ledger.letters[0].value == b"{"
