"""Long chains of merges that are read before any blob has moved: few records, and nothing lost, doubled or decided otherwise by it."""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from math import log2
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contracts.headers import KIND, KIND_MERGE, KIND_MOVED, ORIGIN, VIA, Position, header
from shared.contracts.identity import MergeRecord
from shared.contracts.slots import slot
from shared.runtime import committing, farther
from shared.runtime.envelope import decode_moved
from shared.runtime.farther import KNOWN_MS, LONG
from shared.runtime.ports import TopicPartition
from shared.runtime.stage import Output
from shared.testing.counting import IN, MOVED
from shared.testing.fakes import Crash, FakeLog, FakeRecord
from tests.unit.counting_world import World
from tests.unit.test_runtime_turns import MOVES, Story, check

KEYS = [f"u:{n}" for n in range(40)]
"""A chain leads from the last to the first."""


def chain(world: World, links: Sequence[int]) -> None:
    """Key n + 1 is merged into key n, for each n in `links`; each key had one record."""
    for n in range(len(links) + 1):
        world.put(f"u:{n}", add=1)
    for n in links:
        world.merge(f"u:{n + 1}", f"u:{n}")


async def settle(world: World) -> None:
    """Until nobody has anything to read."""
    while True:
        before = len(world.log.records(MOVED))
        await world.run(rounds=1)
        if len(world.log.records(MOVED)) == before:
            return


def words(world: World) -> dict[str, list[str]]:
    """Marker -> what it was told."""
    slots = [data.indexes for (stage, _), data in world.redis.slots.items() if stage == "folder"]
    return {name: list(members) for indexes in slots for name, members in indexes.items() if members and "farther" in name}


def jumps(records: Sequence[FakeRecord], winner: dict[str, str]) -> int:
    """How many blobs were sent elsewhere than to the winner of the marker that sent them."""
    sent = [((header(one.headers, VIA) or b"").decode(), (one.key or b"").decode()) for one in records]
    return sum(bool(via) and winner[via] != key for via, key in sent)


def shuffled(count: int) -> list[int]:
    return Random(5).sample(range(count), count)


@pytest.mark.parametrize("count", [64, 300])
@pytest.mark.parametrize("order", [lambda n: list(range(n)), lambda n: list(range(n))[::-1], shuffled], ids=["first", "last", "mixed"])
async def test_a_chain_read_before_any_blob_has_moved_costs_n_log_n_records(order: object, count: int) -> None:
    assert callable(order)
    world = World()
    chain(world, order(count))
    await settle(world)
    moved = world.log.records(MOVED)
    assert len(moved) < (LONG + 5 * log2(count)) * count
    assert jumps(moved, {f"u:{n + 1}": f"u:{n}" for n in range(count)}) > count
    assert {len(told) for told in words(world).values()} == {1}, "a marker keeps the last word"
    assert (world.tally("u:0").count, world.tally("u:0").total) == (count + 1, count + 1)


async def test_without_jumps_the_same_chain_costs_n_times_n(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the claim above says something."""
    monkeypatch.setattr(farther, "LONG", 1_000)
    world = World()
    chain(world, range(64))
    await settle(world)
    assert len(world.log.records(MOVED)) == 64 * 65 // 2


async def test_a_chain_as_people_make_them_leaves_nothing_that_the_last_release_would_not() -> None:
    world = World()
    chain(world, range(LONG + 1))
    await settle(world)
    assert world.tally("u:0").count == LONG + 2
    assert {header(record.headers, KIND) for record in world.log.records(MOVED)} == {KIND_MOVED}
    assert {header(record.headers, VIA) for record in world.log.records(MOVED)} == {None}
    assert words(world) == {}


class ScatteredLog(FakeLog):
    """Keeps the order of what is published together within a partition only, as Kafka does: also if the publisher dies of it."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    async def publish(self, outputs: Sequence[Output]) -> Mapping[TopicPartition, int]:
        queues: defaultdict[TopicPartition, deque[Output]] = defaultdict(deque)
        for output in outputs:
            queues[output.topic, output.partition].append(output)
        scattered = []
        while queues:
            where = self._random.choice(list(queues))
            scattered.append(queues[where].popleft())
            if not queues[where]:
                del queues[where]
        return await super().publish(scattered)


class LongStory(Story):
    """The same with chains: of keys one after the other, merged in any order before anybody works. Time goes on now and then."""

    def __init__(self, random: Random) -> None:
        super().__init__(random, KEYS, ScatteredLog(random))

    def chain(self) -> None:
        first = self.random.randrange(1, len(self.keys))
        losers = list(range(first, min(first + self.random.randint(2, 15), len(self.keys))))
        match self.random.randrange(3):
            case 0:
                losers.reverse()
            case 1:
                self.random.shuffle(losers)
        for loser in losers:
            self.merge_into(self.keys[loser], self.keys[loser - 1])

    def late(self) -> None:
        """Records of people who have been merged."""
        for _ in range(3 if self.winner else 0):
            self.put(self.random.choice(list(self.winner)))

    def wait(self) -> None:
        self.scene.log.now += self.random.choice((1_000, KNOWN_MS // 2, KNOWN_MS))


LONG_MOVES = {**MOVES, "work": 12, "merge": 1, "chain": 2, "late": 2, "die": 2, "wait": 1}


def long_story(seed: int, steps: int, long: int) -> Story:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(farther, "LONG", long)
        story = LongStory(Random(seed))
        for _ in range(steps):
            getattr(story, story.random.choices(list(LONG_MOVES), list(LONG_MOVES.values()))[0])()
        story.end()
    return story


def overtaken(log: FakeLog) -> list[str]:
    """Who was late somewhere before what it left in its merge was there."""
    blobs, late = set[tuple[str, bytes | None]](), set[tuple[str, bytes | None]]()
    found = []
    for record in log.records(MOVED):
        match header(record.headers, KIND):
            case b"moved":
                blob = (decode_moved(record.value or b"").loser, record.key)
                found += [blob[0]] if blob in late and blob not in blobs else []
                blobs.add(blob)
            case b"late":
                topic, partition, offset = Position.decode(header(record.headers, ORIGIN) or b"")
                late.add(((log.partitions[topic, partition][offset].key or b"").decode(), record.key))
    return found


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(5, 120), st.integers(0, 2))
def test_chains_deaths_and_copies_restored_at_any_moment_lose_and_double_nothing(seed: int, steps: int, long: int) -> None:
    """Each number is in one state, in the end at its chain's root; nobody waits for a blob, and readers heard all and nothing twice."""
    story = long_story(seed, steps, long)
    check(story)
    assert overtaken(story.scene.log) == []


def test_in_those_stories_blobs_jump() -> None:
    story = long_story(7, 120, 0)
    assert jumps(story.scene.log.records(MOVED), story.winner) > 10


class LastFirstLog(FakeLog):
    """Of what is published together the last record is in the log first."""

    async def publish(self, outputs: Sequence[Output]) -> Mapping[TopicPartition, int]:
        return await super().publish(list(reversed(outputs)))


async def read(world: World, key: str, topic: str) -> None:
    """The slot of `key` reads what its group has not read of one input."""
    where = ("test", topic, slot(key))
    records = world.log.partitions[topic, slot(key)][world.log.commits.get(where, 0) :]
    assert await world.slot(slot(key)).process(topic, records)
    world.log.commits[where] = records[-1].offset + 1


async def one_that_dies_between_a_jump_and_what_is_late() -> FakeLog:
    """`c` knows that `a` is farther on than `b`. It sends the blob of `e` there and what is late of `e` to `b`, and dies in between."""
    in_slot = [next(f"u:{n}" for n in range(1_000) if slot(f"u:{n}") == partition) for partition in range(5)]
    a, b, c, d, e = in_slot
    world = World()
    for loser, winner in ((b, a), (c, b), (d, c)):
        world.merge(loser, winner)
        await read(world, loser, IN)
    for key in (c, b, c):  # the blob of d goes on, goes on again, and c is told where
        await read(world, key, MOVED)
    world.put(e, add=1)
    world.merge(e, c)
    world.put(e, add=1)
    await read(world, e, IN)
    world.log.__class__ = LastFirstLog
    world.log.publish_limit = 1
    with pytest.raises(Crash):
        await read(world, c, MOVED)
    world.crash()
    world.log.publish_limit = None
    if len(world.log.partitions[MOVED, slot(b)]) > world.log.commits["test", MOVED, slot(b)]:
        await read(world, b, MOVED)  # others are faster than the heir of c
    await settle(world)
    assert (world.tally(a).count, world.tally(a).total) == (2, 2)
    assert jumps(world.log.records(MOVED), {b: a, c: b, d: c, e: c}) == 1
    return world.log


async def test_what_is_late_does_not_overtake_a_blob_that_jumped_though_its_sender_died(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farther, "LONG", 0)
    assert overtaken(await one_that_dies_between_a_jump_and_what_is_late()) == []
    monkeypatch.setattr(committing, "parts", lambda outputs: [outputs] if outputs else [])
    assert overtaken(await one_that_dies_between_a_jump_and_what_is_late()) != [], "else the claim says nothing"


async def test_what_a_marker_was_told_holds_for_half_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farther, "LONG", 0)
    sent = {}
    for pause in (KNOWN_MS - 1, KNOWN_MS):
        world = World()
        chain(world, range(4))
        await settle(world)
        (told,) = words(world)[farther.words_of("u:3")]
        assert told == f"{world.log.now} u:1"
        before = len(world.log.records(MOVED))
        world.log.now += pause
        world.put("u:9", add=1)
        world.merge("u:9", "u:3")
        await settle(world)
        sent[pause] = len(world.log.records(MOVED)) - before
    assert sent == {KNOWN_MS - 1: 4, KNOWN_MS: 6}


async def test_who_is_no_marker_does_not_follow_what_markers_are_told() -> None:
    world = World()
    world.put("u:3", add=1)
    world.log.append(MOVED, "u:3", msgspec.json.encode(MergeRecord("u:3", "u:1", 0)), [(KIND, KIND_MERGE)])
    await settle(world)
    assert (world.tally("u:3").count, words(world)) == (1, {})
