"""What one client can send in one request passes within the memory that compose gives a worker, and Redis answers others meanwhile."""

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.local.kafka import Kafka
from deploy.local.ports import free_port
from deploy.local.process import Process
from deploy.local.settings import PROJECT
from shared.contracts.changes import PROFILE_CHANGED_DECODER
from shared.contracts.topics import PROFILE_CHANGED
from shared.testing.histories import EPOCH, encoded, event
from tests.integration.pipeline import SERVICES, Pipeline
from tests.waiting import wait_until

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

TRAITS, IDENTIFIES, OTHERS = 199, 2_000, 300


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Process]:
    """A broker of this test alone: the product's topics are its own."""
    with Kafka(tmp_path / "kafka", free_port(), tmp_path / "kafka.log") as kafka:
        yield kafka


@pytest.fixture
def pipeline(own_kafka: Process, tmp_path: Path, fresh_redis: Process) -> Iterator[Pipeline]:
    with Pipeline(own_kafka, fresh_redis, tmp_path) as pipeline:
        yield pipeline


def compose_limit() -> int:
    """Bytes that compose gives each worker."""
    found = re.search(r"x-rapport: &rapport\n(?:  .*\n)*?  mem_limit: (\d+)m", (PROJECT / "docker-compose.yml").read_text())
    assert found is not None
    return int(found[1]) << 20


def peak(process: Process) -> int:
    """The most memory that a process has ever had at once, bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) << 10


class Pings(threading.Thread):
    """Asks Redis all the time; `worst`: seconds of the slowest answer."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(daemon=True)
        self.worst, self.asked = 0.0, 0
        self._client = pipeline.client()
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.005):
            started = time.perf_counter()
            self._client.ping()
            self.worst = max(self.worst, time.perf_counter() - started)
            self.asked += 1

    def end(self) -> None:
        self._ended.set()
        self.join()
        self._client.close()


def identify(user: str, number: int, city: str, traits: int = 0) -> tuple[str, bytes]:
    said = {"city": city} | {f"t{n}": f"{n}" + "x" * 1000 for n in range(traits)}
    return f"u:{user}", encoded(event("identify", f"{user}-{number}", EPOCH + number, user_id=user, traits=said))


def test_thousands_of_identifies_of_fat_profiles_pass_within_composes_memory(pipeline: Pipeline) -> None:
    workers = {service: pipeline.worker(service) for service in SERVICES}
    for process in workers.values():
        process.start()
    pipeline.send([identify("ann", 0, "Oslo", TRAITS), *(identify(f"p{n}", 0, "Oslo", TRAITS) for n in range(OTHERS))])
    pipeline.wait_settled()
    pings = Pings(pipeline)
    pings.start()
    started = time.monotonic()
    attack = [identify("ann", n + 1, str(n)) for n in range(IDENTIFIES)]
    assert sum(len(value) for _, value in attack) < 1_000_000
    pipeline.send(attack)
    pipeline.send([identify(f"p{n}", 1, "Rome") for n in range(OTHERS)])
    pipeline.wait_settled(120)
    took = time.monotonic() - started
    pings.end()
    peaks = {service: peak(process) for service, process in workers.items()}
    said = [PROFILE_CHANGED_DECODER.decode(message.value() or b"") for message in pipeline.log(PROFILE_CHANGED)]
    of_ann = [change for change in said if change.profile_id == "u:ann"]
    print(  # noqa: T201 - the figures of the run
        f"peaks MB { {service: size >> 20 for service, size in peaks.items()} } settled_s={took:.1f} "
        f"ann_said={len(of_ann)} pings={pings.asked} worst_ping_ms={pings.worst * 1000:.0f}"
    )
    assert all(process.alive for process in workers.values())
    assert max(peaks.values()) < compose_limit()
    assert of_ann[-1].version == IDENTIFIES + 1
    assert len(of_ann) < IDENTIFIES / 10
    assert sum(bytes(change.traits["city"]) == b'"Rome"' for change in said) == OTHERS
    for process in workers.values():
        process.stop()


def test_workers_say_that_kafka_stands_still_and_are_ready_when_it_goes_on(pipeline: Pipeline, own_kafka: Process) -> None:
    """Nothing is sent: nobody waits for an acknowledgement, and the consumers say nothing by themselves."""
    workers = {service: pipeline.worker(service) for service in SERVICES}
    for process in workers.values():
        process.start()
    for service, process in workers.items():
        wait_until(f"{service} is ready", process.probe)
    own_kafka.pause()
    try:
        for service, process in workers.items():
            told = wait_until(f"{service} says so", lambda process=process: silent(process), 12)  # type: ignore[misc]
            # A slot that gave its last outbox back just then waits for an acknowledgement; that names Kafka too.
            assert "does not answer since" in told or "records wait for its acknowledgement" in told, (service, told)
    finally:
        own_kafka.resume()
    for service, process in workers.items():
        wait_until(f"{service} is ready again", process.probe)
        process.stop()


def silent(process: Process) -> str | None:
    """What /readyz says of Kafka, None if it says that all is well."""
    told: str = httpx.get(process.check or "", timeout=2).json()["parts"]["kafka"]
    return None if told == "ok" else told
