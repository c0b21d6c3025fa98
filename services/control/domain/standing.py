"""How each stage stands: how far it has come in its inputs, from its slots' meta hashes and Kafka's offsets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shared.contracts.redis_keys import TAGS
from shared.contracts.slots import partition_count
from shared.reading.inputs import Where, inputs, partitions
from shared.runtime.meta import Meta

STAGES: Final = tuple(TAGS)


@dataclass(frozen=True)
class InputStanding:
    """`lag`: records behind what is applied, all partitions."""

    topic: str
    lag: int


@dataclass(frozen=True)
class SlotStanding:
    """`clock`: the stage's time at the slot's last commit, epoch ms; 0 before there was one. `fences`: topic -> next offset."""

    partition: int
    seq: int
    rebuilding: bool
    clock: int
    lag: int
    fences: Mapping[str, int]


@dataclass(frozen=True)
class StageStanding:
    """`clock`: the smallest of its slots' clocks; 0 if one has none. `started`: its slots hold anything, or its group has committed."""

    stage: str
    started: bool
    rebuilding: bool
    clock: int
    lag: int
    inputs: Sequence[InputStanding]
    slots: Sequence[SlotStanding]


def standing(
    stage: str, metas: Sequence[Meta], ends: Mapping[Where, int], starts: Mapping[Where, int], acked: Mapping[Where, int]
) -> StageStanding:
    """The standing of a stage with these slots. `acked`: what its consumer group has committed.

    Clock records that change nothing are acked but not fenced (an idle system stays idle), so a slot has come as far as the greater of
    both; while it rebuilds only the fence counts.
    """
    read = _read(stage, metas, acked)
    lags: dict[Where, int] = {}
    for where in partitions(read):
        topic, partition = where
        meta = metas[partition]
        come = meta.fences.get(topic, starts.get(where, 0))
        if not meta.rebuilding:
            come = max(come, acked.get(where, 0))
        lags[where] = max(0, ends.get(where, 0) - max(come, starts.get(where, 0)))
    started = any(meta.stored for meta in metas) or any(acked.get(where) for where in lags)
    slots = [
        SlotStanding(
            partition,
            meta.seq,
            meta.rebuilding,
            meta.now,
            sum(lags[topic, partition] for topic in read),
            {topic: offset for topic, offset in sorted(meta.fences.items()) if topic in read},
        )
        for partition, meta in enumerate(metas)
    ]
    return StageStanding(
        stage=stage,
        started=started,
        rebuilding=any(slot.rebuilding for slot in slots),
        clock=min(slot.clock for slot in slots),
        lag=sum(lags.values()),
        inputs=[InputStanding(topic, sum(lags[topic, partition] for partition in range(partition_count()))) for topic in read],
        slots=slots,
    )


def _read(stage: str, metas: Sequence[Meta], acked: Mapping[Where, int]) -> tuple[str, ...]:
    """The topics that the stage reads: a slot has a fence for each one from its takeover on. Before that, those of the table."""
    fenced = {topic for meta in metas for topic in meta.fences} | {topic for topic, _ in acked}
    return tuple(topic for topic in inputs(stage) if topic in fenced) if fenced else inputs(stage)
