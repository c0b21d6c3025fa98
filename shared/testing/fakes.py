"""In-memory store and log with the behaviour of the real ones, for tests of the runtime and of stages."""

import copy
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shared.contracts.slots import slot
from shared.runtime.envelope import due_of, is_marker
from shared.runtime.forgetting import damage
from shared.runtime.ports import Commit, Fenced, LogAway, RolledBack, StoreAway, TopicPartition, waiting_for_update
from shared.runtime.stage import Output, Record


@dataclass(frozen=True, slots=True)
class FakeRecord:
    """A consumed record. `timestamp`: log-append time, epoch ms."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass
class FakeLog:
    """A log in memory. `now` is the append time of the next record, and stands still unless a test moves it.

    `away`: every call but publish fails.
    """

    now: int = 1_700_000_000_000
    page: int = 1000
    away: bool = False
    partitions: defaultdict[TopicPartition, list[FakeRecord]] = field(default_factory=lambda: defaultdict(list))
    commits: dict[tuple[str, str, int], int] = field(default_factory=dict)
    starts: dict[TopicPartition, int] = field(default_factory=dict)
    """First offset of a partition that has lost its oldest records to retention."""
    publish_limit: int | None = None
    """Crash (raise) after so many more published records."""
    read_limit: int | None = None
    """Crash after so many more reads."""

    def append(
        self, topic: str, key: str | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = (), partition: int | None = None
    ) -> FakeRecord:
        """Append one record, in the slot of its key unless `partition` is given."""
        where = (topic, partition if partition is not None else slot(key or ""))
        raw = None if key is None else key.encode()
        record = FakeRecord(topic, where[1], len(self.partitions[where]), self.now, raw, value, tuple(headers))
        self.partitions[where].append(record)
        return record

    def records(self, topic: str) -> list[FakeRecord]:
        """All records of a topic, partition by partition."""
        return [record for (name, _), records in sorted(self.partitions.items()) if name == topic for record in records]

    async def publish(self, outputs: Sequence[Output]) -> Mapping[TopicPartition, int]:
        ends: dict[TopicPartition, int] = {}
        for output in outputs:
            if self.publish_limit is not None:
                if self.publish_limit == 0:
                    raise Crash("in the middle of a publication")
                self.publish_limit -= 1
            record = self.append(output.topic, output.key.decode(), output.value, output.headers, output.partition)
            ends[output.topic, output.partition] = record.offset + 1
        return ends

    async def read(self, topic: str, partition: int, start: int, end: int) -> tuple[list[Record], int]:
        self._answer()
        if self.read_limit is not None:
            if self.read_limit == 0:
                raise Crash("in the middle of reading")
            self.read_limit -= 1
        start = max(start, self.starts.get((topic, partition), 0))
        records = self.partitions[topic, partition][start : min(end, start + self.page)]
        return list(records), start + len(records) if records else end

    async def bounds(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        self._answer()
        return {where: (self.starts.get(where, 0), len(self.partitions[where])) for where in partitions}

    async def ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        self._answer()
        return {where: len(self.partitions[where]) for where in partitions}

    async def at(self, partitions: Iterable[TopicPartition], when_ms: int) -> dict[TopicPartition, int]:
        self._answer()
        found = {}
        for where in partitions:
            records, first = self.partitions[where], self.starts.get(where, 0)
            found[where] = next((one.offset for one in records[first:] if one.timestamp >= when_ms), len(records))
        return found

    async def committed(self, group: str, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        self._answer()
        return {(topic, partition): self.commits.get((group, topic, partition), 0) for topic, partition in partitions}

    def _answer(self) -> None:
        if self.away:
            raise LogAway("the fake log is away")


class Crash(Exception):
    """The process died here."""


@dataclass
class _SlotData:
    fields: dict[str, str] = field(default_factory=dict)
    outbox: bytes = b""
    states: dict[str, bytes] = field(default_factory=dict)
    timers: dict[str, int] = field(default_factory=dict)
    indexes: defaultdict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    sides: defaultdict[str, dict[bytes, float]] = field(default_factory=lambda: defaultdict(dict))


Copy = defaultdict[tuple[str, int], _SlotData]
"""A backup of a FakeRedis."""


class FakeRedis:
    """What all slots keep. `snapshot` and `restore` are a backup; `flush` empties it."""

    def __init__(self) -> None:
        self.slots: defaultdict[tuple[str, int], _SlotData] = defaultdict(_SlotData)
        self.away = False
        self.commits = 0

    def store(self, stage: str, partition: int) -> "FakeStore":
        return FakeStore(self, stage, partition)

    def snapshot(self) -> Copy:
        return copy.deepcopy(self.slots)

    def restore(self, snapshot: Copy) -> None:
        self.slots = copy.deepcopy(snapshot)

    def flush(self) -> None:
        self.slots.clear()

    def states(self, stage: str) -> dict[str, bytes]:
        """Every state of a stage: key -> stored bytes (envelope and blob)."""
        return {key: blob for (name, _), data in self.slots.items() if name == stage for key, blob in data.states.items()}


class FakeStore:
    """The view that one slot has of a FakeRedis. `lose_reply`: the next commit takes effect and its answer is lost."""

    def __init__(self, redis: FakeRedis, stage: str, partition: int) -> None:
        self._redis = redis
        self._where = (stage, partition)
        self.lose_reply = False

    def _data(self) -> _SlotData:
        if self._redis.away:
            raise StoreAway("the fake Redis is away")
        return self._redis.slots[self._where]

    async def take_over(self, token: str) -> tuple[dict[str, str], bytes]:
        data = self._data()
        data.fields["token"] = token
        return {name: value for name, value in data.fields.items() if name not in ("token", "kept")}, data.outbox

    async def holds(self) -> tuple[str, int]:
        fields = self._data().fields
        return fields.get("token", ""), int(fields.get("seq", "0"))

    async def damage(self, outbox: bool = True) -> str | None:
        data = self._data()
        seq = data.fields.get("seq")
        return damage(None if seq is None else int(seq), data.fields.get("kept"), len(data.timers), len(data.outbox) if outbox else None)

    def _mine(self, token: str) -> _SlotData:
        data = self._data()
        owner = data.fields.get("token")
        if owner is None:
            raise RolledBack("no owner token")
        if owner != token:
            raise Fenced(owner)
        return data

    async def forget(self, token: str, generation: int) -> None:
        self._mine(token)
        self._redis.slots[self._where] = _SlotData({"token": token, "rb": "1", "g": str(generation)})

    async def restore_timers(self, token: str) -> None:
        data = self._mine(token)
        with waiting_for_update():
            due = {key: due_of(raw) for key, raw in data.states.items()}
        data.timers = {key: at for key, at in due.items() if at}

    async def keeps_anything(self) -> bool:
        data = self._data()
        return bool(data.states or data.timers or data.outbox or any(data.indexes.values()) or any(data.sides.values()))

    async def hold(self, token: str, generation: int | None) -> None:
        fields = self._mine(token).fields
        fields.pop("hg", None)
        if generation is not None:
            fields["hg"] = str(generation)

    async def load(self, keys: Sequence[str], limit: int) -> list[bytes | None]:
        out: list[bytes | None] = []
        size = 0
        for key in keys:
            out.append(self._data().states.get(key))
            size += len(out[-1] or b"")
            if size > limit:
                break
        return out

    async def sides(self, keys: Sequence[str]) -> list[list[tuple[float, bytes]]]:
        return [[(score, member) for member, score in self._data().sides.get(key, {}).items()] for key in keys]

    async def indexes(self, names: Sequence[str]) -> list[list[str]]:
        return [list(self._data().indexes.get(name, {})) for name in names]

    async def index_page(self, name: str, after: str, limit: int) -> list[str]:
        members = sorted(self._data().indexes.get(name, {}), key=str.encode)
        return [member for member in members if member.encode() > after.encode()][:limit]

    async def index_states(self, token: str, name: str) -> None:
        data = self._mine(token)
        data.indexes[name].update((key, 0.0) for key, raw in data.states.items() if not is_marker(raw))

    async def in_index(self, members: Sequence[tuple[str, str]]) -> list[bool]:
        return [member in self._data().indexes.get(name, {}) for name, member in members]

    async def commit(self, commit: Commit) -> None:
        data = self._mine(commit.token)
        if int(data.fields.get("seq", "0")) != commit.seq - 1:
            raise RolledBack(f"at commit {data.fields.get('seq')}, not {commit.seq - 1}")
        if await self.damage(outbox=False) is not None:
            raise RolledBack("timers are gone")
        self._redis.commits += 1
        data.fields.update(commit.meta)
        data.outbox = commit.outbox
        data.states.update(commit.states)
        for key in commit.gone:
            data.states.pop(key, None)
        for key, due in commit.timers.items():
            if due:
                data.timers[key] = due
            else:
                data.timers.pop(key, None)
        for op in commit.indexes:
            if op.score is None:
                data.indexes[op.index].pop(op.member, None)
            else:
                data.indexes[op.index][op.member] = op.score
        for key in commit.side_drops:
            data.sides.pop(key, None)
        for key, score, member in commit.sides:
            side = data.sides[key]
            side[member] = score
            while len(side) > commit.side_cap:
                del side[min(side, key=lambda m: (side[m], m))]
        data.fields["kept"] = f"{commit.seq}|{len(data.timers)}|{len(data.outbox)}"
        if self.lose_reply:
            self.lose_reply = False
            raise StoreAway("the reply of a commit was lost")

    async def due(self, until: int, limit: int) -> list[str]:
        due = sorted((at, key) for key, at in self._data().timers.items() if at <= until)
        return [key for _, key in due[:limit]]

    async def first_due(self) -> int | None:
        return min(self._data().timers.values(), default=None)
