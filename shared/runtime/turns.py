"""The order in which a slot read its inputs. It is written to a topic at each turn, so that a refold reads in the same order.

What a stage decides depends on that order: whether a record came before the merge of its key or after it, which of two inputs made
somebody enter a segment. A refold must not repeat, skip or change an output that stands in the log. It does not if it folds the same
records in the same order. Within one input the log keeps the order. Between inputs the turns keep it: "stood at these offsets, and turned
to that input". Between two turns a slot reads one input only.

A turn is durable before anything that follows from it is published. So for each output in the log all turns before it are in the log too,
and behind the last turn only the input that it turned to can have outputs.

A turn costs one small record; a slot that reads one input writes none. A turn may be written twice, by an outbox or by an owner who was
replaced; readers pass over one that goes back. A takeover goes from turn to turn, then reads the input of the last turn up to the newest
cause in the log. If the last owner died between timers, the clock record at which they fire is read before anything else.

To read in any order, to leave out exact repeats and to publish the rest in a lane of its own does not work. An output that was published
under one cause would be published again under another, and an output that has changed under a published cause would never be published.
"""

from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from shared.contracts.topics import TURN_RECORDED
from shared.runtime.ports import Log
from shared.runtime.stage import Output


class Turn(msgspec.Struct, array_like=True, frozen=True):
    """The slot had read each input up to `at` (the next offset) when it turned to input `to`."""

    to: str
    at: dict[str, int]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Turn).decode


class Turns:
    """Which input a slot reads, and the turns that have not been told yet. `on`: "" before the first record of all."""

    def __init__(self, stage: str, partition: int, on: str) -> None:
        self.on = on
        self._key = stage.encode()
        self._partition = partition
        self._untold: list[Turn] = []

    def to(self, topic: str, position: Mapping[str, int] | None) -> None:
        """The slot reads `topic` now. It stands at `position`; None if it turns as it did before, and has told so."""
        if topic != self.on:
            if self.on and position is not None:
                self._untold.append(Turn(topic, dict(position)))
            self.on = topic

    def take(self) -> list[Output]:
        """What is to be told with the next commit, ahead of its outputs."""
        untold, self._untold = self._untold, []
        return [Output(TURN_RECORDED, self._partition, self._key, _encode(turn), [], 0) for turn in untold]


def split(outputs: Sequence[Output]) -> tuple[Sequence[Output], Sequence[Output]]:
    """The turns, which come first, and the outputs proper."""
    told = 0
    while told < len(outputs) and outputs[told].topic == TURN_RECORDED:
        told += 1
    return outputs[:told], outputs[told:]


class Told:
    """The turns of a slot, read from the log. `end`: where the next reading may go on, known once `turns` has been asked."""

    def __init__(self, log: Log, stage: str, partition: int) -> None:
        self.end = 0
        self.where = (TURN_RECORDED, partition)
        self._log = log
        self._key = stage.encode()

    async def turns(self, start: int, position: Mapping[str, int], first: Mapping[str, int]) -> AsyncIterator[Turn]:
        """Those from offset `start` on that a slot at `position` has before it. No input is read below its `first` offset.

        One that goes back is left out: an outbox was published again, or late by one who had been replaced.
        """
        begin, self.end = (await self._log.bounds([self.where]))[self.where]
        start, furthest = max(begin, start), sum(position.values())
        while start < self.end:
            records, start = await self._log.read(*self.where, start, self.end)
            for record in records:
                if record.key != self._key:
                    continue
                turn = _decode(record.value or b"")
                at = {topic: max(offset, turn.at.get(topic, 0)) for topic, offset in first.items()}
                reached = sum(at.values())
                if turn.to in at and reached >= furthest:
                    furthest = reached
                    yield Turn(turn.to, at)


def strays(at: Mapping[str, int], position: Mapping[str, int]) -> bool:
    """Whether a slot at `position` never stood there on the way to the turn at `at`: it is beyond it on one input, before it on another."""
    return any(position[topic] > offset for topic, offset in at.items()) and any(position[topic] < offset for topic, offset in at.items())
