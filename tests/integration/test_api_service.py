"""The API on real Kafka and Redis: keys, people, members, failures, and what it says when a server or one of its processes is gone."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from deploy.local.ports import HOST, free_port
from deploy.local.process import Process
from shared.contracts.failed import FAILED_ENCODER, FailedRecord, FailureReason
from shared.contracts.link_blob import Links, encode_links
from shared.contracts.membership_blob import members_index
from shared.contracts.profile_blob import Profile, encode_profile, encode_recent
from shared.contracts.redis_keys import index_key, meta_key, side_key, state_key
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import EVENT_RESOLVED, FOLDER_REPLAYED, RECORD_FAILED
from shared.runtime.envelope import Entry, close_entry
from tests.integration import api_service, ingest_service
from tests.integration.api_service import Api
from tests.waiting import wait_until

pytestmark = pytest.mark.real
AT = 1_780_000_000_000
TOKEN = "internal token of the tests"


@pytest.fixture(scope="module")
def query(kafka: Process, redis_server: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A query service whose ClickHouse is away."""
    nowhere = f"http://{HOST}:{free_port()}"
    with api_service.running(kafka, redis_server.url, nowhere, tmp_path_factory.mktemp("query")) as running:  # type: ignore[attr-defined]
        yield running


@pytest.fixture(scope="module")
def live(redis_server: Process) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_server.url) as client:  # type: ignore[attr-defined]
        yield client


def stored(blob: bytes, winner: str | None = None) -> bytes:
    entry: Entry[bytes] = Entry()
    entry.winner = winner
    return close_entry(entry, blob)


def test_a_person_is_found_through_links_and_markers(query: Api, live: "redis.Redis") -> None:
    name = uuid.uuid4().hex
    user, device = f"u:{name}", f"a:{name}"
    live.set(state_key("folder", user), stored(encode_profile(Profile(events=2, first_seen=AT, last_seen=AT, user_ids={name: AT}))))
    live.set(state_key("folder", device), stored(b"", winner=user))
    live.set(state_key("resolver", device), stored(encode_links(Links(forward=user, had=True))))
    live.zadd(side_key("folder", user), {encode_recent(f"m{n}", "track", "Product Viewed", 0, n): AT + n for n in range(3)})
    for answer in (query.get(f"profiles/{device}"), query.get("profiles:lookup", anonymous_id=name)):
        assert (answer.status_code, answer.json()["profile_id"]) == (200, user)
    recent = query.get(f"profiles/{device}/events:recent").json()["data"]
    assert [one["message_id"] for one in recent] == ["m2", "m1", "m0"]
    assert query.get("profiles:lookup", user_id="nobody at all").status_code == 404


def test_members_are_paged_over_all_slots_while_some_leave(query: Api, live: "redis.Redis") -> None:
    segment = query.get("segments").json()["data"][0]["key"]
    people = [f"u:{uuid.uuid4().hex}" for _ in range(1500)]
    for n, person in enumerate(people):
        live.zadd(index_key("segmentation", slot(person), members_index(segment)), {person: AT + n % 3})
    try:
        assert query.get(f"segments/{segment}").json()["size"] == len(people)
        first = query.get(f"segments/{segment}/members", limit=400).json()
        last = first["data"][-1]["profile_id"]
        live.zrem(index_key("segmentation", slot(last), members_index(segment)), last)
        rest = query.get(f"segments/{segment}/members", limit=1000, cursor=first["next_cursor"]).json()
        more = query.get(f"segments/{segment}/members", limit=1000, cursor=rest["next_cursor"]).json()
        found = [one["profile_id"] for page in (first, rest, more) for one in page["data"]]
        assert (sorted(found), more["next_cursor"]) == (sorted(people), None)
        assert [one["since"] for page in (first, rest, more) for one in page["data"]] == sorted(
            one["since"] for page in (first, rest, more) for one in page["data"]
        )
    finally:
        for partition in range(partition_count()):
            live.delete(index_key("segmentation", partition, members_index(segment)))


def test_a_key_made_over_the_api_outlives_the_process_and_a_revoked_one_does_not(query: Api) -> None:
    made = query.post("keys", {"kind": "query", "name": "reports", "scopes": ["read"]}).json()
    gone = query.post("keys", {"kind": "query", "name": "gone", "scopes": ["read"]}).json()
    assert query.get("segments", made["secret"]).status_code == 200
    assert query.get("keys", made["secret"]).status_code == 403
    assert query.delete(f"keys/{gone['id']}").status_code == 204
    assert query.get("segments", gone["secret"]).status_code == 401
    query.stop()
    query.start()
    assert query.get("segments", made["secret"]).status_code == 200
    assert query.get("segments", gone["secret"]).status_code == 401
    assert query.get("segments", "qk_stranger").status_code == 401


def test_a_dead_letter_is_replayed_into_the_failed_stages_own_topic(query: Api) -> None:
    person = f"u:{uuid.uuid4().hex}"
    letter = FailedRecord(
        stage="folder",
        topic=EVENT_RESOLVED,
        partition=slot(person),
        offset=7,
        reason=FailureReason.HANDLER_FAILED,
        detail="ValueError",
        failed_at=AT,
        key=person.encode(),
        value=b'{"type":"track"}',
        headers=[("cause", b"resolver|x|0|1|0"), ("merged_from", b"a:1")],
    )
    producer = Producer({"bootstrap.servers": query.bootstrap})
    producer.produce(RECORD_FAILED, FAILED_ENCODER.encode(letter), person, partition=slot(person))
    assert producer.flush(30) == 0
    found = next(one for one in query.pages("dead-letters", stage="folder") if one["key"] == person)
    assert (found["reason"], found["value"]["text"]) == ("handler_failed", '{"type":"track"}')
    assert query.post("dead-letters:replay", {"ids": [found["id"]]}).json()["data"][0]["replayed"] is True
    record = last_record(query.bootstrap, FOLDER_REPLAYED, slot(person))
    assert (record.key(), record.value()) == (person.encode(), b'{"type":"track"}')
    assert dict(record.headers()) == {
        "merged_from": b"a:1",
        "replay_of": found["id"].encode(),
        "origin": f"{EVENT_RESOLVED}|{slot(person)}|7".encode(),
    }


def last_record(bootstrap: str, topic: str, partition: int) -> Any:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "query-tests", "enable.auto.commit": False})
    try:
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
        consumer.assign([TopicPartition(topic, partition, end - 1)])
        (message,) = consumer.consume(1, 20)
        assert message.error() is None
        return message
    finally:
        consumer.close()


def test_a_rejected_event_goes_through_ingest_again_and_counts_once(kafka: Process, redis_server: Process, tmp_path: Path) -> None:
    nowhere = f"http://{HOST}:{free_port()}"
    with ingest_service.running(kafka, tmp_path, internal_token=TOKEN, max_event_bytes=400) as strict:
        event = {"type": "track", "userId": "ada", "event": "Order Completed", "properties": {"note": "x" * 500}}
        assert strict.post({"batch": [event, {"type": "nonsense"}]}).status_code == 200
        wait_until("both are rejected", lambda: len(strict.rejected()) == 2)
        source, received = strict.source, strict
        with ingest_service.running(kafka, tmp_path, internal_token=TOKEN) as wide:
            settings = {"ingest_url": wide.url, "internal_token": TOKEN}
            with api_service.running(kafka, redis_server.url, nowhere, tmp_path, **settings) as query:  # type: ignore[attr-defined]
                rejected = {one["reason"]: one for one in query.pages("rejected-events", source_id=source)}
                assert set(rejected) == {"event_too_large", "unknown_type"}
                ids = [rejected["event_too_large"]["id"], rejected["unknown_type"]["id"]]
                for _ in range(2):
                    outcomes = query.post("rejected-events:replay", {"ids": ids}).json()["data"]
                    assert [one["replayed"] for one in outcomes] == [True, False]
                logged = received.wait_for(1)
                assert len({one.event.message_id for one in logged}) == 1
                assert logged[0].event.user_id == "ada"


def test_status_reads_fences_and_ends(query: Api, live: "redis.Redis") -> None:
    name = meta_key("folder", 0)
    before = live.dump(name)
    live.hset(name, mapping={"seq": "3", f"f|{EVENT_RESOLVED}": "0", "rb": "1"})
    try:
        status = wait_until("the stages", lambda: (told := query.get("system/status").json())["stages"] and told)
        folder = next(one for one in status["stages"] if one["stage"] == "folder")
        assert (folder["started"], folder["rebuilding"], status["rebuilding"]) == (True, True, True)
        assert folder["inputs"][0]["topic"] == EVENT_RESOLVED
        assert status["stores"] == {"redis": {"answers": True}, "kafka": {"answers": True}, "clickhouse": {"answers": False}}
    finally:
        live.delete(name)
        if before:
            live.restore(name, 0, before)


def test_without_clickhouse_only_history_is_missing(query: Api) -> None:
    for path in ("profiles/u:1/events", "profiles/u:1/messages", "messages", "identity-conflicts"):
        answer = query.get(path)
        assert (answer.status_code, answer.json()["code"]) == (503, "history_unavailable"), path
        assert answer.headers["retry-after"]
    assert query.get("segments").status_code == 200


@pytest.mark.parametrize(("gone", "its", "others"), [("control", "keys", "segments"), ("query", "segments", "keys")])
def test_a_process_that_is_killed_takes_only_its_own_paths_along_and_brings_them_back(query: Api, gone: str, its: str, others: str) -> None:
    assert [query.get(path).status_code for path in (its, others)] == [200, 200]
    query.parts[gone].kill()
    answer = query.get(its)
    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0
    assert query.get(others).status_code == 200
    ready = httpx.get(f"{query.url}/readyz")
    assert (ready.status_code, ready.json()["parts"][gone]) == (503, "does not answer")
    query.start()
    assert query.get(its).status_code == 200


def test_redis_may_go_and_come_back(kafka: Process, fresh_redis: Process, tmp_path: Path) -> None:
    nowhere = f"http://{HOST}:{free_port()}"
    with api_service.running(kafka, fresh_redis.url, nowhere, tmp_path) as query:  # type: ignore[attr-defined]
        assert query.get("segments").status_code == 200
        fresh_redis.kill()
        answer = query.get("segments")
        assert (answer.status_code, answer.json()["code"]) == (503, "live_unavailable")
        fresh_redis.start()
        fresh_redis.wait_ready()
        wait_until("answers again", lambda: query.get("segments").status_code == 200)
