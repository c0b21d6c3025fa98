"""How far every stage is behind the log: Kafka's ends against the fences in Redis, and against the warehouse's commits."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import redis
from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition

from services.warehouse.loader import LONGEST_AGE_SECONDS
from shared.contracts.redis_keys import TAGS, meta_key
from shared.contracts.slots import partition_count
from shared.contracts.topics import TOPICS
from tests.bench.system import NotMeasuredError

CALL_SECONDS = 10.0
PATIENCE_SECONDS = 30.0
RESOLVER, WAREHOUSE = "resolver", "warehouse"
NOISE_SECONDS = 0.35
"""Chunks are applied and rows written in portions, so a steady lag moves by so much."""
WAREHOUSE_SECONDS = 2.0
"""Rows wait for the next insert and go all at once (services/warehouse/loader.py): so much more lag is no falling behind."""
GROWTH = 0.005
"""Lag that grows by less than this share of the time passed (and the noise) stands still."""
GLANCE_SECONDS, GLANCE_GROWTH = 1.0, 0.1
"""The same for a trial that only looks for the rate to hold: it is too short to see more, and rows still begin to wait longer."""

Where = tuple[str, int]


def inputs(reader: str) -> list[Where]:
    """All partitions of the data topics that a stage reads."""
    topics = [topic.name for topic in TOPICS if reader in topic.readers and not topic.compacted and topic.partitions is None]
    return [(topic, partition) for topic in topics for partition in range(partition_count())]


class Gauge:
    """Reads the lag of every stage. `warehouse`: whether that one runs."""

    def __init__(self, bootstrap: str, redis_url: str, warehouse: bool) -> None:
        self._redis = redis.Redis.from_url(redis_url)
        self._of = {reader: inputs(reader) for reader in (*TAGS, *([WAREHOUSE] if warehouse else []))}
        quiet = {"bootstrap.servers": bootstrap, "enable.auto.commit": False, "log_level": 0}
        # these never subscribe, so they are no members of the groups whose commits they read
        self._groups = {reader: Consumer({**quiet, "group.id": f"rapport-{reader}"}) for reader in self._of}

    def close(self) -> None:
        self._redis.close()
        for consumer in self._groups.values():
            consumer.close()

    def lags(self) -> dict[str, int]:
        """Records behind, by stage. Positions are read before ends, so that what comes meanwhile counts as lag. Raises NotMeasuredError."""
        positions = {reader: self._position(reader) for reader in self._of}
        ends = self._ends()
        return {reader: behind(self._of[reader], position, ends) for reader, position in positions.items()}

    def _ends(self) -> dict[Where, int]:
        """The next offset of every input: asked for by a time that stands for the end, one request for all."""
        every = sorted({where for found in self._of.values() for where in found})
        told = _patiently(
            lambda: self._groups[RESOLVER].offsets_for_times([TopicPartition(*where, OFFSET_END) for where in every], CALL_SECONDS)
        )
        return {(one.topic, one.partition): one.offset for one in told}

    def _position(self, reader: str) -> dict[Where, int]:
        """The greater of fence and commit: clock records that change nothing are committed, but not fenced."""
        wanted = [TopicPartition(*where) for where in self._of[reader]]
        told = _patiently(lambda: self._groups[reader].committed(wanted, CALL_SECONDS))
        found = {(one.topic, one.partition): one.offset for one in told if one.offset >= 0}
        if reader == WAREHOUSE:
            return found
        topics = sorted({topic for topic, _ in self._of[reader]})
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in range(partition_count()):
                pipe.hmget(meta_key(reader, partition), [f"f|{topic}" for topic in topics])
            answers = pipe.execute()
        for partition, fences in enumerate(answers):
            for topic, fence in zip(topics, fences, strict=True):
                if fence is not None:
                    found[topic, partition] = max(found.get((topic, partition), 0), int(fence))
        return found


def behind(read: Sequence[Where], position: Mapping[Where, int], ends: Mapping[Where, int]) -> int:
    """Records between a reader's position and the ends. A topic without any position at all is not read by this version of the stage."""
    topics = {topic for topic, _ in position}
    return sum(max(0, ends[where] - position.get(where, 0)) for where in read if where[0] in topics or not topics)


def _patiently(ask: Callable[[], list[TopicPartition]]) -> list[TopicPartition]:
    """Ask again while Kafka says that it cannot now (metadata of a topic made a moment ago, a slow answer). Raises NotMeasuredError."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            told = ask()
            failed = next((one.error for one in told if one.error is not None), None)
            if failed is None:
                return told
        except KafkaException as error:
            failed = error
        if time.monotonic() > end:
            raise NotMeasuredError(f"Kafka does not tell offsets: {failed}")
        time.sleep(0.2)


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


def growing(samples: Sequence[Sample], rate: float, glance: bool = False) -> dict[str, float]:
    """The stages that fall behind, and by how many seconds of the load. Raises NotMeasuredError for fewer than four samples."""
    if len(samples) < 4:
        raise NotMeasuredError(f"{len(samples)} samples of the lag say nothing about its growth: the machine is too busy")
    noise, share, rows = (GLANCE_SECONDS, GLANCE_GROWTH, LONGEST_AGE_SECONDS) if glance else (NOISE_SECONDS, GROWTH, WAREHOUSE_SECONDS)
    allowed = noise + share * (samples[-1].seconds - samples[0].seconds)
    found = {stage: growth(samples, stage, rate) for stage in samples[0].lags}
    return {stage: seconds for stage, seconds in found.items() if seconds > allowed + rows * (stage == WAREHOUSE)}
