"""A kiosk, a test login: very many people merged into one cost the next event nothing, and nobody is forgotten."""

import json
from collections.abc import Sequence
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contracts.failed import FAILED_DECODER
from shared.contracts.identity import MergeRecord
from shared.contracts.slots import slot
from shared.contracts.topics import RECORD_FAILED
from shared.runtime import absorbed
from shared.runtime.absorbed import INLINE, MOST_ABSORBED
from shared.runtime.envelope import Entry, Moved, decode_moved, encode_moved, open_entry
from shared.runtime.ports import Commit
from shared.testing.counting import IN, MOVED, Counting, Tally
from shared.testing.fakes import FakeRedis, FakeStore
from shared.testing.scene import Scene
from tests.unit.counting_world import World


class Weighed(FakeRedis):
    """Remembers what each commit brought: bytes of states and outbox, changes of indexes."""

    def __init__(self) -> None:
        super().__init__()
        self.commits_seen: list[tuple[int, int]] = []

    def store(self, stage: str, partition: int) -> FakeStore:
        return WeighedStore(self, stage, partition)


class WeighedStore(FakeStore):
    def __init__(self, redis: Weighed, stage: str, partition: int) -> None:
        super().__init__(redis, stage, partition)
        self._weighed = redis

    async def commit(self, commit: Commit) -> None:
        await super().commit(commit)
        self._weighed.commits_seen.append((sum(map(len, commit.states.values())) + len(commit.outbox), len(commit.indexes)))


def moved_in(world: World, losers: Sequence[str], winner: str) -> None:
    blob = msgspec.msgpack.encode(Tally(1, 1))
    for n, loser in enumerate(losers):
        cause = f"folder|{IN}|7|{len(world.log.partitions[MOVED, slot(winner)])}|{n}".encode()
        world.log.append(MOVED, winner, encode_moved(Moved(loser, blob, [], [], [])), [("cause", cause), ("kind", b"moved")])


def absorbed_by(world: World, key: str) -> set[str]:
    entry: Entry[Tally] = open_entry(world.redis.states("folder")[key])
    inside = (entry.absorbed or set()) - {""}
    return inside | set(world.redis.slots["folder", slot(key)].indexes.get(absorbed.index_of(key), {}))


async def after(world: World, key: str, **headers: bytes) -> tuple[int, int]:
    """What the commit of one event of `key` brings."""
    world.log.append(IN, key, json.dumps({"add": 1}).encode(), list(headers.items()))
    assert isinstance(world.redis, Weighed)
    world.redis.commits_seen.clear()
    await world.run(rounds=1)
    (seen,) = [each for each in world.redis.commits_seen if each[0]]
    return seen


async def test_an_event_after_100_000_merges_costs_what_it_cost_after_few(capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    weighed = world.redis = Weighed()
    await after(world, "u:kiosk")
    costs = {0: await after(world, "u:kiosk")}
    merged = 0
    for more in (30, 970, 99_000):
        moved_in(world, [f"a:{n}" for n in range(merged, merged + more)], "u:kiosk")
        merged += more
        await world.run(rounds=1, chunk=2000)
        costs[merged] = await after(world, "u:kiosk")
    with capsys.disabled():
        print(f"\nbytes and index changes of an event's commit, by merges before it: {costs}")  # noqa: T201
    assert costs[100_000][0] < costs[0][0] + INLINE * 20
    assert costs[100_000][1] == 0
    assert world.tally("u:kiosk").count == 100_000 + 5
    assert await after(world, "u:kiosk", merged_from=b"a:17")  # its blob is in: nothing waits
    assert not open_entry(world.redis.states("folder")["u:kiosk"]).awaiting
    moved_in(world, ["a:17", "a:99999"], "u:kiosk")
    await world.run(rounds=1)
    assert world.tally("u:kiosk").count == 100_000 + 6, "a blob was absorbed twice"

    world.merge("u:kiosk", "u:boss")
    await world.run()
    assert absorbed_by(world, "u:boss") == {"u:kiosk", *(f"a:{n}" for n in range(100_000))}
    assert not weighed.slots["folder", slot("u:kiosk")].indexes[absorbed.index_of("u:kiosk")]
    world.put("u:boss", add=1)
    world.merge("u:boss", "u:king")
    await world.run()
    (letter,) = [FAILED_DECODER.decode(record.value or b"") for record in world.log.records(RECORD_FAILED)]
    assert f"more than {MOST_ABSORBED}" in letter.detail
    assert world.tally("u:boss").count == 100_000 + 7


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32))
def test_who_was_merged_is_known_whether_they_stand_in_the_state_or_beside_it(seed: int) -> None:
    """The same story with room for three and for all of them ends in the same states, answers and moved blobs."""
    told = []
    for inline in (3, 10_000):
        random = Random(seed)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(absorbed, "INLINE", inline)
            told.append(_story(random))
    assert told[0] == told[1]


def _story(random: Random) -> object:
    scene = Scene(Counting())
    keys = [f"u:{n}" for n in range(14)]
    winners: dict[str, str] = {}
    for n in range(70):
        scene.batch_bytes = random.choice((1, 4 << 20))
        loser = random.randrange(1, len(keys))
        if random.random() < 0.25 and keys[loser] not in winners:
            winners[keys[loser]] = keys[random.randrange(loser)]
            record = MergeRecord(keys[loser], winners[keys[loser]], 0)
            scene.log.append(IN, keys[loser], msgspec.json.encode(record), [("kind", b"merge")])
        key = random.choice(keys)
        headers = [("merged_from", one.encode()) for one, winner in winners.items() if winner == key][:1]
        scene.log.append(IN, key, json.dumps({"add": n}).encode(), headers)
        if random.random() < 0.2:
            scene.restart()
        if random.random() < 0.4 and (pending := scene.pending()):
            scene.work(random.choice(pending), random.randint(1, 9))
    scene.settle()
    moved = [
        (record.key, sorted(decode_moved(record.value or b"").absorbed))
        for record in scene.log.records(MOVED)
        if dict(record.headers).get("kind") == b"moved"
    ]
    assert scene.waiting("folder") == []
    states = sorted((each.key, each.blob, sorted(each.recent)) for each in scene.stored())
    return states, scene.markers("folder"), moved
