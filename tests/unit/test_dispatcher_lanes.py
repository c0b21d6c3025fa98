"""Lanes: what one provider is slow, strict or away for keeps no message of another waiting; a call that may be repeated ends known."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from services.messaging.channels.registry import HEADS
from services.messaging.dispatch.decide import Go
from services.messaging.dispatch.outlet import Outlet
from services.messaging.dispatch.places import Places
from services.messaging.dispatch.ports import Known, Observer
from services.messaging.dispatch.queue import Lane
from services.messaging.domain.admission import Reach, Rules
from services.messaging.domain.outcome import Deferred, Failed, Outcome, Outgoing, Sent, Unknown
from services.messaging.domain.patience import Breaker, Pace
from services.messaging.domain.reasons import Reason
from services.messaging.domain.rendering import NotRendered, Rendered
from shared.contracts.changes import MessageRequested, MessageStatus
from shared.contracts.journey_blob import Consent
from shared.definitions.folder import read_folder
from shared.definitions.template import TemplateHead
from tests.unit.dispatcher_world import HOUR, MailOnly, World, person, request

ROBOT, OTHER_ROBOT, HOOK = Lane("robot", "ops"), Lane("robot", "sales"), Lane("hook", "crm")
HEAD = "---\ntemplate: {0}\nchannel: {0}\nclass: {1}\nlocale: en\n---\nHello\n"
MAIL_HEAD = "---\ntemplate: hello\nchannel: email\nclass: marketing\nlocale: en\nsubject: Hi\n---\nHello\n"
LOST = Unknown(Reason.REPLY_LOST, "no answer")


class Channels(MailOnly):
    """E-mail and two channels that address nobody; calls of `hook` may be repeated."""

    def reach(self, request: MessageRequested) -> Reach | None:
        return Reach(None) if Lane(request.channel, request.endpoint) in (ROBOT, OTHER_ROBOT, HOOK) else super().reach(request)

    def repeats(self, request: MessageRequested) -> bool:
        return request.channel == "hook"

    def write(self, request: MessageRequested, head: TemplateHead, rendered: Rendered, to: str | None, now_ms: int) -> Go | NotRendered:
        return super().write(request, head, rendered, to, now_ms) if to else Go(Outgoing(request.dispatch_id), request.endpoint)


@dataclass
class Scripted:
    """Answers by script, else Sent; `taken`: every call that may have been taken."""

    script: list[Outcome] = field(default_factory=list)
    name: str = "scripted"
    taken: list[str] = field(default_factory=list)
    calls: int = 0
    release: asyncio.Event | None = None

    async def send(self, message: Outgoing, may_begin: Callable[[], bool]) -> Outcome:
        if not may_begin():
            return Deferred(Reason.HELD_UP, "late")
        self.calls += 1
        if self.release is not None:
            await self.release.wait()
        outcome = self.script.pop(0) if self.script else Sent()
        if isinstance(outcome, Sent | Unknown):
            self.taken.append(message.dispatch_id)
        return outcome


def add(world: World, where: Lane, provider: Scripted, pace: Pace | None = None) -> Scripted:
    breaker = Breaker(world.patience)
    places = Places(2, 0, breaker, pace or Pace())
    world.other_lanes[where] = Outlet(provider, places, breaker, world.clock, Observer(), world.bounds, repeats=where.channel == "hook")
    return provider


@pytest.fixture
def world(tmp_path: Path) -> World:
    for name in ("robot", "hook"):
        (tmp_path / f"{name}.en.liquid").write_text(HEAD.format(name, "transactional"))
    (tmp_path / "hello.en.liquid").write_text(MAIL_HEAD)
    known = read_folder(tmp_path, heads={**HEADS, "robot": TemplateHead, "hook": TemplateHead}).needed(TemplateHead)
    made = World(known.templates)
    made.channels = Channels()
    return made


def to(where: Lane, number: int, **changes: object) -> MessageRequested:
    said = {"channel": where.channel, "endpoint": where.endpoint, "template": where.channel, "message_class": "transactional"}
    return request(number, **(said | changes))


async def test_a_provider_that_hangs_keeps_no_message_of_another_lane_waiting(world: World) -> None:
    robot = add(world, ROBOT, Scripted(release=asyncio.Event()))
    other = add(world, OTHER_ROBOT, Scripted())
    world.ask(*(to(ROBOT, n) for n in range(10)), *(request(n) for n in range(10, 20)), to(OTHER_ROBOT, 20))
    slot = world.start()
    await world.until(lambda: len(world.provider.got) == 10 and len(other.taken) == 1)
    assert robot.calls == 2
    assert robot.release is not None
    robot.release.set()
    await world.settle(slot)
    await world.stop(slot)
    assert len(robot.taken) == 10


async def test_a_robot_with_a_strict_pace_does_not_hold_up_mail_of_either_class(world: World) -> None:
    robot = add(world, ROBOT, Scripted(), Pace(20 / 60))
    world.ask(*(to(ROBOT, n) for n in range(8)), *(request(n) for n in range(8, 12)))
    slot = world.start()
    await world.until(lambda: len(world.provider.got) == 4)
    assert len(robot.taken) == 1
    await world.as_time_goes_by(slot, 1.0, lambda: len(robot.taken) == 8)
    assert world.clock.now >= 20
    await world.settle(slot)
    await world.stop(slot)


async def test_the_breaker_of_one_lane_stops_no_other(world: World) -> None:
    away = Deferred(Reason.PROVIDER_AWAY, "no connection", away=True)
    robot = add(world, ROBOT, Scripted([away] * 5))
    world.ask(*(to(ROBOT, n, expires_at=2**42) for n in range(6)), *(request(n) for n in range(6, 12)))
    slot = world.start()
    await world.until(lambda: len(world.provider.got) == 6 and world.other_lanes[ROBOT].breaker.open)
    assert robot.taken == []
    later = [request(n) for n in range(12, 15)]
    world.ask(*later)
    slot.receive(world.records[12:])
    await world.until(lambda: len(world.provider.got) == 9)
    await world.as_time_goes_by(slot, 1.0, lambda: len(robot.taken) == 6)
    await world.settle(slot)
    await world.stop(slot)


async def test_a_lane_that_is_asked_to_wait_calls_nobody_before_then(world: World) -> None:
    robot = add(world, ROBOT, Scripted([Deferred(Reason.TRY_LATER, "45009", after_s=60)]))
    world.ask(*(to(ROBOT, n, expires_at=2**42) for n in range(4)), request(4))
    slot = world.start()
    await world.until(lambda: world.provider.got == [f"{4:032x}"] and robot.calls >= 1)
    before = robot.calls
    assert before <= 2, "the call beside it had begun"
    await world.as_time_goes_by(slot, 5.0, lambda: world.clock.now >= 55)
    assert robot.calls == before
    await world.as_time_goes_by(slot, 5.0, lambda: len(robot.taken) == 4)
    await world.settle(slot)
    await world.stop(slot)


async def test_a_message_for_an_endpoint_that_is_not_there_ends_and_says_so(world: World) -> None:
    world.ask(to(Lane("robot", "gone"), 1), request(2), to(Lane("fax"), 3))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    assert [world.status(n) for n in (1, 2, 3)] == [("suppressed", "no_provider"), ("sent", None), ("suppressed", "no_provider")]


async def test_a_call_without_an_answer_is_made_again_where_the_provider_knows_a_message_by_its_id(world: World) -> None:
    hook = add(world, HOOK, Scripted([LOST]))
    world.ask(to(HOOK, 1, expires_at=2**42))
    slot = world.start()
    await world.as_time_goes_by(slot, 1.0, lambda: slot.queue.position == 1)
    await world.stop(slot)
    assert hook.taken == [f"{1:032x}"] * 2
    assert world.status(1) == ("sent", None)
    assert [(one.status, one.reason) for one in world.ledger.told] == [
        (MessageStatus.CLAIMED, "reply_lost"),
        (MessageStatus.SENT, None),
    ]


@pytest.mark.parametrize("then", ["refused", "expired", "gone"])
async def test_what_may_have_been_taken_never_ends_as_if_it_had_not(world: World, then: str) -> None:
    add(world, HOOK, Scripted([LOST, Failed(Reason.REFUSED, "404")]))
    world.ask(to(HOOK, 1, expires_at=world.clock.wall_ms() + (HOUR if then == "refused" else 500)))
    slot = world.start()
    await world.until(lambda: bool(world.ledger.told))
    if then == "gone":
        world.log.start = 1
    await world.as_time_goes_by(slot, 1.0, lambda: slot.queue.position == 1)
    await world.stop(slot)
    assert world.status(1) == ("unknown", "reply_lost")


async def test_a_crash_in_the_middle_of_a_call_is_unknown_for_a_robot_and_repeated_for_a_webhook(world: World) -> None:
    robot, hook = add(world, ROBOT, Scripted(release=asyncio.Event())), add(world, HOOK, Scripted(release=asyncio.Event()))
    world.ask(to(ROBOT, 1), to(HOOK, 2))
    first = world.start()
    await world.until(lambda: robot.calls == hook.calls == 1)
    second = world.start()  # it takes over in the middle of both calls
    await world.until(lambda: second.ready and hook.calls >= 2)
    for one in (robot, hook):
        assert one.release is not None
        one.release.set()
    await world.settle(second)
    await world.stop(second)
    first.stop()
    assert world.status(1) == ("unknown", "crashed")
    assert world.status(2) == ("sent", None)
    assert set(hook.taken) == {f"{2:032x}"}


@pytest.mark.parametrize(
    ("policy", "said", "status"),
    [
        ({}, {}, ("suppressed", "no_consent")),
        ({"robot": "opt_in"}, {"email": True}, ("suppressed", "no_consent")),
        ({"robot": "opt_in"}, {"robot": True}, ("sent", None)),
        ({"robot": "opt_out"}, {}, ("sent", None)),
        ({"robot": "opt_out"}, {"email": False}, ("suppressed", "no_consent")),
        ({"robot": "opt_out"}, {"email": False, "robot": True}, ("sent", None)),
    ],
)
async def test_marketing_about_a_person_goes_to_nobody_else_against_any_refusal(
    world: World, policy: dict[str, str], said: dict[str, bool], status: tuple[str, str | None]
) -> None:
    add(world, ROBOT, Scripted())
    world.rules = Rules(policy)
    consents = {channel: Consent(1, "m", "s", granted) for channel, granted in said.items()}
    world.people.people["u:1"] = Known("u:1", person(consents=consents))
    world.ask(to(ROBOT, 1, message_class="marketing"), to(ROBOT, 2))
    slot = world.start()
    await world.settle(slot)
    await world.stop(slot)
    assert world.status(1) == status
    assert world.status(2) == ("sent", None), "a notice to staff needs no consent"


async def test_an_endpoint_that_is_gone_is_called_no_more_and_its_messages_fail(world: World) -> None:
    hook = add(world, HOOK, Scripted([Failed(Reason.ENDPOINT_GONE, "HTTP 410")]))
    outlet = world.other_lanes[HOOK]
    told: list[str] = []
    outlet.observer.switched_off = lambda channel, name: told.append(name)  # type: ignore[method-assign]
    world.ask(to(HOOK, 1))
    slot = world.start()
    await world.settle(slot)
    world.ask(*(to(HOOK, n) for n in range(2, 6)), request(6))
    slot.receive(world.records[1:])
    await world.settle(slot)
    await world.stop(slot)
    assert hook.calls == 1
    assert [world.status(n) for n in range(1, 6)] == [("failed", "endpoint_gone")] * 5
    assert world.status(6) == ("sent", None)
    assert told == ["scripted"]
    assert outlet.trouble is not None
    assert sum(outlet.places.used.values()) == 0
