"""Processes that die at any step between request, caps, ledger, provider and commit, one after the other, and a Redis that goes back."""

import asyncio
import copy
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.messaging.dispatch.class_queue import Bounds
from services.messaging.dispatch.habits import Habits
from services.messaging.dispatch.ports import Change, Claim, Known
from services.messaging.dispatch.slot import DispatchSlot
from services.messaging.domain.ledger import Ledger
from services.messaging.domain.mail import Mail
from services.messaging.domain.outcome import Deferred, Outcome
from services.messaging.domain.reasons import Reason
from shared.contracts.changes import MessageStatus
from shared.contracts.failed import FailedRecord
from shared.contracts.ledger import OPEN, Checkpoint, LedgerEntry
from shared.definitions.template import Templates
from tests.unit.dispatcher_world import HOUR, FakeLedger, World, person, request

LATER: list[Outcome] = [Deferred(Reason.TRY_LATER, "450 greylisted")]
MESSAGES = 14
CAPPED = range(8, 14)
"""Messages to one person, of whom two may go."""
PLACES = 3


class Life:
    """One process. At its step number `steps` it stops for ever: nothing that it awaits is answered any more."""

    def __init__(self, steps: int | None) -> None:
        self.left = steps
        self.died = asyncio.Event()

    async def step(self) -> None:
        if self.left is not None:
            self.left -= 1
        if self.left is not None and self.left <= 0:
            self.died.set()
            await asyncio.Event().wait()


class MortalLedger(FakeLedger):
    def __init__(self, world: World, life: Life) -> None:
        super().__init__(world.ledger)
        self._life = life

    async def take_over(self) -> Ledger:
        await self._life.step()
        return await super().take_over()

    async def record(self, changes: Sequence[Change], failed: Sequence[FailedRecord] = ()) -> None:
        await self._life.step()
        await super().record(changes, failed)
        await self._life.step()

    async def checkpoint(self, checkpoint: Checkpoint, again: Sequence[LedgerEntry]) -> None:
        await self._life.step()
        await super().checkpoint(checkpoint, again)
        await self._life.step()


class Mortal:
    """What the processes share, as one of them reaches it."""

    name = "fake"

    def __init__(self, world: World, life: Life) -> None:
        self._world, self._life = world, life

    async def send(self, message: Mail, may_begin: Callable[[], bool]) -> Outcome:
        await self._life.step()
        outcome = await self._world.provider.send(message, may_begin)
        await self._life.step()
        return outcome

    async def claim(self, wanted: Sequence[Claim]) -> list[bool]:
        await self._life.step()
        granted = await self._world.caps.claim(wanted)
        await self._life.step()
        return granted

    async def release(self, places: Sequence[Claim]) -> None:
        await self._life.step()
        await self._world.caps.release(places)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.caps, name)


class Story:
    """A world in which one process follows the other."""

    def __init__(self, templates: Templates) -> None:
        self.world = world = World(templates)
        world.bounds = Bounds(hand=4)
        world.places = PLACES
        for number in CAPPED:
            world.people.people[f"u:{number}"] = Known("u:x", person())
        for number in (1, 5, 9):
            world.provider.script[f"{number:032x}"] = [*LATER]
        cap = {"cap_messages": 2, "cap_per": HOUR}
        world.ask(*(request(number, expires_at=2**42, **(cap if number in CAPPED else {})) for number in range(MESSAGES)))
        self.committed = 0

    async def live(self, steps: int | None, seconds: float) -> bool:
        """A process until it dies, or has settled all; answers whether it has. `seconds` pass at each look."""
        world, life = self.world, Life(steps)
        mortal = Mortal(world, life)
        outlet = world.outlet()
        outlet.provider = mortal
        desk, outlets = world.desk(mortal), world.outlets(outlet)
        habits = Habits(4, 5.0, gate_pause_s=0.001, fenced_pause_s=0.1, gather_s=0.0, patience=world.patience)
        ledger = MortalLedger(world, life)
        slot = DispatchSlot(0, ledger, world.log, desk, world.gate, outlets, world.clock, world.observer, habits)
        slot.receive(world.records[self.committed :])
        task = asyncio.create_task(slot.run())
        async with asyncio.timeout(20):
            while not life.died.is_set() and max(self.committed, slot.queue.position) < MESSAGES:
                if task.done():
                    task.result()
                await asyncio.sleep(0)
                world.clock.now += seconds
                slot.wake()
        self.committed = max(self.committed, slot.queue.position)
        left = [task, *outlet._calls]
        while not all(one.done() for one in left):  # a wait that has just ended may take a cancellation for its own
            for one in left:
                one.cancel()
            await asyncio.sleep(0)
        slot.close()
        return not life.died.is_set()

    def check(self, deaths: int) -> None:
        world = self.world
        got, last = Counter(world.provider.got), world.ledger.last()
        ended = Counter(told.dispatch_id for told in world.ledger.told if told.status not in OPEN)
        assert max(got.values()) == 1, "nobody gets the same message twice"
        assert ended == Counter(f"{number:032x}" for number in range(MESSAGES)), "each end is told, and told once"
        for number in range(MESSAGES):
            entry = last[f"{number:032x}"]
            match entry.status:
                case MessageStatus.SENT:
                    assert got[entry.dispatch_id] == 1
                case MessageStatus.UNKNOWN:
                    assert entry.reason == "crashed"
                case MessageStatus.SUPPRESSED:
                    assert number in CAPPED
                    assert entry.reason == "capped"
                    assert got[entry.dispatch_id] == 0
                case other:
                    raise AssertionError(other)
        unknown = sum(entry.status is MessageStatus.UNKNOWN for entry in last.values())
        assert unknown <= deaths * 2 * PLACES, "no more is unknown than was under way, or had ended and was not recorded yet"
        capped = [last[f"{number:032x}"].status for number in CAPPED]
        assert sum(status in (MessageStatus.SENT, MessageStatus.UNKNOWN) for status in capped) == 2, "the cap is held, and used up"


DEATHS = st.lists(st.tuples(st.integers(1, 25), st.booleans()), max_size=6)


async def lived(story: Story, deaths: list[tuple[int, bool]]) -> int:
    """Processes that die one after the other, then one that settles all; answers how many died."""
    done = 0
    for steps, goes_back in deaths:
        before = copy.deepcopy(story.world.caps.places)
        if await story.live(steps, 0.05):
            break
        done += 1
        if goes_back:
            story.world.caps.places, story.world.caps.left = before, None
    assert await story.live(None, 0.05)
    return done


@settings(max_examples=30, deadline=None)
@given(deaths=DEATHS)
async def test_whenever_processes_die_each_message_ends_once_and_no_cap_is_exceeded(
    templates: Templates, deaths: list[tuple[int, bool]]
) -> None:
    """`deaths`: at which of its steps each process dies, and whether Redis is then what it was before the one that died."""
    story = Story(templates)
    story.check(await lived(story, deaths))


@settings(max_examples=30, deadline=None)
@given(deaths=DEATHS)
async def test_whenever_processes_die_nothing_is_unknown_where_a_call_may_be_made_again(
    templates: Templates, deaths: list[tuple[int, bool]]
) -> None:
    """What was sent is what an undisturbed run sends. The provider, which knows a message by its id, may be told it more than once."""
    story = Story(templates)
    world, world.repeats = story.world, True
    await lived(story, deaths)
    last = world.ledger.last()
    ended = Counter(told.dispatch_id for told in world.ledger.told if told.status not in OPEN)
    assert ended == Counter(f"{number:032x}" for number in range(MESSAGES)), "each end is told, and told once"
    sent = {key for key, entry in last.items() if entry.status is MessageStatus.SENT}
    assert {f"{number:032x}" for number in set(range(MESSAGES)) - set(CAPPED)} <= sent
    assert set(world.provider.got) == sent
    assert len(sent) == MESSAGES - len(CAPPED) + 2, "the cap is held, and used up"
    assert {entry.status for entry in last.values()} <= {MessageStatus.SENT, MessageStatus.SUPPRESSED}
