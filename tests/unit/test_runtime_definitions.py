"""Definitions take effect at a record: a refold, a takeover and two workers switch at the same one, and everybody is looked at."""

import json
from collections import Counter
from random import Random
from typing import ClassVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contracts.headers import CAUSE, KIND, KIND_MERGE, header
from shared.contracts.identity import MergeRecord
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import DEFINITION_ACTIVATED, EVENT_RESOLVED, MEMBERSHIP_MOVED, SEGMENT_CHANGED
from shared.runtime import waking
from shared.runtime.plans import KEPT, Plans
from shared.runtime.ports import LogAway
from shared.runtime.stage import Record, Stage, Step
from shared.testing.fakes import Copy, FakeRecord
from shared.testing.scene import FakeSets, Scene, finished

T0 = 1_700_000_000_000
KEYS = [f"u:{n}" for n in range(30)]


class Known(msgspec.Struct, array_like=True):
    """Of one key: how many records, and by which set it was decided last."""

    count: int = 0
    plan: int = 0


class Deciding(Stage[Known, bytes]):
    """Says of each record, and of each key that a sweep finds undecided, by which set it went. Odd sets decide nobody anew."""

    name = "segmentation"
    inputs = (EVENT_RESOLVED, DEFINITION_ACTIVATED, MEMBERSHIP_MOVED)
    moved = MEMBERSHIP_MOVED
    met: ClassVar[str] = "met"

    def compile(self, defined: int | None) -> int:
        return defined or 0

    def decides_anew(self, before: int, after: int) -> bool:
        return after % 2 == 0

    def decode(self, record: Record) -> bytes:
        return record.value or b""

    def empty(self, key: str) -> Known:
        return Known()

    def load(self, raw: bytes) -> Known:
        return msgspec.msgpack.decode(raw, type=Known)

    def dump(self, state: Known) -> bytes:
        return msgspec.msgpack.encode(state)

    def fold(self, state: Known, item: bytes, step: Step) -> Known:
        self._say(state, step, "record")
        return Known(state.count + 1, step.plan)

    def swept(self, state: Known, step: Step) -> Known:
        if state.plan == step.plan:
            step.unchanged = True
            return state
        self._say(state, step, "swept")
        return Known(state.count, step.plan)

    def merge(self, winner: Known, loser: Known, step: Step) -> Known:
        return Known(winner.count + loser.count, min(winner.plan, loser.plan))

    def _say(self, state: Known, step: Step, why: str) -> None:
        if not step.held:
            step.emit(SEGMENT_CHANGED, step.key, json.dumps([step.key, why, state.count, step.plan]).encode())


def said(scene: Scene) -> list[tuple[str, str, int, int]]:
    """What was published, each cause once, in the order of partitions."""
    once: dict[bytes, bytes] = {}
    for record in scene.log.records(SEGMENT_CHANGED):
        once.setdefault(header(record.headers, CAUSE) or b"", record.value or b"")
    return [tuple(json.loads(value)) for value in once.values()]


def put(scene: Scene, key: str) -> FakeRecord:
    return scene.log.append(EVENT_RESOLVED, key, b"{}")


def merge(scene: Scene, loser: str, winner: str) -> None:
    value = msgspec.json.encode(MergeRecord(winner=winner, loser=loser, at=T0))
    scene.log.append(EVENT_RESOLVED, loser, value, [(KIND, KIND_MERGE)])


def swept_keys(scene: Scene, plan: int) -> Counter[str]:
    return Counter(key for key, why, _, by in said(scene) if why == "swept" and by == plan)


def test_what_comes_before_the_record_goes_by_the_old_set_and_what_comes_after_by_the_new_one() -> None:
    scene = Scene(Deciding())
    put(scene, "u:1")
    scene.settle()
    scene.activate(T0 + 1)
    scene.settle()
    put(scene, "u:1")
    scene.settle()
    assert said(scene) == [("u:1", "record", 0, 0), ("u:1", "record", 1, T0 + 1)]


def test_a_slot_that_begins_reads_first_which_definitions_there_are() -> None:
    scene = Scene(Deciding())
    for key in KEYS:
        put(scene, key)
    scene.activate(T0 + 1)
    scene.settle()
    assert said(scene) == sorted(((key, "record", 0, T0 + 1) for key in KEYS), key=lambda one: (slot(one[0]), KEYS.index(one[0])))


@pytest.mark.parametrize(("lost", "before"), [(1, T0 + 1), (2, T0 + 2), (3, T0 + 3)])
def test_what_has_left_the_log_is_known_from_the_history_of_sets(lost: int, before: int) -> None:
    scene = Scene(Deciding())
    for at in (T0 + 1, T0 + 2, T0 + 3):
        scene.activate(at)
    put(scene, "u:1")
    for partition in range(partition_count()):
        scene.log.starts[DEFINITION_ACTIVATED, partition] = lost
    assert finished(scene._slot("segmentation", slot("u:1")).take_over())
    assert int(scene.redis.slots["segmentation", slot("u:1")].fields["ds"]) == before


def test_a_set_that_is_activated_twice_or_late_changes_nothing() -> None:
    scene = Scene(Deciding())
    for at in (T0 + 2, T0 + 2, T0 + 1):
        scene.activate(at)
    scene.settle()
    put(scene, "u:1")
    scene.settle()
    assert said(scene) == [("u:1", "record", 0, T0 + 2)]


def test_everybody_is_looked_at_once_a_page_a_clock_also_who_has_nothing_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "SWEEP_PAGE", 2)
    scene = Scene(Deciding())
    for key in KEYS:
        put(scene, key)
    scene.tick(T0)
    scene.settle()
    scene.activate(T0 + 2)
    scene.settle()
    assert not swept_keys(scene, T0 + 2)  # no clock has come since
    largest = max(Counter(map(slot, KEYS)).values())
    for second in range(1, largest + 2):
        scene.tick(T0 + 1000 * second)
        scene.settle()
    assert swept_keys(scene, T0 + 2) == Counter(KEYS)
    commits = scene.redis.commits
    scene.tick(T0 + 100_000)
    scene.settle()
    assert scene.redis.commits == commits  # an idle system is idle again


def test_a_set_that_decides_nobody_anew_sweeps_nobody() -> None:
    scene = Scene(Deciding())
    put(scene, "u:1")
    scene.tick(T0)
    scene.activate(T0 + 3)
    scene.settle()
    scene.tick(T0 + 1000)
    scene.settle()
    assert not swept_keys(scene, T0 + 3)


def test_who_was_kept_by_a_release_without_an_index_is_swept_too_and_markers_are_not() -> None:
    scene = Scene(Deciding())
    for key in KEYS[:5]:
        put(scene, key)
    scene.settle()
    merge(scene, KEYS[0], KEYS[1])
    scene.settle()
    for data in scene.redis.slots.values():
        data.indexes.clear()
        data.fields.pop("me", None)
    scene.restart()
    scene.activate(T0 + 2)
    scene.tick(T0)
    scene.settle()
    scene.tick(T0 + 1000)
    scene.settle()
    assert swept_keys(scene, T0 + 2) == Counter(KEYS[1:5])


def test_a_slot_waits_for_a_set_that_is_not_in_the_log_yet() -> None:
    plans = Plans(lambda one: one, FakeSets())
    with pytest.raises(LogAway, match="not been read"):
        plans.of(T0)


def test_plans_of_many_sets_are_not_all_kept() -> None:
    sets = FakeSets()
    most = KEPT + 2 * partition_count()
    sets.instants = set(range(1, 2 * most))
    made: list[int] = []
    plans = Plans(lambda one: made.append(one) or one, sets)  # type: ignore[func-returns-value]
    for at in sorted(sets.instants):
        assert finished(plans.make(at)) == at
    assert len(made) == len(sets.instants)
    assert finished(plans.make(2 * most - 1)) == 2 * most - 1
    assert len(made) == len(sets.instants)
    with pytest.raises(LogAway):
        plans.of(1)


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(KEYS)),
        st.tuples(st.just("merge"), st.tuples(st.integers(1, 29), st.integers(1, 29)).filter(lambda two: two[0] != two[1])),
        st.tuples(st.just("activate"), st.booleans()),
        st.tuples(st.just("tick"), st.just(0)),
        st.tuples(st.just("work"), st.integers(0, 7)),
    ),
    min_size=20,
    max_size=120,
)


def _story(moves: list[tuple[str, object]], seed: int, trouble: bool) -> tuple[Scene, list[tuple[str, str, int, int]]]:
    """Go through `moves`. With `trouble`, workers die, publications end half-way and Redis is emptied in between."""
    random, scene, second, at = Random(seed), Scene(Deciding()), 0, T0
    copy: Copy | None = None
    forwarded: set[str] = set()
    for what, how in moves:
        if what == "put":
            put(scene, str(how))
        elif what == "merge" and isinstance(how, tuple):
            loser, winner = f"u:{how[0]}", "u:0"
            if loser not in forwarded:
                forwarded.add(loser)
                merge(scene, loser, winner)
        elif what == "activate":
            at += 2 if how else 1
            scene.activate(at)
        elif what == "tick":
            second += 1
            scene.tick(T0 + 1000 * second)
        elif pending := scene.pending():
            where = pending[random.randrange(len(pending))]
            if trouble and random.random() < 0.4:
                scene.crash(where, random.randint(1, 5), random.randint(0, 4))
            else:
                scene.work(where, random.randint(1, 5))
            if trouble and random.random() < 0.2:
                scene.restart()
                scene.batch_bytes = random.choice((1, 500, 4 << 20))
            if trouble and random.random() < 0.1:
                if copy is not None:
                    scene.restore(copy)
                copy = scene.redis.snapshot()
            if trouble and random.random() < 0.1:
                scene.restart()
                scene.redis.flush()
    scene.settle()
    for extra in range(1, 40):
        scene.tick(T0 + 1000 * (second + extra))
        scene.settle()
    return scene, said(scene)


@given(moves=MOVES, seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_deaths_and_an_emptied_redis_at_any_moment_change_nothing_of_what_was_said(moves: list[tuple[str, object]], seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waking, "SWEEP_PAGE", 2)
        scene, told = _story(moves, seed, trouble=True)
        causes = Counter(header(record.headers, CAUSE) for record in scene.log.records(SEGMENT_CHANGED))
        assert max(causes.values(), default=1) == 1  # nothing was said twice
        before = [record.value for record in scene.log.records(SEGMENT_CHANGED)]
        digest = scene.digest()
        scene.restart()
        scene.redis.flush()
        for partition in range(8):
            scene.take_over(partition)
        scene.settle()
        assert [record.value for record in scene.log.records(SEGMENT_CHANGED)] == before
        assert scene.digest() == digest
        newest = max((by for _, _, _, by in told), default=0)
        for key, count in Counter((key, by) for key, why, _, by in told if why == "swept").items():
            assert count == 1, (key, newest)
