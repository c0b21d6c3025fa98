"""One counting stage over fake servers; workers come and go."""

import json

import msgspec

from shared.contracts.clock import ClockRecord, encode_clock
from shared.contracts.identity import MergeRecord
from shared.contracts.slots import partition_count
from shared.runtime.envelope import peek
from shared.runtime.observer import Observer
from shared.runtime.slot import Slot
from shared.testing.counting import IN, OUT, Counting, Item, Tally
from shared.testing.fakes import FakeLog, FakeRedis


class World:
    """One stage over fake servers; workers come and go."""

    def __init__(self, stage: Counting | None = None) -> None:
        self.log = FakeLog()
        self.redis = FakeRedis()
        self.stage = stage or Counting()
        self.slots: dict[int, Slot[Tally, Item]] = {}

    def slot(self, partition: int) -> Slot[Tally, Item]:
        if partition not in self.slots:
            store = self.redis.store(self.stage.name, partition)
            self.slots[partition] = Slot(self.stage, partition, store, self.log, Observer(), group="test")
        return self.slots[partition]

    def crash(self) -> None:
        self.slots.clear()

    def put(self, key: str, **item: object) -> None:
        self.log.append(IN, key, json.dumps(item).encode())

    def tick(self, now: int, slots: int | None = None) -> None:
        for partition in range(partition_count()):
            for source in range(partition_count() if slots is None else slots):
                value = encode_clock(ClockRecord(source, now, 0))
                self.log.append(IN, f"clock:{source}", value, [("kind", b"clock")], partition)

    def merge(self, loser: str, winner: str) -> None:
        self.log.append(IN, loser, msgspec.json.encode(MergeRecord(loser, winner, 0)), [("kind", b"merge")])

    async def run(self, *, rounds: int = 4, chunk: int = 100) -> None:
        """Deliver everything that is in the inputs, as Faust would after a restart: from the committed offset."""
        for _ in range(rounds):
            for topic in self.stage.inputs:
                for partition in range(partition_count()):
                    records = self.log.partitions[topic, partition]
                    start = self.log.commits.get(("test", topic, partition), 0)
                    while start < len(records):
                        part = records[start : start + chunk]
                        assert await self.slot(partition).process(topic, part)
                        start = self.log.commits["test", topic, partition] = start + len(part)

    def tally(self, key: str) -> Tally:
        raw = self.redis.states(self.stage.name).get(key)
        return Tally() if raw is None else self.stage.load(peek(raw)[2])

    def out(self, topic: str = OUT) -> list[tuple[str, bytes | None]]:
        return [((record.key or b"").decode(), record.value) for record in self.log.records(topic)]
