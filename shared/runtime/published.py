"""What a slot has published already, read from the tails of its output topics: a refold must not double the log."""

from collections.abc import Mapping, Sequence

from shared.contracts.headers import CAUSE, header
from shared.runtime.meta import CAUSE_BITS
from shared.runtime.ports import Log, TopicPartition
from shared.runtime.stage import Output


def _cause(raw: bytes) -> tuple[str, int]:
    lane, offset, nth = raw.decode().rsplit("|", 2)
    return lane, (int(offset) << CAUSE_BITS) | int(nth)


class Newest:
    """The newest published cause per lane and output partition. False once nothing that is still to come can be a repeat."""

    def __init__(self) -> None:
        self._lanes: dict[str, dict[TopicPartition, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._lanes)

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
        lane, first = _cause(outputs[0].headers[0][1])
        newest = self._lanes.get(lane)
        if newest is None:
            return outputs
        if first > max(newest.values()):
            del self._lanes[lane]
            return outputs
        return [output for output in outputs if newest.get((output.topic, output.partition), -1) < _cause(output.headers[0][1])[1]]


async def newest_causes(
    log: Log, stage: str, partition: int, outputs: Sequence[TopicPartition], published: Mapping[TopicPartition, int]
) -> tuple[Newest, dict[TopicPartition, int]]:
    """The newest causes of (stage, source partition `partition`) in `outputs`, from the known positions on, and the ends that were read."""
    newest = Newest()
    ends: dict[TopicPartition, int] = {}
    suffix = f"|{partition}"
    for where, (first, end) in (await log.bounds(outputs)).items():
        start = max(first, published.get(where, 0))
        while start < end:
            records, start = await log.read(*where, start, end)
            for record in records:
                raw = header(record.headers, CAUSE)
                if raw is None:
                    continue
                lane, at = _cause(raw)
                if lane.startswith(stage + "|") and lane.endswith(suffix):
                    newest.found(where, lane, at)
        ends[where] = end
    return newest, ends
