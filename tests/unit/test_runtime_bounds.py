"""A batch ends at a byte bound, wherever that is: what is put out, stored and said under which cause stays the same."""

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.profile.folder_stage import FolderStage
from services.profile.resolver_stage import ResolverStage
from shared.contracts.changes import PROFILE_CHANGED_DECODER, ProfileChanged
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import EVENT_RECEIVED, PROFILE_CHANGED
from shared.runtime.cache import ENTRY_BYTES, EntryCache
from shared.runtime.ports import Commit
from shared.testing.counting import OUT, Counting
from shared.testing.fakes import FakeRedis, FakeStore
from shared.testing.histories import EPOCH, encoded, event
from shared.testing.scene import Scene, finished
from tests.unit.counting_world import World
from tests.unit.test_runtime_turns import Story

BOUNDS = (1, 250, 700, 1500, 5000, 4 << 20)


def told(bound: int, seed: int, steps: int) -> tuple[object, object, object, object]:
    """All that follows from one story (records, merges, timers) when batches end at `bound`."""
    story = Story(Random(seed))
    story.scene.batch_bytes = bound
    for _ in range(steps):
        getattr(story, story.random.choice(("put", "put", "put", "merge", "tick")))()
    story.scene.settle()
    data = story.scene.redis.slots
    log = {where: [(r.key, r.value, tuple(r.headers)) for r in records] for where, records in story.scene.log.partitions.items()}
    states = {where: dict(slot.states) for where, slot in data.items()}
    timers = {where: dict(slot.timers) for where, slot in data.items()}
    seen = {where: {k: v for k, v in slot.fields.items() if k[:2] in ("f|", "c|", "k|")} for where, slot in data.items()}
    return log, states, timers, seen


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(BOUNDS), st.integers(0, 2**32), st.integers(5, 80))
def test_any_bound_gives_the_same_outputs_states_timers_and_causes(bound: int, seed: int, steps: int) -> None:
    assert told(bound, seed, steps) == told(1 << 40, seed, steps)


class Weighed(FakeRedis):
    """Remembers how much each commit and each load brought."""

    def __init__(self) -> None:
        super().__init__()
        self.committed: list[int] = []
        self.loaded: list[int] = []

    def store(self, stage: str, partition: int) -> FakeStore:
        return WeighedStore(self, stage, partition)


class WeighedStore(FakeStore):
    def __init__(self, redis: Weighed, stage: str, partition: int) -> None:
        super().__init__(redis, stage, partition)
        self._weighed = redis

    async def commit(self, commit: Commit) -> None:
        await super().commit(commit)
        self._weighed.committed.append(len(commit.outbox) + sum(map(len, commit.states.values())))

    async def load(self, keys: Any, limit: int) -> list[bytes | None]:
        blobs = await super().load(keys, limit)
        self._weighed.loaded.append(sum(len(blob or b"") for blob in blobs))
        return blobs


async def test_timers_that_fall_due_at_once_are_fired_in_parts_and_once_each() -> None:
    world = World()
    keys = [key for n in range(2000) if slot(key := f"u:{n}") == 0][:100]
    for key in keys:
        world.put(key, sleep_until=1000)
    for partition in range(partition_count()):
        world.slot(partition)._batch_bytes = 2000
    world.tick(500)
    world.tick(2000)
    before = world.redis.commits
    await world.run()
    woken = [key for key, value in world.out() if value == b"woken"]
    assert sorted(woken) == sorted(keys)
    assert world.redis.commits - before > 10


def fat(user: str, message: str, city: str, at: int, traits: int = 0) -> tuple[str, bytes]:
    """An identify that says one trait, and fills the profile up to `traits` others of 1 KB."""
    said = {"city": city} | {f"t{n}": f"{n}" + "x" * 1000 for n in range(traits)}
    return f"u:{user}", encoded(event("identify", message, EPOCH + at, user_id=user, traits=said))


def changed(scene: Scene) -> list[ProfileChanged]:
    return [PROFILE_CHANGED_DECODER.decode(record.value or b"") for record in scene.log.records(PROFILE_CHANGED)]


def test_two_thousand_identifies_of_a_fat_profile_say_it_once_and_no_commit_is_large() -> None:
    scene = Scene(ResolverStage(), FolderStage())
    weighed = scene.redis = Weighed()
    scene.log.append(EVENT_RECEIVED, *fat("ann", "m", "Oslo", 0, traits=199))
    scene.settle()
    for n in range(2000):
        scene.log.append(EVENT_RECEIVED, *fat("ann", f"m{n}", str(n), n + 1))
    for place in scene.pending():
        scene.work(place, 2000)
    scene.work(scene.pending()[0], 2000)
    first, last = changed(scene)
    assert (first.version, last.version) == (1, 2001)
    assert bytes(last.traits["city"]) == b'"1999"'
    assert max(weighed.committed) < 2_000_000


def test_many_fat_profiles_are_loaded_and_committed_a_bound_at_a_time() -> None:
    scene = Scene(FolderStage(), ResolverStage())
    weighed = scene.redis = Weighed()
    people = [f"p{n}" for n in range(3000) if slot(f"u:p{n}") == 0][:60]
    for n, user in enumerate(people):
        scene.log.append(EVENT_RECEIVED, *fat(user, f"a{n}", "Oslo", 0, traits=199))
    scene.settle()
    scene.restart()
    scene.batch_bytes = 1 << 20
    del weighed.committed[:], weighed.loaded[:]
    for n, user in enumerate(people):
        scene.log.append(EVENT_RECEIVED, *fat(user, f"b{n}", "Rome", 1))
    scene.settle()
    one = 420_000  # what one record of a fat profile puts out and touches
    assert max(weighed.committed) <= scene.batch_bytes + one
    assert max(weighed.loaded) <= scene.batch_bytes + one
    assert sum(bytes(change.traits["city"]) == b'"Rome"' for change in changed(scene)) == len(people)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_the_last_word_on_each_profile_is_its_state_wherever_a_refold_cuts_and_whenever_somebody_dies(seed: int) -> None:
    random = Random(seed)
    scene = Scene(ResolverStage(), FolderStage())
    copies = [scene.redis.snapshot()]
    for n in range(random.randint(5, 60)):
        scene.batch_bytes = random.choice((1, 600, 2000, 4 << 20))
        scene.log.append(EVENT_RECEIVED, *fat(random.choice(("ann", "bob", "cyd")), f"m{n}", random.choice("abc"), n))
        match random.randrange(8):
            case 0 if pending := scene.pending():
                scene.crash(random.choice(pending), random.randint(1, 9), random.randint(0, 3))
            case 1:
                scene.restart()
            case 2:
                copies.append(scene.redis.snapshot())
            case 3:
                chosen = random.randrange(len(copies))
                copies = copies[: chosen + 1]
                scene.restore(copies[chosen])
            case 4 | 5 if pending := scene.pending():
                scene.work(random.choice(pending), random.randint(1, 20))
            case _:
                pass
    for partition in range(partition_count()):
        scene.take_over(partition)
    scene.settle(random)
    last: dict[str, ProfileChanged] = {}
    seen: dict[tuple[int, str], tuple[int, int]] = {}
    causes = []
    for record in scene.log.records(PROFILE_CHANGED):
        raw = dict(record.headers)["cause"].decode()
        causes.append(raw)
        lane, offset, nth = raw.rsplit("|", 2)
        if seen.get((record.partition, lane), (-1, -1)) < (int(offset), int(nth)):
            seen[record.partition, lane] = (int(offset), int(nth))
            change = PROFILE_CHANGED_DECODER.decode(record.value or b"")
            if change.version >= last.get(change.profile_id, change).version:
                last[change.profile_id] = change
    assert len(causes) == len(set(causes)), "the log is doubled"
    stage = FolderStage()
    for each in scene.stored():
        if each.stage == "folder" and each.blob:
            profile = stage.load(each.blob)
            facts = {name: value for name, (value, _) in profile.facts(".").items()}
            assert {name: bytes(value) for name, value in last[each.key].traits.items()} == facts


def test_cached_states_have_a_bound_in_bytes() -> None:
    cache: EntryCache[object] = EntryCache(1000, 1_000_000, 2)
    for n in range(100):
        cache.fill([f"k{n}"], [b"\0" * 9 + b"x" * 50_000])
        cache.rotate(0)
        assert cache.taken <= 1_000_000 + 2 * 50_100
    assert cache.missing(["k99", "k0"]) == ["k0"]
    small: EntryCache[object] = EntryCache(10, 1_000_000, 2)
    for n in range(100):
        small.fill([f"k{n}"], [None])
        small.rotate(0)
    assert small.taken <= 22 * ENTRY_BYTES
    grown: EntryCache[object] = EntryCache(1000, 1_000_000, 2)
    grown.fill(["k"], [None])
    grown.rotate(0)
    grown.get("k").size = 600_000  # a batch made it so
    grown.rotate(600_000)
    assert 1_200_000 <= grown.taken <= 1_200_000 + 2 * ENTRY_BYTES
    grown.rotate(0)
    assert grown.missing(["k"]) == [], "it is the older generation"


@pytest.mark.parametrize("bound", [1, 100, 4 << 20])
async def test_a_record_larger_than_the_bound_passes_alone(bound: int) -> None:
    world = World(Counting())
    for n in range(20):
        world.put("u:1", add=n)
    world.slot(slot("u:1"))._batch_bytes = bound
    await world.run()
    assert [value for _, value in world.out(OUT)] == [str(sum(range(n + 1))).encode() for n in range(20)]


def test_nothing_of_a_scene_waits() -> None:
    scene = Scene(Counting())
    assert finished(scene._slot("folder", 0).take_over())
