"""What a slot has published already, read from the tails of its output topics: a refold must not double the log.

Every commit stores, for each output partition, the place behind this slot's last output. A takeover reads the log from that place on: this
is the tail. For each output partition it publishes nothing at or below the newest cause in the tail, until it has made all of the tail
again. After an emptied Redis the tail is the whole log. Slots of one process that are taken over together share one pass over the log; a
slot that asks while a pass is under way is served by the next pass.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from shared.contracts.headers import CAUSE, CAUSE_BITS, header, lane_and_place
from shared.contracts.slots import partition_count
from shared.runtime.ports import Log, TopicPartition
from shared.runtime.stage import Output, Stage


class Newest:
    """The newest published cause per lane and output partition. False once nothing that is still to come can be a repeat."""

    def __init__(self) -> None:
        self._lanes: dict[str, dict[TopicPartition, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def lanes(self) -> Mapping[str, Mapping[TopicPartition, int]]:
        """All that was found."""
        return self._lanes

    def found(self, where: TopicPartition, lane: str, at: int) -> None:
        lanes = self._lanes.setdefault(lane, {})
        lanes[where] = max(at, lanes.get(where, -1))

    def upto(self, lane: str) -> int:
        """The offset after the newest input of `lane` of which something is published, 0 if nothing is."""
        return max((at >> CAUSE_BITS for at in self._lanes.get(lane, {}).values()), default=-1) + 1

    def drop_published(self, outputs: Sequence[Output]) -> Sequence[Output]:
        """Those of `outputs` (all of one lane, in order) that come after the newest cause in their partition."""
        if not outputs:
            return outputs
        lane, first = lane_and_place(outputs[0].headers[0][1])
        newest = self._lanes.get(lane)
        if newest is None:
            return outputs
        if first > max(newest.values()):
            del self._lanes[lane]
            return outputs
        return [output for output in outputs if newest.get((output.topic, output.partition), -1) < lane_and_place(output.headers[0][1])[1]]


Ends = dict[TopicPartition, int]


class Tails:
    """The ends of a stage's output topics, where its slots find what they have published."""

    def __init__(self, log: Log, stage: Stage[Any, Any]) -> None:
        self._log = log
        self._prefix = stage.name + "|"
        self._topics = stage.output_topics()

    async def newest(self, partition: int, published: Mapping[TopicPartition, int]) -> tuple[Newest, Ends]:
        """The newest causes of slot `partition` from positions `published` on, and the ends that were read."""
        newest, ends = await self._read({partition: published})
        return newest[partition], ends

    async def _read(self, asked: Mapping[int, Mapping[TopicPartition, int]]) -> tuple[dict[int, Newest], Ends]:
        """One pass for all slots in `asked`."""
        newest = {partition: Newest() for partition in asked}
        ends: Ends = {}
        outputs = [(topic, partition) for topic in self._topics for partition in range(partition_count())]
        for where, (first, end) in (await self._log.bounds(outputs)).items():
            start = max(first, min(published.get(where, 0) for published in asked.values()))
            while start < end:
                records, start = await self._log.read(*where, start, end)
                for record in records:
                    raw = header(record.headers, CAUSE)
                    if raw is None:
                        continue
                    lane, at = lane_and_place(raw)
                    if lane.startswith(self._prefix):
                        of = newest.get(int(lane.rpartition("|")[2]))
                        if of is not None:
                            of.found(where, lane, at)
            ends[where] = end
        return newest, ends


class SharedTails(Tails):
    """The same for all slots of a process: those that ask while a pass is under way are served together by the next one."""

    def __init__(self, log: Log, stage: Stage[Any, Any]) -> None:
        super().__init__(log, stage)
        self._asked: dict[int, tuple[Mapping[TopicPartition, int], asyncio.Future[tuple[Newest, Ends]]]] = {}
        self._passing: asyncio.Task[None] | None = None

    async def newest(self, partition: int, published: Mapping[TopicPartition, int]) -> tuple[Newest, Ends]:
        answer: asyncio.Future[tuple[Newest, Ends]] = asyncio.get_running_loop().create_future()
        self._asked[partition] = (published, answer)
        if self._passing is None or self._passing.done():
            self._passing = asyncio.create_task(self._pass(), name="tails")  # shared by all slots: a cancelled slot must not cancel it
        return await answer

    async def _pass(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            try:
                newest, ends = await self._read({partition: published for partition, (published, _) in asked.items()})
            except Exception as error:
                for _, answer in asked.values():
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for partition, (_, answer) in asked.items():
                if not answer.done():
                    answer.set_result((newest[partition], dict(ends)))
