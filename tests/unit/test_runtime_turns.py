"""Copies of the store restored at any moment: a refold reads the inputs in the order they were read in, so readers miss nothing and see
nothing twice, and what had been decided stays decided.
"""

import json
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from shared.contracts.clock import ClockRecord, encode_clock
from shared.contracts.headers import header
from shared.contracts.identity import MergeRecord
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import RECORD_FAILED, TURN_RECORDED
from shared.runtime.batch import CLOCK_KEY
from shared.runtime.envelope import peek
from shared.runtime.outbox import decode_outbox
from shared.runtime.ports import Commit, Halted, TopicPartition
from shared.runtime.stage import Record, Stage, Step
from shared.runtime.turns import Turn
from shared.testing.counting import IN, IN_TWO, MOVED, OUT, REPLAYED
from shared.testing.fakes import Crash, FakeLog, FakeRecord, FakeRedis, FakeStore
from shared.testing.scene import Scene
from tests.unit.counting_world import World

KEYS = [f"u:{n}" for n in range(5)]
"""A merge always goes from a later one to an earlier one."""


class Book(msgspec.Struct, array_like=True):
    """What one key has been told (numbers of records, in the order they came), how often it has spoken, and its timer."""

    items: list[int] = []
    said: int = 0
    due: int = 0


class Item(msgspec.Struct, frozen=True):
    n: int
    sleep_until: int = 0


class Ledger(Stage[Book, Item]):
    """Says after each record all that it knows, numbered: what a reader has missed, has heard twice or could not know shows."""

    name = "folder"
    inputs = (IN, IN_TWO, MOVED, REPLAYED)
    moved = MOVED

    def output_topics(self) -> list[str]:
        return [OUT, MOVED, RECORD_FAILED]

    def decode(self, record: Record) -> Item:
        return msgspec.json.decode(record.value or b"", type=Item)

    def empty(self, key: str) -> Book:
        return Book()

    def load(self, raw: bytes) -> Book:
        return msgspec.msgpack.decode(raw, type=Book)

    def dump(self, state: Book) -> bytes:
        return msgspec.msgpack.encode(state)

    def _say(self, state: Book, step: Step) -> None:
        state.said += 1
        step.emit(OUT, step.key, json.dumps([state.said, state.items, step.now]).encode())

    def fold(self, state: Book, item: Item, step: Step) -> Book:
        state.items.append(item.n)
        state.due = item.sleep_until or state.due
        if not step.held:
            self._say(state, step)
        return state

    def merge(self, winner: Book, loser: Book, step: Step) -> Book:
        return Book(winner.items + loser.items, winner.said, max(winner.due, loser.due))

    def settled(self, state: Book, step: Step) -> Book:
        self._say(state, step)
        return state

    def due(self, state: Book) -> int | None:
        return state.due or None

    def wake(self, state: Book, step: Step) -> Book:
        state.due = 0
        self._say(state, step)
        return state


class Witness(FakeRedis):
    """Sees all that is about to be published: what stands in the log already must be made the same again."""

    def __init__(self, log: FakeLog) -> None:
        super().__init__()
        self._log = log
        self._read: Counter[TopicPartition] = Counter()
        self._known: dict[tuple[str, int, bytes], tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]] = {}

    def store(self, stage: str, partition: int) -> FakeStore:
        return WitnessedStore(self, stage, partition)

    def see(self, raw: bytes) -> None:
        for where, records in self._log.partitions.items():
            for record in records[self._read[where] :]:
                if (cause := header(record.headers, "cause")) is not None:
                    self._known[record.topic, record.partition, cause] = (record.key, record.value, list(record.headers))
            self._read[where] = len(records)
        for output in decode_outbox(raw).outputs if raw else ():
            known = self._known.get((output.topic, output.partition, header(output.headers, "cause") or b""))
            if known is not None:
                assert (output.key, output.value or known[1], list(output.headers)) == known, "decided otherwise than it stands in the log"


class WitnessedStore(FakeStore):
    def __init__(self, redis: Witness, stage: str, partition: int) -> None:
        super().__init__(redis, stage, partition)
        self._witness = redis

    async def commit(self, commit: Commit) -> None:
        await super().commit(commit)
        self._witness.see(commit.outbox)


class Told(NamedTuple):
    """One reader's view of one key."""

    said: list[int]
    items: list[int]


class Story:
    """Records, merges, clocks, working slots, deaths and restored copies, as `random` draws them."""

    def __init__(self, random: Random, keys: Sequence[str] = KEYS, log: FakeLog | None = None) -> None:
        self.random = random
        self.keys = keys
        self.scene = Scene(Ledger())
        self.scene.log = log or self.scene.log
        self.scene.redis = Witness(self.scene.log)
        self.sent = 0
        self.now = 1_000
        self.winner: dict[str, str] = {}
        self.copies = [self.scene.redis.snapshot()]

    def put(self, key: str = "") -> None:
        key = key or self.random.choice(self.keys)
        headers = []
        losers = [loser for loser, winner in self.winner.items() if winner == key]
        if losers and self.random.random() < 0.5:
            headers.append(("merged_from", self.random.choice(losers).encode()))
        item = {"n": self.sent, "sleep_until": self.now + self.random.randint(1, 3000) if self.random.random() < 0.3 else 0}
        self.scene.log.append(self.random.choice((IN, IN_TWO, REPLAYED)), key, json.dumps(item).encode(), headers)
        self.sent += 1

    def merge(self) -> None:
        loser = self.random.randrange(1, len(self.keys))
        self.merge_into(self.keys[loser], self.keys[self.random.randrange(loser)])

    def merge_into(self, loser: str, winner: str) -> None:
        if loser not in self.winner:
            self.winner[loser] = winner
            record = MergeRecord(loser, winner, 0)
            self.scene.log.append(self.random.choice((IN, REPLAYED)), loser, msgspec.json.encode(record), [("kind", b"merge")])

    def tick(self) -> None:
        self.now += self.random.randint(1, 2000)
        for partition in range(partition_count()):
            for source in range(partition_count()):
                clock = encode_clock(ClockRecord(source, self.now, 0))
                self.scene.log.append(IN, (CLOCK_KEY + str(source).encode()).decode(), clock, [("kind", b"clock")], partition)

    def work(self) -> None:
        if pending := self.scene.pending():
            self.scene.work(self.random.choice(pending), self.random.randint(1, 4))

    def die(self) -> None:
        """Somebody dies after so many published records, or after so many reads of a takeover. The heir cuts its batches elsewhere."""
        self.scene.batch_bytes = self.random.choice((1, 300, 1000, 4 << 20))
        if pending := self.scene.pending():
            self.scene.crash(self.random.choice(pending), self.random.randint(1, 4), self.random.randint(0, 3))
        self.scene.log.read_limit = self.random.randint(0, 12)
        try:
            self.scene.take_over(self.random.randrange(partition_count()))
        except Crash:
            self.scene.restart()
        self.scene.log.read_limit = None

    def copy(self) -> None:
        self.copies.append(self.scene.redis.snapshot())

    def restore(self) -> None:
        """An old copy comes back; those made after it are of a time that has not been."""
        chosen = self.random.randrange(len(self.copies))
        self.copies = self.copies[: chosen + 1]
        self.scene.restore(self.copies[chosen])
        if self.random.random() < 0.5:
            self.scene.restart()
        if self.random.random() < 0.3:
            self.scene.log.commits.clear()  # Kafka's commits may lag behind by any number of records

    def end(self) -> None:
        for partition in self.random.sample(range(partition_count()), partition_count()):
            self.scene.take_over(partition)
        self.scene.settle(self.random)

    def root(self, key: str) -> str:
        while key in self.winner:
            key = self.winner[key]
        return key

    def read(self) -> dict[str, Told]:
        """What a reader of OUT makes of it: it drops every cause at or below the highest of its lane, as all readers do."""
        seen: dict[tuple[int, str], tuple[int, int]] = {}
        told: dict[str, Told] = {}
        for record in self.scene.log.records(OUT):
            lane, offset, nth = dict(record.headers)["cause"].decode().rsplit("|", 2)
            at = (int(offset), int(nth))
            if at <= seen.get((record.partition, lane), (-1, -1)):
                continue
            seen[record.partition, lane] = at
            said, items, _ = json.loads(record.value or b"")
            key = (record.key or b"").decode()
            told[key] = Told([*(told[key].said if key in told else []), said], items)
        return told


def causes(records: list[FakeRecord]) -> Counter[tuple[int, bytes]]:
    return Counter((record.partition, dict(record.headers)["cause"]) for record in records)


def check(story: Story) -> None:
    books = {each.key: msgspec.msgpack.decode(each.blob, type=Book) for each in story.scene.stored() if each.blob}
    assert sorted(n for book in books.values() for n in book.items) == list(range(story.sent)), "lost or doubled in the states"
    assert story.scene.waiting("folder") == []
    assert story.scene.markers("folder") == story.winner
    told = story.read()
    for key, heard in told.items():
        assert heard.said == list(range(1, len(heard.said) + 1)), f"{key}: lost or doubled among the effects"
    for key, book in books.items():
        if book.said:
            assert len(told[key].said) == book.said
        if book.items:
            assert sorted(told[key].items) == sorted(book.items), f"{key}: the last word is not what is known"
    for topic in (OUT, MOVED):
        assert set(causes(story.scene.log.records(topic)).values()) <= {1}, "the log is doubled"


MOVES = {"put": 8, "merge": 2, "tick": 2, "work": 8, "die": 1, "copy": 2, "restore": 2}


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(5, 80))
def test_copies_restored_at_any_moment_lose_and_double_nothing(seed: int, steps: int) -> None:
    story = Story(Random(seed))
    for _ in range(steps):
        getattr(story, story.random.choices(list(MOVES), list(MOVES.values()))[0])()
    story.end()
    check(story)


async def test_a_record_that_followed_its_keys_blob_into_it_does_not_follow_it_again() -> None:
    """It was folded before the merge, which came by another input; the copy that comes back knows of neither."""
    world = World()
    world.log.append(IN_TWO, "u:2", b'{"add": 5}')
    world.merge("u:2", "u:1")
    owner = world.slot(slot("u:2"))
    for topic in (IN_TWO, IN):
        assert await owner.process(topic, world.log.partitions[topic, slot("u:2")])
    published = len(world.log.records(MOVED))
    world.redis.flush()
    world.log.commits.clear()
    world.crash()
    await world.run()
    assert len(world.log.records(MOVED)) == published
    assert (world.tally("u:1").count, world.tally("u:1").total) == (1, 5)


async def test_a_record_that_had_gone_on_to_the_winner_is_not_kept_back_now() -> None:
    """It came after the merge, by another input, and its way on was lost with the process and the store's last second."""
    world = World()
    world.merge("u:2", "u:1")
    world.log.append(IN_TWO, "u:2", b'{"add": 5}')
    owner = world.slot(slot("u:2"))
    assert await owner.process(IN, world.log.partitions[IN, slot("u:2")])
    world.log.publish_limit = 1  # the turn is told, the record that goes on is not
    with pytest.raises(Crash):
        await owner.process(IN_TWO, world.log.partitions[IN_TWO, slot("u:2")])
    world.log.publish_limit = None
    world.redis.flush()
    world.crash()
    await world.run()
    assert (world.tally("u:1").count, world.tally("u:1").total) == (1, 5)
    assert [peek(raw)[0] for key, raw in world.redis.states("folder").items() if key == "u:2"] == ["u:1"]


async def test_a_turn_is_told_once_however_often_the_store_is_emptied() -> None:
    world = World()
    for n in range(3):
        world.put("u:1", add=n)
        world.log.append(IN_TWO, "u:1", b'{"add": 5}')
        await world.run()
    told = len(world.log.records(TURN_RECORDED))
    assert told == 5
    before = world.redis.states("folder")
    for _ in range(3):
        world.redis.flush()
        world.crash()
        await world.slot(slot("u:1")).take_over()
        assert world.redis.states("folder") == before
    assert len(world.log.records(TURN_RECORDED)) == told
    assert len(world.out()) == 6


async def test_one_input_alone_is_no_turn() -> None:
    world = World()
    for n in range(3):
        world.put("u:1", add=n)
        await world.run()
        world.crash()
    assert world.log.records(TURN_RECORDED) == []


async def test_what_has_left_the_log_since_is_not_published_again() -> None:
    """Copies of outputs are gone, and so are the turns, while the inputs are still there."""
    world = World()
    for n in range(6):
        world.put("u:1", add=n)
        world.log.append(IN_TWO, "u:1", b'{"add": 5}')
        await world.run()
    published = len(world.out())
    world.log.starts[OUT, slot("u:1")] = 8
    world.log.starts[TURN_RECORDED, slot("u:1")] = 7
    world.redis.flush()
    world.crash()
    await world.slot(slot("u:1")).take_over()
    assert world.tally("u:1").count == 12
    assert len(world.out()) == published


async def test_a_slot_halts_where_more_is_published_than_its_input_holds() -> None:
    """Kafka has lost the end of the input, and Redis is empty: what comes at those offsets now would be taken for published."""
    world = World()
    for n in range(4):
        world.put("u:1", add=n)
    await world.run()
    del world.log.partitions[IN, slot("u:1")][2:]
    world.redis.flush()
    world.crash()
    with pytest.raises(Halted, match="Kafka lost data"):
        await world.slot(slot("u:1")).take_over()


async def test_a_copy_of_a_time_that_was_undone_is_told_as_an_error() -> None:
    world = World()
    world.put("u:1", add=1)
    world.put("u:1", nothing=True)
    world.log.append(IN_TWO, "u:1", b'{"add": 5}')
    first, silent = world.log.partitions[IN, slot("u:1")]
    owner = world.slot(slot("u:1"))
    assert await owner.process(IN, [first])
    assert await owner.process(IN, [silent])
    copy = world.redis.snapshot()
    world.redis.flush()
    world.crash()
    owner = world.slot(slot("u:1"))
    assert await owner.process(IN_TWO, world.log.partitions[IN_TWO, slot("u:1")])
    assert await owner.process(IN, [silent])
    world.redis.restore(copy)
    world.crash()
    with capture_logs() as logs:
        await world.slot(slot("u:1")).take_over()
    assert [entry["slot"] for entry in logs if "restore another copy" in entry["event"]] == [slot("u:1")]


async def test_a_turn_told_late_by_one_who_was_replaced_misleads_nobody() -> None:
    world = World()
    for _ in range(2):
        world.put("u:1", add=1)
        world.log.append(IN_TWO, "u:1", b'{"add": 5}')
        await world.run()
    world.log.append(IN_TWO, "u:1", b'{"add": 5}')
    await world.run()
    stale = world.log.records(TURN_RECORDED)[1]
    world.log.append(TURN_RECORDED, "folder", stale.value, partition=stale.partition)
    world.crash()
    world.put("u:1", add=1)
    await world.run()
    turns = [msgspec.msgpack.decode(record.value or b"", type=Turn).to for record in world.log.records(TURN_RECORDED)]
    assert turns == [IN_TWO, IN, IN_TWO, IN, IN], "the last one is told, whatever the stale one before it says"
