"""A real ClickHouse that loses rows: noticed within seconds, and back after an order, equal to the event."""

import shutil
import time
from collections.abc import Callable

import msgspec
import pytest
from confluent_kafka import Producer

from shared.contracts.rebuilds import RebuildChanged, View
from shared.contracts.topics import REBUILD_CHANGED
from tests.integration.test_warehouse_exactly_once import House, broker, house, not_ready
from tests.waiting import wait_until

__all__ = ["broker", "house"]
pytestmark = pytest.mark.real
SENT = 600


def noted(house: House) -> bool:
    """Whether the warehouse has looked since rows came: it notes a new partition of a table within seconds."""
    there = (
        "SELECT partition_id AS part, toInt64(min(min_block_number)) AS first FROM system.parts"
        " WHERE database = 'rapport' AND table = 'events' AND active AND rows > 0 GROUP BY part"
    )
    known = "SELECT part, toInt64(first) AS first FROM rapport.kept FINAL WHERE table = 'events' AND NOT gone"
    found = house.ask(f"SELECT count() FROM ({there}) AS there ANTI LEFT JOIN ({known}) AS known USING (part, first)")  # noqa: S608
    return int(found) == 0


def order(house: House) -> None:
    now = time.time_ns() // 1_000_000
    told = RebuildChanged(id=str(now), view=View.WAREHOUSE, generation=now, asked_at=now, asked_by="test")
    producer = Producer({"bootstrap.servers": house.broker.bootstrap, "acks": "all"})
    producer.produce(REBUILD_CHANGED, msgspec.json.encode(told), told.id, partition=0)
    assert producer.flush(30) == 0


def emptied(house: House) -> None:
    house.server.kill()
    shutil.rmtree(house.folder / "clickhouse")
    house.server.start()
    house.server.wait_ready()
    house.migrate()


def older(house: House) -> None:
    """The copy of before the last events is put back."""
    house.server.kill()
    shutil.rmtree(house.folder / "clickhouse")
    shutil.copytree(house.folder / "copy", house.folder / "clickhouse", symlinks=True)
    house.server.start()
    house.server.wait_ready()


LOSSES: dict[str, Callable[[House], object]] = {
    "rows were dropped from ClickHouse: events": lambda house: house.ask("TRUNCATE TABLE rapport.events"),
    "lost tables: events, merges": lambda house: [house.ask(f"DROP TABLE rapport.{table}") for table in ("events", "merges")],
    "too early": older,
    "emptied": emptied,
}


def test_whatever_is_lost_is_noticed_and_an_order_brings_it_back(house: House) -> None:
    warehouse = house.warehouse()
    house.send(SENT // 2)
    house.until_counted(SENT // 2)
    house.ask("DELETE FROM rapport.events WHERE message_id = 'm7' SETTINGS mutations_sync = 2, lightweight_deletes_sync = 2")
    house.server.kill()
    shutil.copytree(house.folder / "clickhouse", house.folder / "copy", symlinks=True)
    house.server.start()
    house.server.wait_ready()
    wait_until("it is ready: a DELETE is no loss", lambda: not not_ready(warehouse))
    house.send(SENT // 2)
    house.until_counted(SENT - 1)
    for words, lose in LOSSES.items():
        wait_until("what there is has been noted", lambda: noted(house))
        lose(house)
        wait_until(lambda words=words: f"{words}: {not_ready(warehouse)}", lambda words=words: words in not_ready(warehouse))  # type: ignore[misc]
        assert "rapport rebuild warehouse" in not_ready(warehouse)
        order(house)
        wait_until("the table is there", lambda: house.ask("EXISTS TABLE rapport.events") == "1")
        house.until_counted(SENT)
        wait_until(lambda: f"it is whole again: {not_ready(warehouse)}", lambda: not not_ready(warehouse))
        assert house.counts()[1:] == (SENT, SENT)
    house.send(10)
    house.until_counted(SENT + 10)
    assert house.counts()[1:] == (SENT + 10, SENT + 10)
