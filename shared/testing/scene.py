"""Stages over the fakes, record by record in any interleaving: who works next, and when somebody dies, is the test's to say."""

from collections.abc import Coroutine, Sequence
from random import Random
from typing import Any, NamedTuple, TypeVar

from shared.contracts.clock import ClockRecord, encode_clock
from shared.contracts.definitions import ENCODER, DefinitionActivated
from shared.contracts.digest import Stored, digest, lines
from shared.contracts.headers import KIND, KIND_CLOCK
from shared.contracts.rebuilds import Ordered
from shared.contracts.slots import partition_count
from shared.contracts.topics import DEFINITION_ACTIVATED, EVENT_RESOLVED
from shared.runtime.envelope import peek
from shared.runtime.observer import Observer
from shared.runtime.plans import Plans
from shared.runtime.slot import Slot
from shared.runtime.stage import Stage
from shared.testing.archive import FakeArchive
from shared.testing.fakes import Copy, Crash, FakeLog, FakeRedis

T = TypeVar("T")


class FakeSets:
    """Sets of definitions that consist of the instant at which they were activated."""

    read_to_end = True

    def __init__(self) -> None:
        self.instants: set[int] = set()

    def at(self, activated_at: int) -> int | None:
        return min((one for one in self.instants if one >= activated_at), default=None)

    def before(self, until: int) -> int:
        return max((one for one in self.instants if one < until), default=0)


class Input(NamedTuple):
    """Where a stage has something to read."""

    stage: str
    topic: str
    partition: int


def finished(work: Coroutine[Any, Any, T]) -> T:
    """What `work` answers; the fakes never wait, so it needs no event loop. Raises RuntimeError if it does wait."""
    try:
        work.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    work.close()
    raise RuntimeError("it waits for something, though fakes answer at once")


class Scene:
    """Workers of `stages` that share a FakeLog and a FakeRedis.

    `batch_bytes`, `archive`: of those that start from now on. `ordered`: what has been ordered of every stage.
    """

    def __init__(self, *stages: Stage[Any, Any]) -> None:
        self.log = FakeLog()
        self.redis = FakeRedis()
        self.batch_bytes = 4 << 20
        self.archive: FakeArchive | None = None
        self.sets: FakeSets = FakeSets()
        self.ordered = Ordered()
        self._stages = {stage.name: stage for stage in stages}
        self._slots: dict[tuple[str, int], Slot[Any, Any]] = {}

    def pending(self) -> list[Input]:
        """Every input with unread records, in a stable order."""
        return [
            Input(name, topic, partition)
            for name, stage in self._stages.items()
            for topic in stage.inputs
            for partition in range(partition_count())
            if self._start(Input(name, topic, partition)) < len(self.log.partitions[topic, partition])
        ]

    def work(self, where: Input, records: int = 100) -> None:
        """Let one slot apply its next chunk of at most `records` of one input. Raises Crash if it dies of FakeLog.publish_limit."""
        start = self._start(where)
        chunk = self.log.partitions[where.topic, where.partition][start : start + records]
        try:
            done = finished(self._slot(where.stage, where.partition).process(where.topic, chunk))
        except Crash:
            del self._slots[where.stage, where.partition]
            raise
        assert done, "nobody else owns this slot"
        self.log.commits[where.stage, where.topic, where.partition] = start + len(chunk)

    def settle(self, random: Random | None = None) -> None:
        """Work until nothing is left to read: in a stable order, or in one that `random` draws, with chunks of few records."""
        while pending := self.pending():
            if random is None:
                self.work(pending[0])
            else:
                self.work(random.choice(pending), random.randint(1, 4))

    def crash(self, where: Input, records: int, after: int) -> None:
        """Let one slot work and die once it has published `after` records, if it has so many to publish."""
        self.log.publish_limit = after
        try:
            self.work(where, records)
        except Crash:
            pass
        finally:
            self.log.publish_limit = None

    def restart(self) -> None:
        """All workers die, and others take over."""
        self._slots.clear()

    def stop(self, stage: str) -> None:
        """All workers of one stage die."""
        self._slots = {where: slot for where, slot in self._slots.items() if where[0] != stage}

    def redefine(self, stage: Stage[Any, Any]) -> None:
        """All workers die, and those that take over run `stage` in place of the one of its name: its definitions have changed."""
        self._stages[stage.name] = stage
        self.restart()

    def restore(self, copy: Copy) -> None:
        """An old copy of the store comes back under living workers. Those that it does not know are gone, as after a restart."""
        self.redis.restore(copy)
        known = {where: data.fields.get("token") for where, data in copy.items()}
        self._slots = {where: slot for where, slot in self._slots.items() if slot.token == known.get(where, slot.token)}

    def take_over(self, partition: int) -> None:
        """A new worker of each stage takes one slot over, as after a restart: it reads what its group has had before."""
        for stage in self._stages:
            self._slots.pop((stage, partition), None)
            assert finished(self._slot(stage, partition).take_over()), "nobody else wants this slot"

    def rebuild(self, stage: str, generation: int, only: int | None = None, accept_loss: bool = False) -> None:
        """Every slot of a stage, or `only` one, carries out an order to rebuild; what it has not read before comes again by `settle`."""
        for partition in range(partition_count()) if only is None else (only,):
            slot = self._slot(stage, partition)
            assert finished(slot.take_over()), "nobody else wants this slot"
            finished(slot.rebuild(generation, accept_loss))

    def activate(self, activated_at: int, *partitions: int) -> None:
        """A set of definitions takes effect in all partitions, or in these."""
        self.sets.instants.add(activated_at)
        record = ENCODER.encode(DefinitionActivated(number=len(self.sets.instants), activated_at=activated_at))
        for partition in partitions or range(partition_count()):
            self.log.append(DEFINITION_ACTIVATED, "set", record, (), partition)

    def tick(self, now: int) -> None:
        """Every resolver slot says that it has come to `now`, epoch ms of log-append time."""
        for partition in range(partition_count()):
            for source in range(partition_count()):
                clock = encode_clock(ClockRecord(source, now, 0))
                self.log.append(EVENT_RESOLVED, f"clock:{source}", clock, [(KIND, KIND_CLOCK)], partition)

    def stored(self) -> list[Stored]:
        """What each stage knows under each key that has not moved away."""
        found = []
        for (stage, _), data in self.redis.slots.items():
            for key, raw in data.states.items():
                winner, _, blob = peek(raw)
                if winner is None:
                    sides = [(score, member) for member, score in data.sides.get(key, {}).items()]
                    found.append(Stored(stage, key, blob, sides))
        return found

    def markers(self, stage: str) -> dict[str, str]:
        """Loser -> winner, as one stage has it."""
        winners = {key: peek(raw)[0] for key, raw in self.redis.states(stage).items()}
        return {key: winner for key, winner in winners.items() if winner is not None}

    def waiting(self, stage: str) -> list[str]:
        """Keys that still wait for a loser's blob."""
        return [key for key, raw in self.redis.states(stage).items() if peek(raw)[1]]

    def digest(self) -> str:
        return digest(self.stored())

    def lines(self) -> Sequence[bytes]:
        """What the digest is made of."""
        return lines(self.stored())

    def _start(self, where: Input) -> int:
        return self.log.commits.get((where.stage, where.topic, where.partition), 0)

    def _slot(self, stage: str, partition: int) -> Slot[Any, Any]:
        slot = self._slots.get((stage, partition))
        if slot is None:
            store = self.redis.store(stage, partition)
            slot = self._slots[stage, partition] = Slot(
                self._stages[stage],
                partition,
                store,
                self.log,
                Observer(),
                group=stage,
                batch_bytes=self.batch_bytes,
                standing=lambda: self.ordered,
                archive=self.archive,
                plans=Plans(self._stages[stage].compile, self.sets),
            )
        return slot
