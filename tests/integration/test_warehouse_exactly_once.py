# ruff: noqa: S608 the names put into statements are made here
"""The warehouse on a real Kafka and a real ClickHouse: every record once, whatever is killed, cut or away."""

import json
import random
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from deploy.local.clickhouse import ClickHouse
from deploy.local.kafka import Kafka
from deploy.local.ports import HOST, free_port
from deploy.local.process import Process
from deploy.local.settings import PROJECT
from deploy.local.topics import TopicSettings, ensure
from services.warehouse.migrate import found, migrate
from shared.adapters import clickhouse as store
from shared.adapters.store_settings import Address
from shared.contracts.clock import ClockRecord, encode_clock
from shared.contracts.headers import Cause
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import EVENT_RECEIVED, EVENT_RESOLVED, TOPICS
from tests.integration.cutter import Cutter
from tests.waiting import wait_until

pytestmark = pytest.mark.real
GROUP_SESSION_S = "6"
CHUNK = 300


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    folder = tmp_path_factory.mktemp("warehouse-kafka")
    with Kafka(folder / "data", free_port(), folder / "kafka.log") as made:
        ensure(AdminClient({"bootstrap.servers": made.bootstrap}), TOPICS, TopicSettings(kafka_bootstrap=made.bootstrap))
        yield made


@dataclass
class House:
    """A ClickHouse of one test, and warehouses over it. Each test has a source and a group of its own in the module's broker."""

    broker: Kafka
    server: ClickHouse
    folder: Path
    source: str
    offset: int = 0
    running: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.producer = Producer({"bootstrap.servers": self.broker.bootstrap, "acks": "all", "linger.ms": 5})
        self.begin_at_the_end()
        self.migrate()

    def begin_at_the_end(self) -> None:
        """This test's group starts behind what the tests before it sent."""
        consumer = Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": f"{self.source}-warehouse"})
        ends: list[TopicPartition] = []

        def told() -> bool:
            """A new topic's leaders are known a moment after its creation."""
            try:
                ends[:] = [
                    TopicPartition(EVENT_RESOLVED, at, consumer.get_watermark_offsets(TopicPartition(EVENT_RESOLVED, at), timeout=10)[1])
                    for at in range(partition_count())
                ]
            except KafkaException:
                return False
            return True

        wait_until("Kafka tells where the topic ends", told)
        consumer.commit(offsets=ends, asynchronous=False)
        consumer.close()

    def migrate(self) -> None:
        client = store.ClickHouse(Address(self.server.url))
        migrate(client, found())
        client.close()

    def warehouse(self, url: str | None = None, **env: str) -> Process:
        port = free_port()
        settings = {
            "RAPPORT_KAFKA_BOOTSTRAP": self.broker.bootstrap,
            "RAPPORT_CLICKHOUSE_URL": url or self.server.url,
            "RAPPORT_HEALTH_PORT": str(port),
            "RAPPORT_GROUP_PREFIX": self.source,
            "RAPPORT_SESSION_TIMEOUT_SECONDS": GROUP_SESSION_S,
            "RAPPORT_WAREHOUSE_BLOCK_RECORDS": str(CHUNK),
        } | env
        argv = [sys.executable, "-m", "services.warehouse.main"]
        name = f"warehouse-{len(self.running)}"
        made = Process(name, argv, self.folder / f"{name}.log", settings, PROJECT, f"http://{HOST}:{port}/readyz")
        self.running.append(made)
        made.start()
        return made

    def send(self, many: int, again: bool = False) -> None:
        """`many` events with causes as the resolver gives them; `again`: the last ones once more, at new offsets."""
        start = self.offset - many if again else self.offset
        for n in range(start, start + many):
            profile = f"u:{self.source}-{n % 97}"
            cause = Cause("resolver", EVENT_RECEIVED, n % 8, n, 0)
            self.producer.produce(
                EVENT_RESOLVED,
                json.dumps(self.event(n)).encode(),
                key=profile,
                partition=slot(profile),
                headers=[("cause", cause.encode())],
            )
            self.producer.poll(0)
        assert self.producer.flush(30) == 0
        self.offset = max(self.offset, start + many)

    def event(self, n: int) -> dict[str, object]:
        return {
            "type": "track",
            "message_id": f"m{n}",
            "source_id": self.source,
            "timestamp": 1_760_000_000_000 + n * 1000,
            "received_at": 1_760_000_000_500 + n * 1000,
            "user_id": str(n % 97),
            "event": "Order Completed",
            "properties": {"revenue": f"{n}.25", "filler": "x" * 200},
        }

    def ask(self, sql: str) -> str:
        answer = httpx.post(self.server.url, content=sql, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.text.strip()

    def counts(self) -> tuple[int, int, int]:
        """Rows, rows after the second net, different messages."""
        mine = f"FROM rapport.events WHERE source_id = '{self.source}'"
        final = mine.replace("rapport.events", "rapport.events FINAL")
        told = self.ask(f"SELECT count(), (SELECT count() {final}), uniqExact((source_id, message_id)) {mine}")
        rows, netted, messages = told.split("\t")
        return int(rows), int(netted), int(messages)

    def until_counted(self, wanted: int, deadline_s: float = 60) -> None:
        wait_until(
            lambda: f"{self.counts()} of {wanted} counted\n{self.running[-1].log_tail(8)}", lambda: self.counts()[2] >= wanted, deadline_s
        )

    def assert_exactly(self, sent: int) -> None:
        """Each once even without the second net, and its sum exact."""
        assert self.counts() == (sent, sent, sent)
        total = sum(n * 10_000 + 2_500 for n in range(sent))
        assert self.ask(f"SELECT sum(revenue) * 10000 FROM rapport.events WHERE source_id = '{self.source}'") == str(total)

    def close(self) -> None:
        for process in self.running:
            process.kill()


@pytest.fixture
def house(broker: Kafka, tmp_path: Path) -> Iterator[House]:
    with ClickHouse(tmp_path / "clickhouse", free_port(), tmp_path / "clickhouse.log") as server:
        made = House(broker, server, tmp_path, f"s{random.randrange(10**9)}")
        yield made
        made.close()


def until_dead(process: Process) -> None:
    wait_until("it dies", lambda: not process.alive)


def ready(process: Process) -> bool:
    return process.probe()


def not_ready(warehouse: Process) -> str:
    """Why, or nothing."""
    assert warehouse.check is not None
    answer = httpx.get(warehouse.check, timeout=5)
    return "" if answer.status_code == 200 else str(answer.json()["parts"]["clickhouse"])


@pytest.mark.parametrize(
    "point",
    [
        "warehouse.before_intent:2",
        "warehouse.after_intent:1",
        "warehouse.after_intent:3",
        "warehouse.after_insert:2",
        "warehouse.after_done:2",
    ],
)
def test_a_kill_at_any_point_neither_loses_nor_doubles_a_row(house: House, point: str) -> None:
    house.send(4 * CHUNK)
    doomed = house.warehouse(RAPPORT_FAILPOINT=point, RAPPORT_WAREHOUSE_BLOCK_RECORDS="40")
    until_dead(doomed)
    assert doomed.returncode == -signal.SIGKILL, doomed.log_tail()
    house.send(2 * CHUNK)
    house.warehouse()
    house.until_counted(6 * CHUNK)
    house.assert_exactly(6 * CHUNK)


@pytest.mark.parametrize("point", ["warehouse.after_intent:2", "warehouse.after_insert:2"])
def test_a_block_of_one_killed_is_made_whole_by_two_who_share_its_partitions(house: House, point: str) -> None:
    house.send(4 * CHUNK)
    doomed = house.warehouse(RAPPORT_FAILPOINT=point)
    until_dead(doomed)
    heirs = [house.warehouse(), house.warehouse()]
    house.send(CHUNK)
    house.until_counted(5 * CHUNK)
    house.assert_exactly(5 * CHUNK)
    for heir in heirs:  # what the group knows of the block is settled too: the next find nothing to do again
        heir.stop()
        assert heir.returncode == 0, heir.log_tail()
    house.send(CHUNK)
    house.warehouse()
    house.until_counted(6 * CHUNK)
    house.assert_exactly(6 * CHUNK)


def test_many_kills_in_a_row_still_count_once(house: House) -> None:
    for nth in range(5):
        house.send(CHUNK)
        doomed = house.warehouse(
            RAPPORT_FAILPOINT=f"warehouse.after_{('intent', 'insert')[nth % 2]}:{1 + nth % 3}", RAPPORT_WAREHOUSE_BLOCK_RECORDS="10"
        )
        until_dead(doomed)
    house.warehouse()
    house.until_counted(5 * CHUNK)
    house.assert_exactly(5 * CHUNK)


def test_records_sent_again_at_new_offsets_are_dropped_also_over_a_restart(house: House) -> None:
    first = house.warehouse()
    house.send(CHUNK)
    house.until_counted(CHUNK)
    house.send(100, again=True)
    first.stop()
    assert first.returncode == 0
    house.send(100, again=True)
    house.warehouse()
    house.send(50)
    house.until_counted(CHUNK + 50)
    house.assert_exactly(CHUNK + 50)


def test_clickhouse_killed_under_load_comes_back_to_every_row_once(house: House) -> None:
    warehouse = house.warehouse()
    for _ in range(3):
        house.send(3 * CHUNK)
        wait_until("the first rows", lambda: house.counts()[0] > 0)
        house.send(3 * CHUNK)
        house.server.kill()
        wait_until("it says that it is not ready", lambda: not ready(warehouse))
        house.server.start()
        house.server.wait_ready(60)
    house.until_counted(18 * CHUNK)
    house.assert_exactly(18 * CHUNK)
    wait_until("it is ready", lambda: ready(warehouse))


def test_a_clickhouse_that_stands_still_is_said_while_the_call_hangs_and_no_more_once_it_goes_on(house: House) -> None:
    warehouse = house.warehouse()
    house.send(10)
    house.until_counted(10)
    house.server.pause()
    house.send(10)
    wait_until(lambda: f"it says so: {not_ready(warehouse)}", lambda: "has not answered for" in not_ready(warehouse))
    house.server.resume()
    wait_until(lambda: f"it is ready: {not_ready(warehouse)}", lambda: not not_ready(warehouse))
    house.until_counted(20)
    house.assert_exactly(20)


def test_a_reply_cut_after_the_insert_makes_no_second_row(house: House) -> None:
    with Cutter(house.server.url) as cutter:
        cutter.cut_inserts = 5
        house.warehouse(url=cutter.url)
        house.send(4 * CHUNK)
        house.until_counted(4 * CHUNK)
        wait_until("all cuts are made", lambda: cutter.cut_inserts == 0)
        house.send(CHUNK)
        house.until_counted(5 * CHUNK)
    assert cutter.cut == 5
    house.assert_exactly(5 * CHUNK)


def test_while_clickhouse_is_away_memory_is_bounded_and_then_it_catches_up(house: House) -> None:
    limit = {"RAPPORT_WAREHOUSE_BLOCK_BYTES": "2000000", "RAPPORT_WAREHOUSE_BLOCK_RECORDS": "5000"}
    warehouse = house.warehouse(**limit)
    house.send(10)
    house.until_counted(10)
    house.server.pause()
    house.server.kill()
    before = resident_mb(warehouse)
    for _ in range(6):
        house.send(20_000)
    wait_until("it says that it is not ready", lambda: not ready(warehouse))
    largest = resident_mb(warehouse)
    seen = time.monotonic()
    wait_until("the time is over", lambda: time.monotonic() - seen > 8)  # longer than the group's session: it must stay a member
    largest = max(largest, resident_mb(warehouse))
    assert warehouse.alive
    assert largest - before < 120
    house.server.start()
    house.server.wait_ready(60)
    house.until_counted(120_010, 90)
    house.assert_exactly(120_010)
    wait_until("it is ready", lambda: ready(warehouse))


def test_warehouses_that_join_and_leave_share_the_work_and_count_once(house: House) -> None:
    first = house.warehouse()
    house.send(2 * CHUNK)
    second = house.warehouse()
    for _ in range(4):
        house.send(2 * CHUNK)
    wait_until("the second is ready", lambda: ready(second))
    first.kill()
    house.send(2 * CHUNK)
    house.until_counted(12 * CHUNK, 60)
    house.assert_exactly(12 * CHUNK)


def test_clock_records_write_nothing_and_their_offsets_are_committed(house: House) -> None:
    warehouse = house.warehouse()
    house.send(20)
    house.until_counted(20)
    parts = "SELECT count() FROM system.parts WHERE database = 'rapport' AND table = 'events'"
    before = int(house.ask(parts))
    for now in range(200):
        clock = ("clock", encode_clock(ClockRecord(0, now, now)))
        house.producer.produce(
            EVENT_RESOLVED, clock[1], partition=now % 8, headers=[("kind", b"clock"), ("cause", b"resolver|t|0|%d|0" % now)]
        )
    house.producer.flush(10)
    wait_until("nothing waits", lambda: lag(warehouse) == 0)
    assert int(house.ask(parts)) <= before
    warehouse.stop()
    assert warehouse.returncode == 0


def test_rows_are_visible_soon_after_the_log_took_them(house: House) -> None:
    warehouse = house.warehouse()
    house.send(1)
    house.until_counted(1)
    for n in range(5):
        house.send(1)
        house.until_counted(n + 2)
    metrics = httpx.get(str(warehouse.check).replace("readyz", "metrics")).text
    assert 'rapport_warehouse_rows_total{table="events"} 6.0' in metrics
    assert "rapport_warehouse_last_success_timestamp_seconds" in metrics


def lag(warehouse: Process) -> float:
    text = httpx.get(str(warehouse.check).replace("readyz", "metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("rapport_consumer_lag_records{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines) if lines else -1


def resident_mb(process: Process) -> int:
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096 // 1_000_000
