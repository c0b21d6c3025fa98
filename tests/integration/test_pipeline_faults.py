"""Profile, segmentation and journeys on real Kafka and Redis, killed at named points while events flow."""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.kafka import Kafka
from deploy.local.ports import free_port
from deploy.local.process import Process
from shared.contracts import topics
from shared.contracts.headers import CAUSE, header
from tests.integration.pipeline import SERVICES, Pipeline, demo_events, in_an_hour_of_today
from tests.waiting import wait_until

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

KILLS = [
    ("profile", "resolver.after_commit:3"),
    ("profile", "folder.before_commit:4"),
    ("segmentation", "segmentation.after_commit:5"),
    ("messaging", "journeys.before_ack:3"),
    ("profile", "log.mid_publication:6"),
    ("segmentation", "log.mid_publication:2"),
    ("messaging", "journeys.after_commit:2"),
    ("profile", "resolver.before_ack:5"),
    ("profile", "folder.after_commit:2"),
    ("segmentation", "segmentation.before_commit:2"),
]


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Process]:
    """A broker of this test alone: the product's topics are its own."""
    with Kafka(tmp_path / "kafka", free_port(), tmp_path / "kafka.log") as kafka:
        yield kafka


@pytest.fixture
def pipeline(own_kafka: Process, fresh_redis: Process, tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(own_kafka, fresh_redis, tmp_path) as pipeline:
        yield pipeline


def test_ten_kills_over_all_workers_end_in_the_undisturbed_state(pipeline: Pipeline) -> None:
    events = demo_events(20_000, in_an_hour_of_today())
    running = {service: pipeline.worker(service) for service in SERVICES}
    for process in running.values():
        process.start()
    share = len(events) // len(KILLS) + 1
    for n, (service, failpoint) in enumerate(KILLS):
        running[service].kill()
        doomed = running[service] = pipeline.worker(service, failpoint)
        doomed.start()
        pipeline.send(events[n * share : (n + 1) * share])
        wait_until(f"kill {n} at {failpoint}", lambda doomed=doomed: not doomed.alive, 90)  # type: ignore[misc]
        assert doomed.returncode == -9, doomed.log_tail()
        running[service] = pipeline.worker(service)
        running[service].start()
    pipeline.wait_settled()
    pipeline.assert_equals_undisturbed()
    for process in running.values():
        process.stop()


PUBLISHED = (
    topics.EVENT_RESOLVED,
    topics.PROFILE_CHANGED,
    topics.PROFILE_MOVED,
    topics.SEGMENT_CHANGED,
    topics.MEMBERSHIP_MOVED,
    topics.JOURNEY_MOVED,
    topics.MESSAGE_REQUESTED,
)


def doubled(pipeline: Pipeline, topic: str) -> int:
    """Records of a topic beyond one a cause."""
    causes = Counter(
        (message.partition(), cause) for message in pipeline.log(topic) if (cause := header(message.headers() or (), CAUSE)) is not None
    )
    return causes.total() - len(causes)


def test_a_redis_restored_and_then_emptied_ends_in_the_undisturbed_state_and_doubles_no_log(
    pipeline: Pipeline, fresh_redis: Process, tmp_path: Path
) -> None:
    events = demo_events(9_000, in_an_hour_of_today())
    running = [pipeline.worker(service) for service in SERVICES]
    for process in running:
        process.start()
    data = fresh_redis.data  # type: ignore[attr-defined]
    pipeline.send(events[:3_000])
    wait_until("some of it is folded", lambda: sum(sum(meta.fences.values()) for meta in pipeline.metas("folder")) > 1_000, 60)
    fresh_redis.stop()
    shutil.copytree(data, tmp_path / "copy")
    fresh_redis.start()
    fresh_redis.wait_ready()
    pipeline.send(events[3_000:6_000])
    pipeline.wait_settled()
    fresh_redis.kill()
    shutil.rmtree(data)
    shutil.copytree(tmp_path / "copy", data)
    fresh_redis.start()
    fresh_redis.wait_ready()
    pipeline.send(events[6_000:8_000])
    pipeline.wait_settled()
    pipeline.assert_equals_undisturbed()
    with pipeline.client() as client:
        client.flushall()
    pipeline.send(events[8_000:])
    pipeline.wait_settled()
    pipeline.assert_equals_undisturbed()
    assert pipeline.log(topics.TURN_RECORDED), "else every slot has read one input alone, and nothing is shown"
    assert {topic: doubled(pipeline, topic) for topic in PUBLISHED} == dict.fromkeys(PUBLISHED, 0)
    for process in running:
        process.stop()
