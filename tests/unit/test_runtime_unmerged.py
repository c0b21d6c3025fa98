"""A merge that cannot be carried out ends: a dead letter says why, whoever waits for it goes on, and its replay carries it out."""

import json
from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters.absorbed import have_absorbed
from shared.contracts.failed import FAILED_DECODER, FailedRecord
from shared.contracts.headers import Position
from shared.contracts.identity import MergeRecord
from shared.contracts.slots import slot
from shared.contracts.topics import RECORD_FAILED
from shared.runtime import absorbed
from shared.runtime import stage as stages
from shared.runtime.envelope import OTHERS, Entry, open_entry
from shared.runtime.stage import Step
from shared.testing.counting import IN, MOVED, OUT, REPLAYED, Counting, Tally
from shared.testing.scene import Scene
from tests.unit.counting_world import World

BOSS, KING, EMPEROR = "u:boss", "u:king", "u:emperor"


class Picky(Counting):
    """Cannot merge while it is `picky`."""

    picky = True

    def merge(self, winner: Tally, loser: Tally, step: Step) -> Tally:
        if self.picky:
            raise RuntimeError("these two do not mix")
        return super().merge(winner, loser, step)


def event(world: World, key: str, announced: str | None = None) -> None:
    world.log.append(IN, key, json.dumps({"add": 1}).encode(), [] if announced is None else [("merged_from", announced.encode())])


def letters(world: World) -> list[FailedRecord]:
    return [FAILED_DECODER.decode(record.value or b"") for record in world.log.records(RECORD_FAILED)]


def replay_newest(world: World) -> None:
    """As the query service appends it."""
    newest = world.log.records(RECORD_FAILED)[-1]
    letter = letters(world)[-1]
    (kind,) = [value for name, value in letter.headers if name == "kind"]
    origin = Position(letter.topic, letter.partition, letter.offset).encode()
    headers = [("replay_of", f"{newest.partition}:{newest.offset}".encode()), ("origin", origin), ("origin_kind", kind)]
    world.log.append(REPLAYED, (letter.key or b"").decode(), letter.value, headers)


def entry_of(world: World, key: str) -> Entry[Tally]:
    return open_entry(world.redis.states("folder")[key])


def said(world: World, key: str) -> int:
    return sum(1 for told, _ in world.out(OUT) if told == key)


@pytest.mark.parametrize("inline", [0, 64])
@pytest.mark.parametrize("bound", ["people", "bytes"])
async def test_who_is_too_large_to_be_merged_on_stays_and_the_winner_goes_on(
    monkeypatch: pytest.MonkeyPatch, inline: int, bound: str
) -> None:
    monkeypatch.setattr(absorbed, "INLINE", inline)
    world = World()
    event(world, KING)
    for n in range(40):
        event(world, f"a:{n}")
        world.merge(f"a:{n}", BOSS)
    event(world, BOSS)
    await world.run()
    with monkeypatch.context() as patch:
        if bound == "people":
            patch.setattr(absorbed, "MOST_ABSORBED", 4)
        else:
            patch.setattr(stages, "MAX_OUTPUT_BYTES", 900)
        world.merge(BOSS, KING)
        event(world, KING, BOSS)
        await world.run()
        (letter,) = letters(world)
        assert ("40 people" if bound == "people" else "goes on without it") in letter.detail
        assert not entry_of(world, KING).awaiting
        assert (world.tally(KING).count, world.tally(BOSS).count) == (2, 41)
        event(world, KING, BOSS)  # announced again: it is known not to come
        before = said(world, KING)
        await world.run()
        assert said(world, KING) == before + 1
        event(world, BOSS)
        await world.run()
        assert world.tally(BOSS).count == 42
    for _ in range(2):
        replay_newest(world)
    await world.run()
    assert world.tally(KING).count == 3 + 42, "carried out by the replay, once"
    assert entry_of(world, BOSS).winner == KING
    assert len(letters(world)) == 1


@pytest.mark.parametrize("inline", [0, 64])
async def test_what_cannot_be_folded_in_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, inline: int) -> None:
    monkeypatch.setattr(absorbed, "INLINE", inline)
    stage = Picky()
    world = World(stage)
    event(world, KING)
    event(world, BOSS)
    await world.run()
    world.merge(BOSS, KING)
    event(world, KING, BOSS)
    await world.run()
    (letter,) = letters(world)
    assert "do not mix" in letter.detail
    assert not entry_of(world, KING).awaiting
    assert said(world, KING) == 2, "what was held back is told"
    event(world, KING, BOSS)
    await world.run()
    assert said(world, KING) == 3
    stage.picky = False
    for _ in range(2):
        replay_newest(world)
    await world.run()
    assert world.tally(KING).count == 4
    assert len(letters(world)) == 1


async def test_the_word_that_somebody_does_not_come_follows_whoever_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    event(world, KING, BOSS)
    event(world, KING)
    world.merge(KING, EMPEROR)
    event(world, EMPEROR, KING)
    await world.run()
    assert entry_of(world, EMPEROR).awaiting == {BOSS}
    event(world, BOSS)
    with monkeypatch.context() as patch:
        patch.setattr(absorbed, "MOST_ABSORBED", -1)
        world.merge(BOSS, KING)
        await world.run()
    assert not entry_of(world, EMPEROR).awaiting
    replay_newest(world)
    await world.run()
    assert world.tally(EMPEROR).count == 4


async def test_a_winner_that_cannot_decide_without_it_is_let_go_too() -> None:
    class Undecided(Picky):
        def settled(self, state: Tally, step: Step) -> Tally:
            raise RuntimeError("cannot decide")

    world = World(Undecided())
    event(world, BOSS)
    await world.run()
    world.merge(BOSS, KING)
    event(world, KING, BOSS)
    await world.run()
    assert not entry_of(world, KING).awaiting
    assert len(letters(world)) == 1
    event(world, KING)
    await world.run()
    assert said(world, KING) == 1


async def test_clocks_merges_and_states_that_nobody_can_read_are_dead_letters_and_stop_nothing() -> None:
    world = World()
    for key, kind in (("clock:1", b"clock"), ("clock:1", b"merge"), (BOSS, b"merge"), (BOSS, b"moved")):
        world.log.append(IN, key, b"{", [("kind", kind)], slot(BOSS))
    world.log.append(IN, BOSS, json.dumps({"add": 1}).encode(), [])
    await world.run()
    assert world.tally(BOSS).count == 1
    assert len(letters(world)) == 4


class Scored:
    """A Redis that knows the members of one index."""

    def __init__(self, *members: str) -> None:
        self._members = members

    async def zmscore(self, _: str, members: Sequence[str]) -> list[float | None]:
        return [0.0 if member in self._members else None for member in members]


@pytest.mark.parametrize("inline", [True, False])
async def test_readers_do_not_wait_for_who_does_not_come(inline: bool) -> None:
    entry: Entry[Tally] = Entry()
    known = {"!" + BOSS, EMPEROR}
    entry.absorbed = known if inline else {OTHERS}
    client: Any = Scored(*known)
    for ids, there in (([BOSS], True), ([EMPEROR, BOSS], True), ([BOSS, "u:else"], False)):
        assert await have_absorbed(client, "journeys", KING, entry, ids) is there


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0, 3, 64]))
def test_however_many_merges_fail_nobody_waits_in_the_end_and_nothing_is_lost(seed: int, inline: int) -> None:
    random = Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(absorbed, "INLINE", inline)
        patch.setattr(absorbed, "MOST_ABSORBED", 2)
        scene, winners, added = Scene(Counting()), dict[str, str](), 0
        keys = [f"u:{n}" for n in range(12)]
        for n in range(70):
            loser = random.randrange(1, len(keys))
            if random.random() < 0.4 and keys[loser] not in winners:
                winners[keys[loser]] = keys[random.randrange(loser)]
                record = MergeRecord(keys[loser], winners[keys[loser]], 0)
                scene.log.append(IN, keys[loser], msgspec.json.encode(record), [("kind", b"merge")])
            key = random.choice(keys)
            scene.log.append(
                IN, key, json.dumps({"add": n}).encode(), [("merged_from", one.encode()) for one, to in winners.items() if to == key][:1]
            )
            added += n
            if random.random() < 0.2:
                scene.restart()
            if random.random() < 0.4 and (pending := scene.pending()):
                scene.work(random.choice(pending), random.randint(1, 9))
        scene.settle()
        assert scene.waiting("folder") == []
        assert sum(Counting().load(each.blob).total for each in scene.stored()) == added
        before = told(scene)
        scene.redis.flush()
        scene.restart()
        for partition in sorted({slot(key) for key in keys}):
            scene.take_over(partition)
        scene.settle()
        assert told(scene) == before


def told(scene: Scene) -> object:
    """States, markers and how much was published."""
    states = sorted((each.key, each.blob, sorted(each.recent)) for each in scene.stored())
    return states, scene.markers("folder"), {topic: len(scene.log.records(topic)) for topic in (OUT, MOVED, RECORD_FAILED)}
