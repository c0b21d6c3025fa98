"""Ingest alone, Kafka behind it: a closed loop of wrk, each request answered when its events are durable."""

import base64
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from shared.contracts.slots import partition_count
from shared.contracts.topics import EVENT_RECEIVED
from tests.bench.system import NotMeasuredError, System
from tests.bench.usage import cpu_us, usage
from tests.bench.workload import Shoppers, Templates

SCRIPT = Path(__file__).with_name("ingest.lua")
EVENTS_IN_HAND = 5_000
SHAPES = {1: 256, 20: 64, 100: 64}
"""Events a request -> connections."""
PATIENCE_SECONDS = 60.0
MARKS = (b"<message>", b"<stamp>")


class WrkSaid(msgspec.Struct, frozen=True):
    """`requests`: answered in all, of which `refused` with a status above 399; `broken`: connections and timeouts."""

    requests: int
    seconds: float
    refused: int
    broken: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Alone:
    """`rate`: events a second answered 200; `in_log`: what event.received holds of them; `load_cpu_us`: CPU of wrk an event."""

    batch: int
    connections: int
    rate: float
    answered: int
    in_log: int
    p50_ms: float
    p99_ms: float
    cpu_us: dict[str, float]
    load_cpu_us: float


def prepare(system: System, made: Path) -> tuple[Path, Path]:
    """Files for the script: events, one a line, and the Authorization header."""
    shoppers = Shoppers(msgspec.msgpack.decode(made.read_bytes(), type=Templates), 0)
    lines = []
    for _ in range(EVENTS_IN_HAND):
        event = shoppers.event(MARKS[1])
        body = msgspec.json.decode(event)
        lines.append(body["type"].encode() + b" " + event.replace(body["messageId"].encode(), MARKS[0], 1))
    events, key = system.home.root / "wrk-events", system.home.root / "wrk-key"
    events.write_bytes(b"\n".join(lines) + b"\n")
    key.touch(mode=0o600)
    key.write_text("Basic " + base64.b64encode(f"{system.env['RAPPORT_WRITE_KEY']}:".encode()).decode() + "\n")
    return events, key


def measure(system: System, files: tuple[Path, Path], batch: int, seconds: float) -> Alone:
    """One closed loop. Raises NotMeasuredError."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise NotMeasuredError("not run: needs wrk (Debian package wrk)")
    events, key = files
    before, stood, own = usage(system), _received(system), _children_cpu_s()
    url = system.env["RAPPORT_INGEST_URL"]
    argv = [wrk, "-t1", f"-c{SHAPES[batch]}", f"-d{max(1, round(seconds))}s", "--timeout", "20s", "-s", str(SCRIPT), url]
    try:
        done = subprocess.run(
            [*argv, "--", str(events), str(batch), str(key)],
            capture_output=True,
            text=True,
            timeout=seconds + PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotMeasuredError("wrk did not end in time") from None
    line = next((line for line in done.stdout.splitlines() if line.startswith("bench ")), None)
    if done.returncode or line is None:
        raise NotMeasuredError(f"wrk failed: {(done.stderr or done.stdout)[-500:]}")
    said = msgspec.json.decode(line.removeprefix("bench "), type=WrkSaid)
    system.check_alive()
    answered = (said.requests - said.refused) * batch
    if said.refused or said.broken or not answered:
        raise NotMeasuredError(f"{said.refused} of {said.requests} requests were refused, {said.broken} connections broke")
    in_log = _received(system) - stood
    if in_log < answered:
        raise NotMeasuredError(f"{answered} events were answered 200, but only {in_log} are in the log")
    spent, load = cpu_us(before, usage(system), answered), 1e6 * (_children_cpu_s() - own) / answered
    return Alone(batch, SHAPES[batch], answered / said.seconds, answered, in_log, said.p50_ms, said.p99_ms, spent, load)


def _children_cpu_s() -> float:
    """CPU seconds of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _received(system: System) -> int:
    """Records in event.received."""
    admin = AdminClient({"bootstrap.servers": system.bootstrap, "log_level": 0})
    asked = admin.list_offsets(
        {TopicPartition(EVENT_RECEIVED, p): OffsetSpec.latest() for p in range(partition_count())}, request_timeout=30
    )
    return sum(told.result(30).offset for told in asked.values())
