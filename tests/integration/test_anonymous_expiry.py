"""Anonymous people who never came back, on real Kafka, Redis and ClickHouse: gone from every stage, and nothing lost that history has."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.local.clickhouse import ClickHouse
from deploy.local.kafka import Kafka
from deploy.local.ports import free_port
from deploy.local.process import Process
from services.warehouse.migrate import found, migrate
from shared.adapters import clickhouse as store
from shared.adapters.store_settings import Address
from shared.contracts.changes import SEGMENT_CHANGED_DECODER, ChangeReason, SegmentChanged, Transition
from shared.contracts.digest import lines
from shared.contracts.headers import KIND, KIND_CLOCK, KIND_EXPIRED, header
from shared.contracts.profile_blob import decode_profile
from shared.contracts.redis_keys import TAGS
from shared.contracts.topics import EVENT_RECEIVED, EVENT_RESOLVED, PROFILE_CHANGED, RECORD_FAILED, SEGMENT_CHANGED
from shared.testing.histories import encoded, event, key_of
from tests.integration import api_service
from tests.integration.api_service import Api
from tests.integration.pipeline import SERVICES, Pipeline
from tests.waiting import wait_until

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

SHY = [f"shy{n}" for n in range(40)]
BACK = SHY[:5]
SEGMENT = "new_customer"


@dataclass
class House:
    """All that a person's events go through, on servers of this test alone."""

    pipeline: Pipeline
    history: store.ClickHouse
    query: Api
    sent: int = 0

    def send(self, **fields: Any) -> tuple[str, bytes]:
        self.sent += 1
        now = time.time_ns() // 1_000_000
        properties = {"revenue": 10, "currency": "EUR"}
        one = event("track", f"m{self.sent}", now, received_at=now, event="Order Completed", properties=properties, **fields)
        return key_of(one), encoded(one)

    def left(self, typed: str) -> list[str]:
        """Keys of Redis, members of indexes and timers that are left of an id."""
        with self.pipeline.client() as client:
            keys = [key.decode() for key in client.scan_iter("*", count=5000)]
            named = [key for key in keys if key.partition("}:")[2].partition(":")[2] == typed]
            sets = [key for key in keys if key.partition("}:")[2][:1] in ("i", "t")]
            return named + [key for key in sets if client.zscore(key, typed) is not None]

    def stages_of(self, typed: str) -> set[str]:
        tags = {f"{{{tag}": stage for stage, tag in TAGS.items()}
        return {tags[key.partition(":")[0]] for key in self.left(typed)}

    def events_of(self, typed: str) -> int:
        """As the live view has it."""
        blobs = [blob for stage, key, blob, _ in self.pipeline.stored() if (stage, key) == ("folder", typed)]
        return sum(decode_profile(blob).events for blob in blobs)

    def transitions(self, typed: str) -> list[tuple[Transition, ChangeReason | None]]:
        """Of one person and segment."""
        said: list[SegmentChanged] = [SEGMENT_CHANGED_DECODER.decode(one.value() or b"") for one in self.pipeline.log(SEGMENT_CHANGED)]
        return [(one.transition, one.reason) for one in said if (one.profile_id, one.segment) == (typed, SEGMENT)]

    def count(self, sql: str) -> int:
        return int(self.history.rows(sql)[0]["n"])


@pytest.fixture
def house(fresh_redis: Process, tmp_path: Path) -> Iterator[House]:
    with (
        Kafka(tmp_path / "kafka", free_port(), tmp_path / "kafka.log") as kafka,
        ClickHouse(tmp_path / "clickhouse", free_port(), tmp_path / "clickhouse.log") as clickhouse,
        Pipeline(kafka, fresh_redis, tmp_path) as pipeline,
    ):
        history = store.ClickHouse(Address(clickhouse.url))
        migrate(history, found())
        with api_service.running(kafka, pipeline.redis_url, clickhouse.url, tmp_path) as query:
            pipeline.worker("warehouse", clickhouse_url=clickhouse.url).start()
            yield House(pipeline, history, query)
        history.close()


def test_who_never_came_back_is_gone_from_every_stage_and_who_comes_back_loses_nothing_that_history_has(house: House) -> None:
    pipeline = house.pipeline
    workers = {service: pipeline.worker(service) for service in SERVICES}
    for worker in workers.values():
        worker.start()
    agrees, refuses = ({"consent": {"categoryPreferences": {"email": word}}} for word in (True, False))
    known = [house.send(anonymous_id="device", **more) for more in ({}, {"user_id": "ann"})]
    shy = [house.send(anonymous_id=one, context=agrees) for one in SHY]
    pipeline.send([*shy, *known, house.send(anonymous_id="refuses", context=refuses)])
    pipeline.wait_settled()
    wait_until("all of them have entered", lambda: all(house.transitions(f"a:{one}") for one in SHY))
    assert house.stages_of("a:shy0") == {"resolver", "folder", "segmentation", "journeys"}

    forget_all(house, workers["profile"])
    for one in SHY:
        assert house.transitions(f"a:{one}") == [(Transition.ENTERED, ChangeReason.EVENT), (Transition.LEFT, ChangeReason.EXPIRED)]
    assert (house.events_of("u:ann"), house.events_of("a:refuses")) == (2, 1)
    assert pipeline.log(RECORD_FAILED) == []

    come_back(house)
    check_history(house)
    check_refold(house)


def forget_all(house: House, profile: Process) -> None:
    """The product's own profile worker gives way to one whose sweep does not wait."""
    pipeline = house.pipeline
    profile.stop()
    sweeping = pipeline.worker("profile", module="tests.integration.sweeping_profile")
    sweeping.start()
    wait_until("nothing is left of any of them", lambda: not any(house.left(f"a:{one}") for one in SHY), 120)
    pipeline.wait_settled()
    sweeping.stop()
    asked = [one.key() for one in pipeline.log(EVENT_RECEIVED) if header(one.headers() or (), KIND) == KIND_EXPIRED]
    assert set(asked) == {f"a:{one}".encode() for one in SHY}, "neither the known nor those who refused"
    pipeline.worker("profile").start()


def come_back(house: House) -> None:
    house.pipeline.send([house.send(anonymous_id=one) for one in BACK])
    house.pipeline.wait_settled()
    wait_until("they have entered again", lambda: all(len(house.transitions(f"a:{one}")) == 3 for one in BACK))
    for one in BACK:
        assert house.events_of(f"a:{one}") == 1
    house.pipeline.send([house.send(anonymous_id=BACK[0], user_id="bob")])
    house.pipeline.wait_settled()
    assert house.events_of("u:bob") == 2


def check_history(house: House) -> None:
    """What was and what is, under the same id, and no row of an expiry."""
    wait_until("ClickHouse has every event", lambda: house.count("SELECT count() AS n FROM rapport.events FINAL") == house.sent)
    back, gone = f"a:{BACK[1]}", f"a:{SHY[-1]}"
    assert house.query.get(f"profiles/{gone}").status_code == 404
    assert house.query.get(f"profiles/{back}").json()["events"] == 1
    assert [len(list(house.query.pages(f"profiles/{one}/events"))) for one in (gone, back, "u:bob")] == [1, 2, 3]


def check_refold(house: House) -> None:
    """From an empty Redis the same people are forgotten, and nothing is said twice."""
    before = lines(house.pipeline.stored())
    topics = (EVENT_RECEIVED, EVENT_RESOLVED, SEGMENT_CHANGED, PROFILE_CHANGED)
    said = [spoken(house, topic) for topic in topics]
    with house.pipeline.client() as client:
        client.flushall()
    house.pipeline.wait_settled()
    wait_until("all stands as before", lambda: lines(house.pipeline.stored()) == before)
    assert [spoken(house, topic) for topic in topics] == said


def spoken(house: House, topic: str) -> int:
    """Records of a topic but for those of clocks."""
    return sum(header(one.headers() or (), KIND) != KIND_CLOCK for one in house.pipeline.log(topic))
