"""Workers join and leave while records flow: nothing is lost and nothing is written twice."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from deploy.local.kafka import Kafka
from deploy.local.ports import free_port
from deploy.local.process import Process
from shared.contracts.topics import EVENT_RESOLVED, MESSAGE_REQUESTED, PROFILE_CHANGED, SEGMENT_CHANGED
from shared.testing.installation import partitions
from tests.integration.counting_ledger import CountingRun
from tests.integration.pipeline import SERVICES, Pipeline, demo_events, in_an_hour_of_today
from tests.integration.test_pipeline_faults import doubled

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]
TIMES = 10
MANY = 24


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Process]:
    """A broker of this test alone, whose topics have as many partitions as the test wants."""
    with Kafka(tmp_path / "kafka", free_port(), tmp_path / "kafka.log") as kafka:
        yield kafka


class Load:
    """Records that are sent in portions beside what the test does: one portion a round at least, the rest at the end."""

    def __init__(self, portions: int) -> None:
        self._left = portions
        self._rounds = threading.Semaphore(0)

    def next(self) -> bool:
        """The sender's: whether there is another portion; waits for its round."""
        self._left -= 1
        return self._left >= 0 and self._rounds.acquire(timeout=120)

    def round(self) -> None:
        """The test's."""
        self._rounds.release()


def join(workers: Sequence[Process]) -> None:
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.wait_ready(90)


def leave(workers: Sequence[Process]) -> None:
    stops = [threading.Thread(target=worker.stop) for worker in workers]
    for stop in stops:
        stop.start()
    for stop in stops:
        stop.join()


def test_two_workers_join_and_leave_ten_times_under_load_with_many_partitions(
    own_kafka: Process, fresh_redis: Process, tmp_path: Path
) -> None:
    with partitions(MANY), ExitStack() as ended:
        run = CountingRun(own_kafka, fresh_redis, "join-leave", tmp_path)
        load = Load(2 * TIMES)

        def send() -> None:
            while load.next():
                run.send(1_000)

        sender = threading.Thread(target=send)
        sender.start()
        ended.enter_context(run.working())
        for _ in range(TIMES):
            two = [run.worker(), run.worker()]
            load.round()
            join(two)
            load.round()
            leave(two)
        sender.join()
        assert run.sent == 2 * TIMES * 1_000
        run.wait_applied()
        figures = run.assert_exactly_once()
        assert (figures.lost, figures.doubled_in_state, figures.doubled_in_log, figures.dead_letters) == (0, 0, 0, 0)


@pytest.fixture
def pipeline(own_kafka: Process, fresh_redis: Process, tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(own_kafka, fresh_redis, tmp_path) as pipeline:
        yield pipeline


def test_two_workers_of_every_stage_take_turns_ten_times_under_load(pipeline: Pipeline) -> None:
    events = demo_events(2 * TIMES * 1_000, in_an_hour_of_today())
    load = Load(2 * TIMES)

    def send() -> None:
        for first in range(0, len(events), 1_000):
            if load.next():
                pipeline.send(events[first : first + 1_000])

    sender = threading.Thread(target=send)
    sender.start()
    staying = [pipeline.worker(service) for service in SERVICES]
    join(staying)
    for _ in range(TIMES):
        second = [pipeline.worker(service) for service in SERVICES]
        load.round()
        join(second)
        load.round()
        leave(staying)
        staying = second
    sender.join()
    pipeline.wait_settled()
    pipeline.assert_equals_undisturbed()
    published = (EVENT_RESOLVED, PROFILE_CHANGED, SEGMENT_CHANGED, MESSAGE_REQUESTED)
    assert {topic: doubled(pipeline, topic) for topic in published} == dict.fromkeys(published, 0)
    leave(staying)
