"""How far every stage is behind the log: Kafka's ends against the fences in Redis, and against the warehouse's commits."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import redis
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from shared.contracts.redis_keys import TAGS, meta_key
from shared.contracts.slots import PARTITIONS
from shared.contracts.topics import TOPICS

CALL_SECONDS = 10.0
WAREHOUSE = "warehouse"
NOISE_SECONDS = 0.35
"""Chunks are applied and rows written in portions, so a steady lag moves by so much."""
GROWTH = 0.005
"""Lag that grows by less than this share of the time passed (and NOISE_SECONDS) stands still."""

Where = tuple[str, int]


def inputs(reader: str) -> list[Where]:
    """All partitions of the data topics that a stage reads."""
    topics = [topic.name for topic in TOPICS if reader in topic.readers and not topic.compacted and topic.partitions == PARTITIONS]
    return [(topic, partition) for topic in topics for partition in range(PARTITIONS)]


class Gauge:
    """Reads the lag of every stage. `warehouse`: whether that one runs."""

    def __init__(self, bootstrap: str, redis_url: str, warehouse: bool) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        self._redis = redis.Redis.from_url(redis_url)
        self._of = {stage: inputs(stage) for stage in TAGS}
        self._warehouse = inputs(WAREHOUSE) if warehouse else []
        self._every = sorted({where for found in (*self._of.values(), self._warehouse) for where in found})

    def close(self) -> None:
        self._redis.close()

    def ends(self) -> dict[Where, int]:
        """The next offset of every input."""
        asked = self._admin.list_offsets(
            {TopicPartition(*where): OffsetSpec.latest() for where in self._every}, request_timeout=CALL_SECONDS
        )
        return {(place.topic, place.partition): told.result(CALL_SECONDS).offset for place, told in asked.items()}

    def lags(self) -> dict[str, int]:
        """Records behind, by stage. Positions are read before ends, so that what comes meanwhile counts as lag."""
        positions = {stage: self._position(stage) for stage in self._of}
        if self._warehouse:
            positions[WAREHOUSE] = self._committed(WAREHOUSE)
        ends = self.ends()
        of = self._of | ({WAREHOUSE: self._warehouse} if self._warehouse else {})
        return {stage: sum(max(0, ends[where] - positions[stage].get(where, 0)) for where in found) for stage, found in of.items()}

    def _position(self, stage: str) -> dict[Where, int]:
        """The greater of fence and commit: clock records that change nothing are committed, but not fenced."""
        found = self._committed(stage)
        topics = sorted({topic for topic, _ in self._of[stage]})
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in range(PARTITIONS):
                pipe.hmget(meta_key(stage, partition), [f"f|{topic}" for topic in topics])
            told = pipe.execute()
        for partition, fences in enumerate(told):
            for topic, fence in zip(topics, fences, strict=True):
                found[topic, partition] = max(found.get((topic, partition), 0), int(fence or 0))
        return found

    def _committed(self, stage: str) -> dict[Where, int]:
        group = f"rapport-{stage}"
        told = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=CALL_SECONDS)
        return {(one.topic, one.partition): one.offset for one in told[group].result(CALL_SECONDS).topic_partitions if one.offset >= 0}


@dataclass(frozen=True)
class Sample:
    """`seconds` since the load began; `lags`: records behind by stage."""

    seconds: float
    lags: Mapping[str, int]


def growth(samples: Sequence[Sample], stage: str, rate: float) -> float:
    """By how many seconds of the load the stage's lag grew from the first quarter of the samples to the last: their medians."""
    quarter = max(1, len(samples) // 4)
    first = statistics.median(sample.lags[stage] for sample in samples[:quarter])
    last = statistics.median(sample.lags[stage] for sample in samples[-quarter:])
    return (last - first) / rate


def growing(samples: Sequence[Sample], rate: float) -> dict[str, float]:
    """The stages that fall behind, and by how many seconds of the load. Raises ValueError for fewer than four samples."""
    if len(samples) < 4:
        raise ValueError(f"{len(samples)} samples say nothing about growth")
    allowed = NOISE_SECONDS + GROWTH * (samples[-1].seconds - samples[0].seconds)
    found = {stage: growth(samples, stage, rate) for stage in samples[0].lags}
    return {stage: seconds for stage, seconds in found.items() if seconds > allowed}
