"""Makes the JVM's AOT cache for Kafka (kafka_cache.py), by a broker of its own with a small load: `python -m deploy.local.kafka_training`.

It makes nothing where a cache is there that fits, and ends well in any case: without a cache Kafka starts as it does without one.
"""

import subprocess
import tempfile
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import NewTopic

from deploy.local import kafka_cache
from deploy.local.java import java
from deploy.local.kafka import Kafka
from deploy.local.kafka_jars import CACHE, classpath
from deploy.local.ports import free_port
from deploy.local.process import MissingError, NotReadyError

READY_SECONDS = 60.0
LOAD_SECONDS = 30.0
STOP_SECONDS = 30.0
MAKE_SECONDS = 90.0
RECORDS = 5_000
TOGETHER = 100
VALUE = bytes(range(256)) * 3
TOPIC = "training"
QUIET = {"log_level": 2}  # a broker that has just begun sends clients away for a moment, which is nobody's concern


class NoCacheError(Exception):
    """There is no cache; the message says why."""


def make(jars: Path = CACHE) -> Path:
    """The cache for the jars in the folder `jars`, made where none fits.

    Takes some 20 s of work and not more than four minutes. Raises NoCacheError; MissingError without java or jars.
    """
    path = classpath(jars)
    cache = kafka_cache.place(java(), path, jars.parent)
    if cache is None:
        raise NoCacheError(f"{java()} is older than {kafka_cache.FIRST_WITH_PROFILES}")
    if not (cache.exists() and kafka_cache.fits(java(), path, cache)):
        try:
            _make(cache, jars, path)
        except (NotReadyError, KafkaException, OSError) as error:
            raise NoCacheError(str(error).partition("\n")[0]) from error
    return cache


def _make(cache: Path, jars: Path, path: str) -> None:
    for old in cache.parent.glob("kafka-*.aot"):
        old.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="kafka-training-", dir=cache.parent) as folder:
        _recorded(Path(folder), jars)
        made = _assembled(Path(folder), path)
        if not kafka_cache.fits(java(), path, made):
            raise NoCacheError("the JVM does not take what it made")
        made.replace(cache)


def _recorded(folder: Path, jars: Path) -> None:
    """Run a broker under load; when it ends it has written what it loaded and how it ran."""
    broker = Kafka(folder / "kafka", free_port(), folder / "kafka.log", jars)
    broker.argv[1:1] = ["-XX:AOTMode=record", f"-XX:AOTConfiguration={folder / 'recorded'}", kafka_cache.SILENT]
    broker.start()
    try:
        broker.wait_ready(READY_SECONDS)
        _load(broker)
    finally:
        broker.stop(STOP_SECONDS)


def _assembled(folder: Path, path: str) -> Path:
    made = folder / "made.aot"
    steps = ["-XX:AOTMode=create", f"-XX:AOTConfiguration={folder / 'recorded'}", f"-XX:AOTCache={made}", kafka_cache.SILENT]
    try:
        subprocess.run([java(), *kafka_cache.JVM, *steps, "-cp", path], capture_output=True, timeout=MAKE_SECONDS, check=True)
    except subprocess.SubprocessError as error:  # its words are the whole class path
        raise NoCacheError(f"the JVM could not make it ({type(error).__name__})") from error
    return made


def _load(broker: Kafka) -> None:
    """What the stages do to a broker: write with acknowledgement, read as a group, commit, write in a transaction."""
    admin = broker.connection.admin(QUIET)
    admin.create_topics([NewTopic(TOPIC, 8, 1)])[TOPIC].result(LOAD_SECONDS)
    producer = broker.connection.producer({**QUIET, "acks": "all", "enable.idempotence": True, "linger.ms": 5})
    fenced = broker.connection.producer({**QUIET, "transactional.id": TOPIC})
    fenced.init_transactions(LOAD_SECONDS)
    reader = broker.connection.consumer({**QUIET, "group.id": TOPIC, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    reader.subscribe([TOPIC])
    try:
        _work(producer, fenced, reader)
    finally:
        reader.close()


def _work(producer: Producer, fenced: Producer, reader: Consumer) -> None:
    end, read = time.monotonic() + LOAD_SECONDS, 0
    for start in range(0, RECORDS, TOGETHER):
        for number in range(start, start + TOGETHER):
            producer.produce(TOPIC, VALUE, str(number % 500))
        producer.flush(LOAD_SECONDS)
        fenced.begin_transaction()
        fenced.produce(TOPIC, VALUE, str(start))
        fenced.commit_transaction(LOAD_SECONDS)
        read += len(reader.consume(2 * TOGETHER, 0.05))
        if read:
            reader.commit(asynchronous=True)
        if time.monotonic() > end:
            return  # a slow machine has trained enough, too


def main(jars: Path = CACHE) -> None:
    """Make the cache, and say in one line what came of it."""
    started = time.monotonic()
    try:
        size = make(jars).stat().st_size
        told = f"Kafka starts from an AOT cache of {size / 1e6:.0f} MB ({time.monotonic() - started:.0f} s)"
    except (NoCacheError, MissingError) as error:
        told = f"Kafka will start without an AOT cache, with twice the work: {error}"
    print(told)  # noqa: T201 the command's answer


if __name__ == "__main__":
    main()
