"""A stage small enough to see through: it counts, sums, passes on, and asks to be woken. For tests of the runtime."""

import msgspec

from shared.contracts.headers import KIND, header
from shared.contracts.topics import RECORD_FAILED
from shared.runtime.stage import Record, Stage, Step

IN, IN_TWO, OUT, MOVED, REPLAYED = "test.in.v1", "test.in_two.v1", "test.out.v1", "test.moved.v1", "test.replayed.v1"


class Tally(msgspec.Struct, array_like=True):
    """Per key: how many records, their sum, how often woken, until when to sleep (0: no timer), decisions held back."""

    count: int = 0
    total: int = 0
    woken: int = 0
    due: int = 0
    announced: int = 0


class Item(msgspec.Struct, frozen=True):
    """`add` to the total; `sleep_until` sets the timer; `boom` raises; `nothing` changes nothing; `gone` ends the state."""

    add: int = 0
    sleep_until: int = 0
    boom: bool = False
    nothing: bool = False
    gone: bool = False


class Counting(Stage[Tally, Item]):
    """`<prefix>.out.v1` gets one record a record: the running total, or the input's value if `pass_on`."""

    name = "folder"
    side_cap = 50

    def __init__(self, pass_on: bool = False, broken: bool = False, prefix: str = "test") -> None:
        self.pass_on = pass_on
        self.broken = broken
        self.prefix = prefix
        self.inputs = tuple(prefix + topic.removeprefix("test") for topic in (IN, IN_TWO, MOVED, REPLAYED))
        self.moved: str = self.inputs[2]
        self.out = prefix + OUT.removeprefix("test")

    def output_topics(self) -> list[str]:
        return [self.out, self.moved, RECORD_FAILED]

    def decode(self, record: Record) -> Item:
        return msgspec.json.decode(record.value or b"", type=Item)

    def empty(self, key: str) -> Tally:
        return Tally()

    def load(self, raw: bytes) -> Tally:
        return msgspec.msgpack.decode(raw, type=Tally)

    def dump(self, state: Tally) -> bytes:
        return msgspec.msgpack.encode(state)

    def fold(self, state: Tally, item: Item, step: Step) -> Tally:
        if item.nothing:
            step.unchanged = True
            return state
        state.count += 1
        state.total += item.add
        state.due = item.sleep_until or state.due
        if item.boom and self.broken:
            raise RuntimeError("boom")
        step.side(float(step.position[2]), str(step.position).encode())
        step.gone = item.gone
        if not step.held:
            state.announced += 1
            step.emit(self.out, step.key, None if self.pass_on else str(state.total).encode())
        return state

    def merge(self, winner: Tally, loser: Tally, step: Step) -> Tally:
        return Tally(
            winner.count + loser.count, winner.total + loser.total, winner.woken + loser.woken, max(winner.due, loser.due), winner.announced
        )

    def settled(self, state: Tally, step: Step) -> Tally:
        state.announced += 1
        step.emit(self.out, step.key, str(state.total).encode())
        return state

    def due(self, state: Tally) -> int | None:
        return state.due or None

    def wake(self, state: Tally, step: Step) -> Tally:
        state.woken += 1
        state.due = 0
        step.emit(self.out, step.key, b"woken")
        return state


def kind_of(record: Record) -> bytes | None:
    return header(record.headers, KIND)
