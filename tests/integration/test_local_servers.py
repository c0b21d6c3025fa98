"""The servers of deploy.local: they keep their data through every kind of end, and die with their parent."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.local.kafka import Kafka
from deploy.local.ports import free_port
from deploy.local.process import NotReadyError, Process
from deploy.local.prometheus import Prometheus
from deploy.local.redis import Redis
from deploy.local.topics import TopicSettings, ensure
from deploy.local.words import why_ended
from shared.contracts.topics import TOPICS

pytestmark = pytest.mark.real


def test_kafka_keeps_an_eight_megabyte_record_through_a_kill_and_a_restart(tmp_path: Path) -> None:
    with Kafka(tmp_path / "data", free_port(), tmp_path / "kafka.log") as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        topic = NewTopic("large", 1, 1, config={"max.message.bytes": "8500000"})
        admin.create_topics([topic])["large"].result(30)
        producer = Producer({"bootstrap.servers": broker.bootstrap, "message.max.bytes": 8_500_000, "acks": "all"})
        payload = os.urandom(8_000_000)
        producer.produce("large", payload)
        assert producer.flush(30) == 0
        ensure(admin, TOPICS, TopicSettings(partitions=3))
        broker.kill()
        assert not broker.alive
        broker.start()
        broker.wait_ready(60)
        consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "g", "auto.offset.reset": "earliest"})
        for topic in TOPICS:  # ready means: it leads every partition
            for number in range(topic.partitions or 3):
                assert consumer.get_watermark_offsets(TopicPartition(topic.name, number), timeout=5) == (0, 0)
        consumer.subscribe(["large"])
        message = consumer.poll(30)
        consumer.close()
        assert message is not None
        assert message.value() == payload


def test_kafka_creates_no_topic_by_itself(kafka: Kafka) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "message.timeout.ms": 3000})
    delivered: list[bool] = []
    producer.produce("never-created", b"x", on_delivery=lambda error, _: delivered.append(error is None))
    producer.flush(10)
    assert delivered == [False]
    assert "never-created" not in AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=10).topics


def test_redis_keeps_what_it_acknowledged_through_a_kill(fresh_redis: Redis) -> None:
    with redis.Redis.from_url(fresh_redis.url) as client:
        client.set("kept", "yes")
        fresh_redis.kill()
        fresh_redis.start()
        fresh_redis.wait_ready(30)
        assert client.get("kept") == b"yes"


def test_a_paused_redis_answers_nothing_until_it_is_resumed(fresh_redis: Redis) -> None:
    fresh_redis.pause()
    try:
        assert not fresh_redis.probe()
    finally:
        fresh_redis.resume()
    fresh_redis.wait_ready(10)


def test_a_child_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time; from deploy.local.process import Process;"
        f"p = Process('sleeper', ['sleep', '600'], pathlib.Path({str(tmp_path / 'log')!r})); p.start();"
        "print(p.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
    end = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and _state(child) != "Z":
        assert time.monotonic() < end, "the child outlived its parent"
        time.sleep(0.02)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


def test_a_child_that_ends_early_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = Process("talker", ["sh", "-c", "echo the reason; exit 3"], tmp_path / "log")
    child.start()
    while child.alive:
        time.sleep(0.01)
    with pytest.raises(NotReadyError, match=r"talker ended with code 3\n.*the reason"):
        child.wait_ready(5)


def test_an_earlier_runs_last_words_are_not_taken_for_this_ones(tmp_path: Path) -> None:
    said = tmp_path / "said"
    child = Process("talker", ["sh", "-c", f"test -e {said} || echo No space left on device; touch {said}; exit 1"], tmp_path / "log")
    for expected in ("the disk is full", "ended with code 1 (log"):
        child.start()
        while child.alive:
            time.sleep(0.01)
        assert expected in why_ended(child)


@pytest.mark.needs_promtool
def test_prometheus_takes_the_configuration_of_a_run(tmp_path: Path) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("not run: needs prometheus on PATH")
    with Prometheus(tmp_path / "data", free_port(), tmp_path / "log", {"ingest": free_port(), "profile": free_port()}) as server:
        end = time.monotonic() + 30
        while True:
            with urlopen(f"{server.url}/api/v1/targets", timeout=5) as answer:
                found = {target["labels"]["service"] for target in json.load(answer)["data"]["activeTargets"]}
            if found == {"ingest", "profile"}:
                return
            assert time.monotonic() < end, found
            time.sleep(0.1)
