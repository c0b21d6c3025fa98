"""The yardstick: a bare chain of produce, consume, one Redis call, produce, consume, `python -m tests.bench.yardstick`.

It runs in one process beside the system, under the same load on the same servers. What the machine and the servers take for the least that
a stage does is in it; what our stages add is not. So a latency that is told as a multiple of it says the same on any machine.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import redis
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.local.settings import PROJECT
from tests.bench.system import NotMeasuredError, System

ASKED, TOLD = "bench.yardstick.asked", "bench.yardstick.told"
KEY = "bench:yardstick"
A_SECOND = 10.0
VALUE = b"x" * 700
PATIENCE_SECONDS = 30.0


class Task(msgspec.Struct, frozen=True):
    """Where the servers are."""

    bootstrap: str
    redis: str


class Chain(msgspec.Struct, frozen=True):
    """Seconds from the first produce to the last consume, of each record that went through; `lost`: how many did not."""

    seconds: list[float]
    lost: int = 0


@dataclass
class Running:
    """The process beside the load; `chain` once it has ended."""

    child: "subprocess.Popen[bytes]"
    chain: Chain | None = field(default=None)

    def stop(self) -> Chain:
        """End it; what it measured. Raises NotMeasuredError."""
        if self.chain is None:
            try:
                told, errors = self.child.communicate(timeout=2 * PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                raise NotMeasuredError("the yardstick did not end") from None
            if self.child.returncode:
                raise NotMeasuredError(f"the yardstick failed: {errors.decode(errors='replace')[-500:]}")
            self.chain = msgspec.json.decode(told, type=Chain)
        return self.chain


@contextmanager
def beside(system: System) -> Iterator[Running]:
    """The chain goes on until `stop`, or until the block ends. Raises NotMeasuredError."""
    make_topics(system.bootstrap)
    task = Task(system.bootstrap, system.env["RAPPORT_REDIS_URL"])
    command = [sys.executable, "-m", "tests.bench.yardstick"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=PROJECT)
    assert child.stdin is not None
    child.stdin.write(msgspec.json.encode(task) + b"\n")
    child.stdin.flush()
    try:
        yield Running(child)
    finally:
        child.kill()
        child.wait()


def make_topics(bootstrap: str) -> None:
    """Raises NotMeasuredError."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    try:
        for made in admin.create_topics([NewTopic(ASKED, 1, 1), NewTopic(TOLD, 1, 1)]).values():
            made.result(PATIENCE_SECONDS)
    except KafkaException as error:
        raise NotMeasuredError(f"no topics for the yardstick: {error}") from error


def run(task: Task, ended: threading.Event) -> Chain:
    """Send A_SECOND records a second through the chain until `ended`, one at least, then wait for those under way.

    Raises KafkaException, RedisError.
    """
    stopped, seconds = threading.Event(), list[float]()
    failed: list[BaseException] = []
    store = redis.Redis.from_url(task.redis)
    producer = Producer({"bootstrap.servers": task.bootstrap, "acks": "all", "enable.idempotence": True, "log_level": 0})

    def pass_on(message: Message) -> None:
        store.set(KEY, message.value() or b"")
        producer.produce(TOLD, message.value(), message.key())
        producer.poll(0)

    def arrived(message: Message) -> None:
        seconds.append(time.monotonic() - float(message.key() or b""))

    followers = [
        threading.Thread(target=_follow, args=(task.bootstrap, topic, each, stopped, failed))
        for topic, each in ((ASKED, pass_on), (TOLD, arrived))
    ]
    for one in followers:
        one.start()
    began, sent = time.monotonic(), 0
    while not failed:
        producer.produce(ASKED, VALUE, b"%.6f" % time.monotonic())
        producer.poll(0)
        sent += 1
        if ended.wait(max(0.0, began + sent / A_SECOND - time.monotonic())):
            break
    end = time.monotonic() + PATIENCE_SECONDS
    while len(seconds) < sent and time.monotonic() < end and not failed:
        producer.poll(0.05)
    stopped.set()
    for one in followers:
        one.join()
    store.delete(KEY)
    store.close()
    if failed:
        raise failed[0]
    return Chain(sorted(seconds), sent - len(seconds))


def _follow(bootstrap: str, topic: str, each: Any, stopped: threading.Event, failed: list[BaseException]) -> None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench.yardstick", "enable.auto.commit": False, "log_level": 0})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        while not stopped.is_set():
            message = consumer.poll(0.1)
            if message is None:
                continue
            if (error := message.error()) is not None:
                raise KafkaException(error)
            each(message)
    except BaseException as error:  # told by the main thread
        failed.append(error)
    finally:
        consumer.close()


def _wait_for_the_end(ended: threading.Event) -> None:
    sys.stdin.buffer.read()
    ended.set()


def main() -> None:
    """Until standard input ends."""
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    ended = threading.Event()
    threading.Thread(target=_wait_for_the_end, args=(ended,), daemon=True).start()
    sys.stdout.buffer.write(msgspec.json.encode(run(task, ended)) + b"\n")


if __name__ == "__main__":
    main()
