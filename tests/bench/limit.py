"""The limit: the same bytes through a bare confluent-kafka producer and consumer, `python -m tests.bench.limit`.

One process produces (acks=all, idempotent), another reads beside it; the rate is that at which the reader has them all. Each gets one line
of JSON (Part) on stdin and answers with one (Done).
"""

import subprocess
import sys
import time
from pathlib import Path

import msgspec
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.local.settings import PROJECT
from shared.contracts.slots import partition_count
from tests.bench.system import NotMeasuredError, System
from tests.bench.workload import Shoppers, Templates

TOPIC = "bench.limit"
EVENTS_IN_HAND = 50_000
"""So many different events are made beforehand and sent round after round."""
PATIENCE_SECONDS = 120.0
STAMP = b"2026-01-01T00:00:00.000Z"


class Part(msgspec.Struct, frozen=True):
    """What a process is to do: produce for so many seconds, or consume if that is 0."""

    bootstrap: str
    templates: str
    partitions: int
    seconds: float = 0.0


class Done(msgspec.Struct, frozen=True):
    """`began`, `ended`: time.time(), from the first record to the last."""

    events: int
    began: float
    ended: float
    cpu_s: float


class Limit(msgspec.Struct, frozen=True):
    """Events a second from the first produced to the last consumed, those of the producer alone, and CPU microseconds an event."""

    rate: float
    produced_rate: float
    producer_cpu_us: float
    consumer_cpu_us: float


def measure(system: System, made: Path, seconds: float) -> Limit:
    """Raises NotMeasuredError."""
    admin = AdminClient({"bootstrap.servers": system.bootstrap, "log_level": 0})
    try:
        admin.create_topics([NewTopic(TOPIC, partition_count(), 1)])[TOPIC].result(30)
    except KafkaException as error:
        raise NotMeasuredError(f"no topic for it: {error}") from error
    consumer = _spawn(Part(system.bootstrap, str(made), partition_count()))
    producer = _spawn(Part(system.bootstrap, str(made), partition_count(), seconds))
    try:
        produced, consumed = _answer(producer, seconds), _answer(consumer, seconds)
    finally:
        for child in (consumer, producer):
            child.kill()
            child.wait()
    if consumed.events != produced.events:
        raise NotMeasuredError(f"{produced.events} events were produced, {consumed.events} came back")
    events = produced.events
    return Limit(
        events / (consumed.ended - produced.began),
        events / (produced.ended - produced.began),
        1e6 * produced.cpu_s / events,
        1e6 * consumed.cpu_s / events,
    )


def _spawn(part: Part) -> "subprocess.Popen[bytes]":
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.limit"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=PROJECT
    )
    assert child.stdin is not None
    child.stdin.write(msgspec.json.encode(part) + b"\n")
    child.stdin.flush()
    return child


def _answer(child: "subprocess.Popen[bytes]", seconds: float) -> Done:
    try:
        told, errors = child.communicate(timeout=seconds + PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        raise NotMeasuredError(f"the bare clients did not end within {PATIENCE_SECONDS:g} s") from None
    if child.returncode:
        raise NotMeasuredError(f"a bare client failed: {errors.decode(errors='replace')[-500:]}")
    return msgspec.json.decode(told, type=Done)


def produce(part: Part) -> Done:
    """Send for so long, then one empty record to each partition as its end. Raises KafkaException."""
    shoppers = Shoppers(msgspec.msgpack.decode(Path(part.templates).read_bytes(), type=Templates), 0)
    events = [shoppers.event(STAMP) for _ in range(EVENTS_IN_HAND)]
    failed: list[object] = []
    producer = Producer(
        {
            "bootstrap.servers": part.bootstrap,
            "enable.idempotence": True,
            "linger.ms": 5,
            "error_cb": failed.append,
            "log_level": 0,
        }
    )
    cpu, began, sent = time.process_time(), time.time(), 0
    while time.time() - began < part.seconds:
        for event in events[sent % EVENTS_IN_HAND :][:1_000]:
            while True:
                try:
                    producer.produce(TOPIC, event, partition=sent % part.partitions)
                    break
                except BufferError:
                    producer.poll(0.01)
            sent += 1
        producer.poll(0)
    left = producer.flush(PATIENCE_SECONDS)
    ended, used = time.time(), time.process_time() - cpu
    for partition in range(part.partitions):
        producer.produce(TOPIC, b"", partition=partition)
    if left + producer.flush(PATIENCE_SECONDS) or failed:
        raise KafkaException(f"not everything was acknowledged: {failed[:1]}")
    return Done(sent, began, ended, used)


def consume(part: Part) -> Done:
    """Read until every partition has ended. Raises KafkaException."""
    consumer = Consumer({"bootstrap.servers": part.bootstrap, "group.id": "bench", "enable.auto.commit": False, "log_level": 0})
    consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(part.partitions)])
    began, cpu, events, open_partitions = time.time(), time.process_time(), 0, part.partitions
    heard = began
    while open_partitions:
        if time.time() - heard > PATIENCE_SECONDS:
            raise KafkaException(f"nothing came for {PATIENCE_SECONDS:g} s")
        for message in consumer.consume(10_000, 0.05):
            heard = time.time()
            if message.error() is not None:
                raise KafkaException(message.error())
            if message.value():
                events += 1
            else:
                open_partitions -= 1
    ended, used = time.time(), time.process_time() - cpu
    consumer.close()
    return Done(events, began, ended, used)


def main() -> None:
    """One of the two processes."""
    part = msgspec.json.decode(sys.stdin.buffer.readline(), type=Part)
    done = produce(part) if part.seconds else consume(part)
    sys.stdout.buffer.write(msgspec.json.encode(done) + b"\n")


if __name__ == "__main__":
    main()
