"""Live views destroyed when the log has lost its beginning, on real Kafka, Redis and ClickHouse: back to the event, nothing said again."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from deploy.local.kafka import Kafka
from deploy.local.ports import free_port
from deploy.local.process import Process
from services.warehouse.migrate import found, migrate
from shared.adapters.clickhouse import ClickHouse
from shared.adapters.store_settings import Address
from shared.contracts.changes import MESSAGE_REQUESTED_DECODER
from shared.contracts.digest import lines
from shared.contracts.headers import CAUSE, header
from shared.contracts.rebuilds import RebuildChanged, View
from shared.contracts.redis_keys import TAGS
from shared.contracts.slots import partition_count
from shared.contracts.topics import (
    EVENT_RESOLVED,
    JOURNEY_MOVED,
    MEMBERSHIP_MOVED,
    MESSAGE_REQUESTED,
    PROFILE_CHANGED,
    PROFILE_MOVED,
    REBUILD_CHANGED,
    SEGMENT_CHANGED,
    TURN_RECORDED,
)
from tests.integration.pipeline import Pipeline, demo_events, in_an_hour_of_today
from tests.waiting import wait_until

pytestmark = pytest.mark.real
SENT = 3000
AGED = (EVENT_RESOLVED, PROFILE_MOVED, MEMBERSHIP_MOVED, JOURNEY_MOVED, TURN_RECORDED)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Kafka]:
    with Kafka(tmp_path / "kafka-data", free_port(), tmp_path / "kafka.log") as made:
        yield made


def age(bootstrap: str, until_ms: int) -> int:
    """What is older than `until_ms` leaves the log, but for the last record of a partition. Answers how many of event.resolved went."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    where = [TopicPartition(topic, partition) for topic in AGED for partition in range(partition_count())]

    def offsets(spec: OffsetSpec) -> dict[tuple[str, int], int]:
        asked = admin.list_offsets(dict.fromkeys(where, spec))
        return {(tp.topic, tp.partition): told.result(30).offset for tp, told in asked.items()}

    ends, firsts = offsets(OffsetSpec.latest()), offsets(OffsetSpec.for_timestamp(until_ms))
    goes = {at: min(firsts[at] if firsts[at] >= 0 else end, end - 1) for at, end in ends.items()}
    for told in admin.delete_records([TopicPartition(*at, offset) for at, offset in goes.items() if offset > 0]).values():
        told.result(30)
    return sum(offset for (topic, _), offset in goes.items() if topic == EVENT_RESOLVED)


def order(bootstrap: str, view: View) -> int:
    now = time.time_ns() // 1_000_000
    told = RebuildChanged(id=f"{now:016x}", view=view, generation=now, asked_at=now, asked_by="test")
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    producer.produce(REBUILD_CHANGED, msgspec.json.encode(told), told.id, partition=0)
    assert producer.flush(30) == 0
    return now


def everything_said(pipeline: Pipeline) -> dict[str, set[bytes | str | None]]:
    """What others hear of the views, each thing once: what is told again under its cause is dropped by its readers; a message that is
    asked for again under its id, as happens where its timer lies about the cut, is not sent again."""
    said: dict[str, set[bytes | str | None]] = {
        topic: {header(one.headers() or (), CAUSE) for one in pipeline.log(topic)} for topic in (PROFILE_CHANGED, SEGMENT_CHANGED)
    }
    asked = (MESSAGE_REQUESTED_DECODER.decode(one.value() or b"") for one in pipeline.log(MESSAGE_REQUESTED))
    return said | {MESSAGE_REQUESTED: {one.dispatch_id for one in asked}}


def back(pipeline: Pipeline, stage: str, generation: int) -> bool:
    """Whether every slot of a stage has done what was ordered, and some have read ClickHouse for it."""
    metas = pipeline.metas(stage)
    whole = all(meta.generation >= generation and meta.seq and not meta.rebuilding for meta in metas)
    return whole and any(meta.cut is not None and meta.cut.done for meta in metas)


def test_views_are_back_where_the_log_has_lost_their_beginning(
    broker: Kafka, fresh_redis: Process, clickhouse: Process, tmp_path: Path
) -> None:
    url: str = clickhouse.url  # type: ignore[attr-defined]
    client = ClickHouse(Address(url))
    client.command("DROP DATABASE IF EXISTS rapport")
    migrate(client, found())
    with Pipeline(broker, fresh_redis, tmp_path) as pipeline:
        workers = [
            pipeline.worker("profile", clickhouse_url=url),
            pipeline.worker("segmentation", clickhouse_url=url),
            pipeline.worker("messaging", clickhouse_url=url, messaging_parts="journeys"),
            pipeline.worker("warehouse", clickhouse_url=url),
        ]
        for worker in workers:
            worker.start()
        events = demo_events(SENT, in_an_hour_of_today())
        pipeline.send(events[: SENT // 2])
        pipeline.wait_settled()
        until = time.time_ns() // 1_000_000
        pipeline.send(events[SENT // 2 :])
        pipeline.wait_settled()
        wait_until("all rows are in ClickHouse", lambda: client.command("SELECT count() FROM rapport.events").strip() == str(SENT), 90)
        said = everything_said(pipeline)
        before = lines(pipeline.stored())
        assert age(broker.bootstrap, until) > SENT // 3
        with pipeline.client() as redis:
            redis.delete(*redis.scan_iter("{pro:*}:*", count=5000))  # all of the folder's: nobody has to order anything
        wait_until("the folder is back", lambda: back(pipeline, "folder", 0), 180)
        for view, stage in ((View.SEGMENTATION, "segmentation"), (View.MESSAGING, "journeys")):
            with pipeline.client() as redis:
                redis.delete(*list(redis.scan_iter(f"{{{TAGS[stage]}:*}}:s:*", count=5000))[::2])
            generation = order(broker.bootstrap, view)
            wait_until(f"{view.value} is rebuilt", partial(back, pipeline, stage, generation), 180)
        pipeline.wait_settled()
        after = lines(pipeline.stored())
        assert sorted(set(after) ^ set(before))[:4] == []
        assert after == before
        assert everything_said(pipeline) == said
    client.close()
