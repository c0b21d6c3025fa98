"""The segmentation worker on real Kafka and Redis, killed on the way: who enters, who leaves, and that each is said once."""

import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest
import redis
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from deploy.local.kafka import Kafka
from deploy.local.ports import free_port
from deploy.local.process import Process
from deploy.local.topics import TopicSettings, ensure
from shared.contracts.changes import SEGMENT_CHANGED_DECODER, Transition
from shared.contracts.clock import ClockRecord, encode_clock
from shared.contracts.membership_blob import members_index
from shared.contracts.redis_keys import index_key
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import EVENT_RESOLVED, SEGMENT_CHANGED, TOPICS
from tests.applied import apply_folder
from tests.integration.topic import messages
from tests.waiting import wait_until

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

DAY = 86_400_000
START = 20_000 * DAY
PEOPLE = 200
NEWCOMERS = 16
Said = tuple[str, str, Transition, int]


@pytest.fixture(scope="module")
def broker(own_kafka: Kafka) -> Kafka:
    """A broker of this module alone, with all topics."""
    ensure(AdminClient({"bootstrap.servers": own_kafka.bootstrap}), TOPICS, TopicSettings(kafka_bootstrap=own_kafka.bootstrap))
    apply_folder(own_kafka.bootstrap)
    return own_kafka


class Run:
    """One installation: what is put into event.resolved, and what segmentation says."""

    def __init__(self, kafka: Kafka, redis_server: Process, folder: Path) -> None:
        self.bootstrap = kafka.bootstrap
        self.redis_url: str = redis_server.url  # type: ignore[attr-defined]
        self._folder = folder
        self._workers = 0
        self._producer = Producer({"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 5})

    def worker(self, **env: str) -> Process:
        """A worker process, not started. `env` without the prefix RAPPORT_."""
        self._workers += 1
        port = free_port()
        settings = {
            "KAFKA_BOOTSTRAP": self.bootstrap,
            "REDIS_URL": self.redis_url,
            "HEALTH_PORT": str(port),
            "SESSION_TIMEOUT_SECONDS": "2",
            **env,
        }
        argv = [sys.executable, "-m", "services.segmentation.main"]
        variables = {f"RAPPORT_{name}": value for name, value in settings.items()}
        log = self._folder / f"worker-{self._workers}.log"
        return Process("segmentation", argv, log, variables, check=f"http://127.0.0.1:{port}/readyz")

    def order(self, person: str, at: int, revenue: str) -> None:
        body = {"type": "track", "message_id": f"{person}-{at}", "source_id": "web", "timestamp": at, "received_at": at}
        body |= {"event": "Order Completed", "properties": {"revenue": revenue}}
        self._producer.produce(EVENT_RESOLVED, key=person, value=msgspec.json.encode(body), partition=slot(person))

    def tick(self, now: int) -> None:
        """All resolver slots have come to `now`."""
        for partition in range(partition_count()):
            for source in range(partition_count()):
                value = encode_clock(ClockRecord(source, now, 0))
                self._producer.produce(
                    EVENT_RESOLVED, key=f"clock:{source}", value=value, partition=partition, headers=[("kind", b"clock")]
                )
        assert self._producer.flush(30) == 0

    def said(self) -> Counter[Said]:
        """What readers see: every transition, repeats of one cause left out."""
        found: dict[bytes, Said] = {}
        for message in messages(self.bootstrap, SEGMENT_CHANGED):
            change = SEGMENT_CHANGED_DECODER.decode(message.value() or b"")
            cause = dict(message.headers() or ())["cause"]
            found[cause] = (change.profile_id, change.segment, change.transition, change.at)
        return Counter(found.values())

    def members(self, segment: str) -> set[str]:
        with redis.Redis.from_url(self.redis_url) as client:
            return {
                member.decode()
                for partition in range(partition_count())
                for member in client.zrange(index_key("segmentation", partition, members_index(segment)), 0, -1)
            }


def test_killed_workers_say_each_entering_and_leaving_once(broker: Kafka, fresh_redis: Process, tmp_path: Path) -> None:
    run = Run(broker, fresh_redis, tmp_path)
    people = [f"u:{number}" for number in range(PEOPLE)]
    expected: Counter[Said] = Counter()
    run.tick(START)
    for week in range(5):
        for person in people:
            run.order(person, START + week * 7 * DAY, "100.01")
        run.tick(START + week * 7 * DAY + 1)
    first, fifth = START, START + 28 * DAY
    for person in people:
        expected[(person, "new_customer", Transition.ENTERED, first)] += 1
        expected[(person, "important_keep", Transition.ENTERED, fifth)] += 1
    newcomers: list[str] = []
    for failpoint in ("segmentation.after_commit:2", "segmentation.before_ack:2", "log.mid_publication:1"):
        worker = run.worker(FAILPOINT=failpoint)
        worker.start()
        wait_until(f"the kill {failpoint}", lambda worker=worker: not worker.alive)  # type: ignore[misc]
        assert worker.returncode == -9, worker.log_tail()
        newcomers += [f"u:new-{len(newcomers) + number}" for number in range(NEWCOMERS)]
        for person in people[:50] + newcomers[-NEWCOMERS:]:  # so that the next one has something to say, however far this one came
            run.order(person, fifth + 1, "0")
        run.tick(fifth + 2)
    with run.worker():
        wait_until("everybody has entered", lambda: run.members("important_keep") == set(people))
        wait_until("newcomers too", lambda: run.members("new_customer") >= set(newcomers))
        for person in newcomers:
            expected[(person, "new_customer", Transition.ENTERED, fifth + 1)] += 1
        assert run.said() == expected
        run.tick(START + 200 * DAY)
        for person in people:
            expected[(person, "new_customer", Transition.LEFT, first + 30 * DAY)] += 1
            expected[(person, "important_keep", Transition.LEFT, first + 180 * DAY)] += 1
        for person in newcomers:
            expected[(person, "new_customer", Transition.LEFT, fifth + 30 * DAY)] += 1
        for person in people + newcomers:
            late = fifth if person in people[50:] else fifth + 1
            expected[(person, "churn_light", Transition.ENTERED, late // DAY * DAY + 30 * DAY)] += 1
            expected[(person, "churn_light", Transition.LEFT, late // DAY * DAY + 60 * DAY)] += 1
            expected[(person, "churn_heavy", Transition.ENTERED, late // DAY * DAY + 90 * DAY)] += 1
        wait_until("everybody is heavily churned", lambda: run.members("churn_heavy") == {*people, *newcomers})
        assert run.said() == expected
        assert run.members("important_keep") == run.members("new_customer") == run.members("churn_light") == set()
