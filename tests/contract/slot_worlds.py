"""One counting stage, its log and its store, for the suite of the slot: in memory, and on real Kafka and Redis.

Workers come and go; servers go away, forget and go back. What the suite does to a world means the same in both.
"""

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from uuid import uuid4

import msgspec
import redis.asyncio as redis
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.kafka_log import KafkaLog, Publisher
from shared.adapters.redis_store import RedisStore, connect
from shared.adapters.store_settings import Address
from shared.contracts.clock import ClockRecord, encode_clock
from shared.contracts.identity import MergeRecord
from shared.contracts.rebuilds import Ordered
from shared.contracts.redis_keys import meta_key, slot_prefix
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import RECORD_FAILED, TURN_RECORDED
from shared.runtime.envelope import peek
from shared.runtime.observer import Observer
from shared.runtime.ports import LogAway, StateStore
from shared.runtime.ports import TopicPartition as Where
from shared.runtime.slot import Slot
from shared.runtime.stage import ReadRecord, Record
from shared.testing.counting import Counting, Item, Tally
from shared.testing.fakes import FakeLog, FakeRedis
from tests.contract.flaky import FlakyLog, FlakyStore

Headers = Sequence[tuple[str, bytes]]
Stored = Mapping[str, bytes]
SHARED_TOPICS: Final = (RECORD_FAILED, TURN_RECORDED)


class World(ABC):
    """What the suite may do and see. `log`: as the slots use it. `away`: whether Redis is; `refused`: it was asked then."""

    log: FlakyLog

    def __init__(self, stage: Counting) -> None:
        self.stage = stage
        self.group = f"test-{uuid4().hex[:8]}"
        self.away = False
        self.refused = asyncio.Event()
        self.commits = 0
        self.standing = Ordered()
        self.asked = 0
        self._slots: dict[int, Slot[Tally, Item]] = {}
        self._stores: dict[int, FlakyStore] = {}

    @abstractmethod
    def append(self, topic: str, key: str, value: bytes | None, headers: Headers = (), partition: int | None = None) -> None:
        """Append a record, in the slot of its key unless `partition` is given."""

    @abstractmethod
    def settle(self) -> None:
        """Returns when all that was appended is in the log."""

    @abstractmethod
    async def records(self, topic: str) -> list[Record]:
        """All records of a topic that this world has made, partition by partition."""

    @abstractmethod
    async def commit_offset(self, where: Where, offset: int) -> None:
        """The consumer group has read a partition up to `offset`."""

    @abstractmethod
    async def states(self) -> Stored:
        """Key -> stored bytes."""

    @abstractmethod
    async def fields(self, partition: int) -> Mapping[str, str]:
        """What a slot remembers beside its states."""

    @abstractmethod
    async def sides(self, key: str) -> int:
        """How many members the second blob of `key` has."""

    @abstractmethod
    async def snapshot(self) -> Any:
        """A copy of the store."""

    @abstractmethod
    async def restore(self, copy: Any) -> None:
        """The store goes back to `copy`."""

    @abstractmethod
    async def flush(self) -> None:
        """The store forgets everything."""

    @abstractmethod
    async def lose(self, partition: int, part: str) -> None:
        """One key of a slot is deleted: `m`, `o` or `t` (redis_keys.py), or `s:<key>`."""

    def ordered(self) -> Ordered:
        """What has been ordered; how often slots have asked is counted."""
        self.asked += 1
        return self.standing

    @abstractmethod
    def new_store(self, partition: int) -> StateStore:
        """A worker's own view of a slot."""

    @abstractmethod
    async def close(self) -> None:
        """Give everything back."""

    def slot(self, partition: int) -> Slot[Tally, Item]:
        """The worker of a slot; a new one if the last has died. All that was appended is in the log."""
        self.settle()
        if partition not in self._slots:
            store = self._stores[partition] = FlakyStore(self.new_store(partition), self)
            self._slots[partition] = Slot(self.stage, partition, store, self.log, Observer(), group=self.group, standing=self.ordered)
        return self._slots[partition]

    def crash(self) -> None:
        """All workers die."""
        self._slots.clear()

    def lose_reply(self, partition: int) -> None:
        """The next commit of a slot takes effect and its answer is lost."""
        self.slot(partition)
        self._stores[partition].lose_reply = True

    async def forget_offsets(self) -> None:
        """The group has read nothing."""
        self.group = f"test-{uuid4().hex[:8]}"

    def put(self, key: str, **item: object) -> None:
        self.append(self.stage.inputs[0], key, json.dumps(item).encode())

    def merge(self, loser: str, winner: str) -> None:
        self.append(self.stage.inputs[0], loser, msgspec.json.encode(MergeRecord(loser, winner, 0)), [("kind", b"merge")])

    def tick(self, now: int, slots: int | None = None) -> None:
        """Resolver slots say the time to every partition."""
        for partition in range(partition_count()):
            for source in range(partition_count() if slots is None else slots):
                clock = encode_clock(ClockRecord(source, now, 0))
                self.append(self.stage.inputs[0], f"clock:{source}", clock, [("kind", b"clock")], partition)

    async def run(self, *, chunk: int = 100) -> None:
        """Deliver all that is in the inputs, as Faust would after a restart: from the committed offset."""
        where = [(topic, partition) for topic in self.stage.inputs for partition in range(partition_count())]
        start = dict(await self.log.committed(self.group, where))
        moved = True
        while moved:
            moved = False
            for topic in self.stage.inputs:
                records = await self.records(topic)
                for partition in range(partition_count()):
                    here = [one for one in records if one.partition == partition and one.offset >= start[topic, partition]]
                    for first in range(0, len(here), chunk):
                        part = here[first : first + chunk]
                        assert await self.slot(partition).process(topic, part)
                        start[topic, partition] = part[-1].offset + 1
                        await self.commit_offset((topic, partition), start[topic, partition])
                        moved = True

    async def tally(self, key: str) -> Tally:
        raw = (await self.states()).get(key)
        return Tally() if raw is None else self.stage.load(peek(raw)[2])

    async def out(self) -> list[tuple[str, bytes | None]]:
        return [((record.key or b"").decode(), record.value) for record in await self.records(self.stage.out)]


class FakeWorld(World):
    """In memory."""

    def __init__(self, stage: Counting) -> None:
        super().__init__(stage)
        self._log = FakeLog()
        self._redis = FakeRedis()
        self.log = FlakyLog(self._log)

    def append(self, topic: str, key: str, value: bytes | None, headers: Headers = (), partition: int | None = None) -> None:
        self._log.append(topic, key, value, headers, partition)

    def settle(self) -> None:
        pass

    async def records(self, topic: str) -> list[Record]:
        return list(self._log.records(topic))

    async def commit_offset(self, where: Where, offset: int) -> None:
        self._log.commits[(self.group, *where)] = offset

    async def states(self) -> Stored:
        return self._redis.states(self.stage.name)

    async def fields(self, partition: int) -> Mapping[str, str]:
        return self._redis.slots[self.stage.name, partition].fields

    async def sides(self, key: str) -> int:
        return len(self._redis.slots[self.stage.name, slot(key)].sides.get(key, {}))

    async def snapshot(self) -> Any:
        return self._redis.snapshot()

    async def restore(self, copy: Any) -> None:
        self._redis.restore(copy)

    async def flush(self) -> None:
        self._redis.flush()

    async def lose(self, partition: int, part: str) -> None:
        data = self._redis.slots[self.stage.name, partition]
        match part.partition(":"):
            case "m", _, _:
                data.fields = {}
            case "o", _, _:
                assert data.outbox
                data.outbox = b""
            case "t", _, _:
                assert data.timers
                data.timers = {}
            case _, _, key:
                del data.states[key]

    def new_store(self, partition: int) -> StateStore:
        return self._redis.store(self.stage.name, partition)

    async def close(self) -> None:
        pass


class RealWorld(World):
    """On a real broker, with topics of its own, and in a database of a real Redis, which is emptied."""

    def __init__(self, stage: Counting, bootstrap: str, redis_url: str) -> None:
        super().__init__(stage)
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
        self._own = sorted({*stage.inputs, stage.out})
        missing = {*SHARED_TOPICS} - set(self._admin.list_topics(timeout=10).topics)
        config = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(12 * 1024 * 1024)}
        made = self._admin.create_topics([NewTopic(name, partition_count(), 1, config=config) for name in (*self._own, *missing)])
        for future in made.values():
            future.result(30)
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 0,
                "message.max.bytes": 12 * 1024 * 1024,
                "log_level": 2,
            }
        )
        quiet = {"bootstrap.servers": bootstrap, "group.id": self.group, "enable.auto.commit": False, "log_level": 2}
        self._reader = Consumer({**quiet, "auto.offset.reset": "error", "fetch.wait.max.ms": 20, "fetch.max.bytes": 32 * 1024 * 1024})
        self._publisher = Publisher(KafkaConnection(bootstrap), "slot-suite")
        self._log = KafkaLog(KafkaConnection(bootstrap), self._publisher)
        self.log = FlakyLog(self._log)
        self._redis: redis.Redis = connect(Address(redis_url))
        self._next: dict[Where, int] = {}
        self._known: defaultdict[Where, list[Record]] = defaultdict(list)

    async def open(self) -> "RealWorld":
        """Empty the store, and note where the topics that others write to as well stand, once the broker knows of all."""
        await self._redis.flushdb()
        end = time.monotonic() + 30
        while True:
            try:
                ends = await self._log.ends([(topic, part) for topic in (*SHARED_TOPICS, *self._own) for part in range(partition_count())])
                await self._log.committed(self.group, [(self._own[0], 0)])
            except LogAway:
                assert time.monotonic() < end, "the broker does not serve the new topics"
                await asyncio.sleep(0.05)
            else:
                self._next.update(ends)
                return self

    def append(self, topic: str, key: str, value: bytes | None, headers: Headers = (), partition: int | None = None) -> None:
        where = slot(key) if partition is None else partition
        self._producer.produce(topic, value, key.encode(), where, headers=list(headers))

    def settle(self) -> None:
        assert self._producer.flush(30) == 0

    async def records(self, topic: str) -> list[Record]:
        self.settle()
        where = [(topic, partition) for partition in range(partition_count())]
        ends = {one: end for one, end in (await self._log.ends(where)).items() if end > self._next.get(one, 0)}
        if ends:
            await asyncio.to_thread(self._read_on, ends)
        return [record for one in where for record in self._known[one]]

    def _read_on(self, ends: dict[Where, int]) -> None:
        self._reader.assign([TopicPartition(*one, self._next.get(one, 0)) for one in ends])
        while ends:
            messages = self._reader.consume(1, 1.0)
            for message in messages + self._reader.consume(1000, 0):  # what is at hand: it would wait for the last one
                if message.error() is not None:
                    raise KafkaException(message.error())
                at, offset, stamp = (message.topic(), message.partition()), message.offset(), message.timestamp()[1]
                self._known[at].append(ReadRecord(*at, offset, stamp, message.key(), message.value(), message.headers() or ()))
                self._next[at] = offset + 1
                if at in ends and offset + 1 >= ends[at]:
                    del ends[at]

    async def commit_offset(self, where: Where, offset: int) -> None:
        read = ConsumerGroupTopicPartitions(self.group, [TopicPartition(*where, offset)])
        (asked,) = self._admin.alter_consumer_group_offsets([read]).values()
        (done,) = (await asyncio.to_thread(asked.result, 30)).topic_partitions
        assert done.error is None, done.error

    async def _keys(self, part: str) -> list[bytes]:
        return [key async for key in self._redis.scan_iter(f"{{*}}:{part}:*", count=1000)]

    async def states(self) -> Stored:
        keys = await self._keys("s")
        blobs = cast(list[bytes], await self._redis.mget(keys)) if keys else []
        return {key.decode().split(":s:", 1)[1]: blob for key, blob in zip(keys, blobs, strict=True)}

    async def fields(self, partition: int) -> Mapping[str, str]:
        found = cast(dict[bytes, bytes], await self._redis.hgetall(meta_key(self.stage.name, partition)))
        return {name.decode(): value.decode() for name, value in found.items()}

    async def sides(self, key: str) -> int:
        return sum([await self._redis.zcard(one) for one in await self._keys("x") if one.decode().split(":x:", 1)[1] == key])

    async def snapshot(self) -> Any:
        return {key: await self._redis.dump(key) for key in await self._redis.keys()}

    async def restore(self, copy: Any) -> None:
        await self._redis.flushdb()
        for key, value in copy.items():
            await self._redis.restore(key, 0, value)

    async def flush(self) -> None:
        await self._redis.flushdb()

    async def lose(self, partition: int, part: str) -> None:
        assert await self._redis.delete(slot_prefix(self.stage.name, partition) + part) == 1

    def new_store(self, partition: int) -> RedisStore:
        return RedisStore(self._redis, self.stage.name, partition)

    async def close(self) -> None:
        self._log.close_readers()
        self._publisher.close()
        self._reader.close()
        await self._redis.aclose()
        for future in self._admin.delete_topics(self._own).values():
            future.result(30)
