"""Where a slot starts to read an input, and what it means if the log no longer reaches so far."""

import structlog

from shared.runtime.observer import Observer
from shared.runtime.ports import Halted

_log = structlog.get_logger("runtime")


def start_of(stage: str, topic: str, partition: int, fence: int | None, bounds: tuple[int, int], observer: Observer) -> int:
    """The offset to go on at: the fence, or the log's start where that is later. Raises Halted if the log ends before the fence."""
    first, end = bounds
    if fence is None:
        return first
    if fence < first:
        observer.lost_to_retention(stage, first - fence)
        _log.error("records left the log before they were applied", stage=stage, topic=topic, slot=partition, lost=first - fence)
        return first
    if fence > end:
        raise tail_lost(stage, topic, partition, end, fence)
    return fence


def tail_lost(stage: str, topic: str, partition: int, end: int, applied: int) -> Halted:
    return Halted(
        f"{topic}[{partition}] ends at {end}, but stage {stage} has applied up to {applied}: Kafka lost data or was replaced. Restore "
        "Kafka's data; if it is lost, start with Kafka and Redis empty: offsets used twice are taken for repeats"
    )
