"""What a stage hands the runtime: pure functions over one state a key. Everything else (chunks, fence, outbox, retry, dead
letters, timers, merges) is the runtime's.

A stage reads no clock, does no I/O and draws no random number: all that it may know stands in its state, the item and the `Step`.
It may change the state that it is handed in place and return it: if a fold raises, the runtime throws the chunk's states away and
folds again from the stored ones, with the record that failed set aside.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

import msgspec

from shared.contracts.headers import CAUSE
from shared.contracts.identity import Expiry
from shared.contracts.slots import slot
from shared.contracts.topics import LARGE_RECORD_BYTES, TOPICS

S = TypeVar("S")
"""A stage's state for one key."""
R = TypeVar("R")
"""What a stage decodes a record to."""

MAX_OUTPUT_BYTES: Final = LARGE_RECORD_BYTES - 64 * 1024
REPLACED: Final = ""
"""Topic of an output that a later one of the same batch has replaced."""
RECORD_OVERHEAD: Final = 200
"""What an output weighs beside its value: topic, key, headers."""


class OutputTooLarge(Exception):
    """A value that no record can carry."""


class Record(Protocol):
    """One consumed record; `ReadRecord` and shared.testing's fake have this shape. `timestamp`: log-append ms."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class ReadRecord(msgspec.Struct, frozen=True, gc=False):
    """A record as Kafka gave it, in whatever way it was read. Cheap to make, and the cycle collector does not walk it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Output(msgspec.Struct, array_like=True, gc=False):
    """One record to publish. `value` None: the input record's own value (at `source_offset` of the chunk's input), byte for byte.

    `headers` already hold the cause.
    """

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]
    source_offset: int


class IndexOp(msgspec.Struct, array_like=True, gc=False):
    """One change of a sorted-set index of the slot: add `member` with `score`, or remove it (score None)."""

    index: str
    member: str
    score: float | None


class Step:
    """The one record (or timer) that is being folded: where it stands, what time it is, and where effects go.

    `now`: the stage's time in epoch ms (smallest clock of all resolver slots; 0 until all have been read). `at`: log-append ms of the
    record. `held`: a blob of this key is on its way, so decisions that others see must wait for `settled`. `merged_from`: the header of
    that name. A fold that leaves the state as it was may set `unchanged`: then nothing is stored. A fold may set `gone`: then the state
    goes, with its timer and its second blob, unless the key took part in a merge; indexes are the stage's to take back. `size`: what was
    put out so far weighs. `refused`: what a fold has left out of its state because of the state's bound; a fold adds to it.
    `ignored`: numbers out of range that were taken for absent; a fold adds to it. `stuck`: what was due in a state and stood still, since
    the definitions that it goes by are not known; a fold adds to it. `plan`: what `Stage.compile` has made of the set of
    definitions in force.
    """

    __slots__ = (
        "_last",
        "at",
        "cause_prefix",
        "gone",
        "held",
        "ignored",
        "index",
        "key",
        "merged_from",
        "now",
        "offset",
        "ops",
        "origin",
        "outputs",
        "partition",
        "plan",
        "refused",
        "sides",
        "size",
        "stuck",
        "topic",
        "unchanged",
    )

    def __init__(self, stage: str, topic: str, partition: int) -> None:
        self.cause_prefix = f"{stage}|{topic}|{partition}|"
        self.topic = topic
        self.partition = partition
        self.offset = 0
        self.index = 0
        self.at = 0
        self.now = 0
        self.key = ""
        self.held = False
        self.unchanged = False
        self.gone = False
        self.merged_from: str | None = None
        self.origin: tuple[str, int, int] | None = None
        self.outputs: list[Output] = []
        self.ops: list[IndexOp] = []
        self.sides: dict[str, list[tuple[float, bytes]]] = {}
        self.size = 0
        self.refused = 0
        self.ignored = 0
        self.stuck = 0
        self.plan: Any = None
        self._last: dict[tuple[str, str], Output] = {}

    @property
    def position(self) -> tuple[str, int, int]:
        """(topic, partition, offset) at which this record was first read: a late record keeps the place it came from."""
        return self.origin or (self.topic, self.partition, self.offset)

    def emit(self, topic: str, key: str, value: bytes | None, *headers: tuple[str, bytes], partition: int | None = None) -> None:
        """Publish a record to `topic`, in the slot of `key` unless `partition` is given. `value` None passes this input's value on.

        Raises OutputTooLarge for a value that is too large to be published.
        """
        size = 0 if value is None else len(value)
        if size > MAX_OUTPUT_BYTES:
            raise OutputTooLarge(f"an output to {topic} has {size} bytes, at most {MAX_OUTPUT_BYTES} can be published")
        cause = (CAUSE, f"{self.cause_prefix}{self.offset}|{self.index}".encode())
        self.index += 1
        self.size += size + RECORD_OVERHEAD
        self.outputs.append(
            Output(
                topic,
                slot(key) if partition is None else partition,
                key.encode(),
                value,
                [cause, *headers],
                self.offset,
            )
        )

    def emit_last(self, topic: str, key: str, value: bytes) -> None:
        """Publish a record that says all about `key`: of those of one batch only the last is published, under its own cause.

        2,000 changes of a profile of 200 KB are one record, not 400 MB. Only for topics whose readers take the last word on a key
        (`profile.changed`: the greatest `version`). Causes are numbered before anything is replaced, so one cause has one content
        wherever batches end. *Which* causes are published depends on where they end, and a refold may end them elsewhere:
        - What it makes at or below the newest published cause of its lane and partition is dropped, as ever: nothing is doubled.
        - Let c be the last change of a key before some place. Every way to cut makes the word at c, since nothing behind it in its
          batch replaces it. If a refold drops it, something at or behind c had been published: the word at c, or that of a later change
          d of the key that took its place. d stands in the input, so the refold publishes it unless it had been. So the last word is
          missing no longer than the refold takes, and an older one that comes late has a smaller `version`.
        - A turn ends a batch in every run, so the argument holds from input to input.
        """
        self.emit(topic, key, value)
        before = self._last.get((topic, key))
        if before is not None:
            self.size -= len(before.value or b"") + RECORD_OVERHEAD
            before.topic, before.value = REPLACED, None
        self._last[topic, key] = self.outputs[-1]

    def published(self) -> list[Output]:
        """The outputs, without those that later ones have replaced."""
        return [output for output in self.outputs if output.topic is not REPLACED] if self._last else self.outputs

    def index_add(self, index: str, member: str, score: float = 0.0) -> None:
        """Add `member` to the slot's sorted-set index (redis_keys.index_key), in the same commit as the state."""
        self.size += RECORD_OVERHEAD
        self.ops.append(IndexOp(index, member, score))

    def index_remove(self, index: str, member: str) -> None:
        self.size += RECORD_OVERHEAD
        self.ops.append(IndexOp(index, member, None))

    def side(self, score: float, member: bytes) -> None:
        """Add to this key's second blob, a sorted set capped at `Stage.side_cap` members with the highest scores."""
        self.size += len(member) + RECORD_OVERHEAD
        self.sides.setdefault(self.key, []).append((score, member))


class Stage(ABC, Generic[S, R]):
    """One stage. The key of every input record is the key of the state it concerns.

    `name`: as in redis_keys.TAGS. `inputs`: topics of equal partition count. `moved`: the stage's own topic for blobs of merged keys
    (one of `inputs`), None for a stage whose keys never merge. `linger_ms`: how long records of a stream may wait for company before
    they are read; the first after a pause never wait. `writes`, `reads`: version of what it keeps in its slots, and the newest one that it
    can read (contracts/README.md, "Versions"). `side_cap`: the most members of a key's second blob; 0: no key has one. `weight`: bytes of
    memory that a decoded state takes for a stored byte, where states are large. `met`: the slot's index of all keys that it has met, each
    with score 0, which the stage keeps; "" for a stage that never looks at everybody. A stage goes by the definitions in the log if
    DEFINITION_ACTIVATED is one of its inputs.
    """

    name: ClassVar[str]
    inputs: tuple[str, ...]
    moved: str | None = None
    met: ClassVar[str] = ""
    side_cap: ClassVar[int] = 0
    linger_ms: ClassVar[int] = 0
    weight: ClassVar[int] = 2
    writes: ClassVar[int] = 1
    reads: ClassVar[int] = 1

    def output_topics(self) -> list[str]:
        """Every topic that this stage may publish to: its tails are read before a slot folds. contracts/topics.py says which."""
        return [topic.name for topic in TOPICS if self.name in topic.writers]

    def compile(self, defined: Any) -> Any:
        """The plan (`Step.plan`) of a set of definitions; None: of no set. Every exception halts: such a set never reaches the log."""
        return None

    def decides_anew(self, before: Any, after: Any) -> bool:
        """Whether everybody whom a slot has met must be looked at (`swept`) when plan `after` takes the place of `before`."""
        return False

    @abstractmethod
    def decode(self, record: Record) -> R:
        """Read one record. Any exception makes it a dead letter (reason `undecodable`)."""

    @abstractmethod
    def empty(self, key: str) -> S:
        """The state of a key that nothing is known of."""

    @abstractmethod
    def load(self, raw: bytes) -> S:
        """Inverse of `dump`."""

    @abstractmethod
    def dump(self, state: S) -> bytes:
        """The state's blob. Equal states give equal bytes."""

    @abstractmethod
    def fold(self, state: S, item: R, step: Step) -> S:
        """The state after `item`; outputs go to `step`."""

    def merge(self, winner: S, loser: S, step: Step) -> S:
        """Both people's states as one. Commutative and associative over what users see."""
        raise TypeError(f"{self.name}: keys of this stage never merge")

    def leave(self, state: S, winner: str, step: Step) -> None:
        """This key has lost a merge and its state is about to go to `winner`: take back what others see under it (indexes)."""

    def settled(self, state: S, step: Step) -> S:
        """Called once when the last blob that this key waited for is in: decide now what was held."""
        return state

    def expire(self, state: S, expiry: Expiry, step: Step) -> S:
        """The person never came back: take back what others see under this key, and set `step.gone`. What stays in a state is kept."""
        step.gone = True
        return state

    def due(self, state: S) -> int | None:
        """The next instant (epoch ms) at which `wake` must be called, or None. Must be later than `step.now` after a `wake` at it."""
        return None

    def wake(self, state: S, step: Step) -> S:
        """Time has come: `step.now` >= `due(state)`."""
        return state

    def swept(self, state: S, step: Step) -> S:
        """`step.plan` took effect some time ago: decide by it, if nothing has brought that about yet. `step.held` as in `fold`."""
        return state
