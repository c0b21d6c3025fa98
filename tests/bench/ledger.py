"""How long the dispatcher takes to take a slot over, and what its ledger costs in memory: `python -m tests.bench.ledger`.

A month of ten million messages, each with the longest expiry, in eight slots: 1.25 million live ids a slot in checkpoints of ten minutes,
as many that have expired and still stand in the log, and a tail of what was recorded since the last checkpoint.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from confluent_kafka.admin import AdminClient
from rich.console import Console

from deploy.local.kafka import Kafka
from deploy.local.ports import free_port
from deploy.local.topics import TopicSettings, ensure
from services.messaging.adapters.ledger_reader import LedgerReader, ReadLedger
from services.messaging.domain.packed import ID_BYTES
from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.changes import MessageStatus
from shared.contracts.ledger import (
    CHECKPOINT_ENCODER,
    LEDGER_ENCODER,
    LONGEST_EXPIRY_MS,
    Checkpoint,
    LedgerEntry,
    Passed,
    SavedIds,
)
from shared.contracts.topics import DISPATCH_CHECKPOINTED, DISPATCH_RECORDED, TOPICS
from shared.definitions.durations import DAY_MS

SLOTS = 8
LIVE = 1_250_000
EVERY_MS = 600_000
STEPS = LONGEST_EXPIRY_MS // EVERY_MS
"""Checkpoints in a month."""


def checkpoints(now: int) -> Iterator[Checkpoint]:
    """Two months of them: what the first month settled has expired."""
    live: Counter[int] = Counter()
    each = LIVE // STEPS
    for step in range(2 * STEPS):
        at = now - (2 * STEPS - step) * EVERY_MS
        day = (at + LONGEST_EXPIRY_MS) // DAY_MS
        live[day] += each
        alive = {one: count for one, count in live.items() if one + 1 >= at // DAY_MS}
        ids = os.urandom(each * ID_BYTES)
        yield Checkpoint(number=step + 1, since=1, at=at, upto=0, new=[SavedIds(day, step, ids)], live=alive, passed=Passed(step))


def tail(now: int) -> Iterator[LedgerEntry]:
    """What a slot records in ten minutes: three entries a message."""
    for number in range(LIVE // STEPS):
        for status in (MessageStatus.CLAIMED, MessageStatus.SENDING, MessageStatus.SENT):
            yield LedgerEntry(
                dispatch_id=f"{number:032x}",
                entry_id="e" * 32, journey="keep_important", step="steps[0]", profile_id=f"u:{number}", channel="email", template="t",
                message_class="marketing", status=status, at=now, position=number, expires_at=now + LONGEST_EXPIRY_MS,
                cause=f"journeys|rapport.event.resolved.v1|0|{number}|0",
            )  # fmt: skip


def write(kafka: KafkaConnection, now: int) -> None:
    producer = kafka.producer({"linger.ms": 20, "queue.buffering.max.kbytes": 200_000})
    for checkpoint in checkpoints(now):
        producer.produce(DISPATCH_CHECKPOINTED, CHECKPOINT_ENCODER.encode(checkpoint), str(checkpoint.number).encode(), 0)
    for entry in tail(now):
        producer.produce(DISPATCH_RECORDED, LEDGER_ENCODER.encode(entry), entry.dispatch_id.encode(), 0)
    if producer.flush(120):
        raise SystemExit("the broker did not take what is to be read")


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    """The command."""
    told = argparse.ArgumentParser(prog="python -m tests.bench.ledger", description="how long the dispatcher takes to take a slot over")
    told.add_argument("--slots", type=int, default=SLOTS, help=f"how often it is taken over, {SLOTS} unless said otherwise")
    return measure(told.parse_args().slots)


def measure(slots: int) -> int:
    """Print the figures; code 1 if a checkpoint was not believed or more was read than checkpoints and tail."""
    say = Console(highlight=False, width=160).print
    now = time.time_ns() // 1_000_000
    with (
        tempfile.TemporaryDirectory(prefix="rapport-bench-ledger-") as folder,
        Kafka(Path(folder, "data"), free_port(), Path(folder, "log")) as broker,
    ):
        ensure(AdminClient({"bootstrap.servers": broker.bootstrap}), TOPICS, TopicSettings(kafka_bootstrap=broker.bootstrap))
        kafka = KafkaConnection(broker.bootstrap)
        write(kafka, now)
        kept: list[ReadLedger] = []
        before = resident()
        for _ in range(slots):
            began, used = time.monotonic(), time.process_time()
            with closing(LedgerReader(kafka, "bench", 0)) as reader:
                kept.append(reader.read())
            read = kept[-1]
            say(
                f"takeover_s={time.monotonic() - began:.2f} cpu_s={time.process_time() - used:.2f} live={len(read.ledger)} "
                f"checkpoints={read.checkpoints} entries={read.entries} believed={read.believed}"
            )
        grown = resident() - before
        messages = sum(len(read.ledger) for read in kept)
        say(f"memory_mb={grown / 1e6:.0f} messages={messages} bytes_a_message={grown / messages:.1f}")
        return 0 if all(read.believed and read.entries == 3 * (LIVE // STEPS) for read in kept) else 1


if __name__ == "__main__":
    sys.exit(main())
