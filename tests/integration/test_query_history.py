"""History on a real ClickHouse with the warehouse's own tables: pages without a gap, merges resolved, sums exact."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import httpx
import msgspec
import pytest

from deploy.local.process import Process
from deploy.local.settings import PROJECT
from shared.adapters.store_settings import Address
from shared.contracts.changes import MessageChanged, MessageStatus, SegmentChanged, Transition
from shared.contracts.events import EventType, ReceivedEvent
from shared.contracts.identity import ConflictRecord, MergeRecord
from shared.contracts.slots import slot
from shared.reading.away import HistoryAway, HistoryTooMuch
from shared.reading.history import ClickHouseHistory
from shared.reading.questions import Question
from tests.integration import api_service
from tests.integration.api_service import Api
from tests.waiting import wait_until

pytestmark = pytest.mark.real
AT = 1_780_000_000_000
"""2026-05-28 20:26:40 UTC, when it is the 29th in Shanghai."""
HOUR = 3_600_000
SOON_SECONDS = 5.0
"""The bound is a second; the rest is for a busy machine. Without the bound each of these takes 5 to 15 s."""


class Tables:
    """Writes rows as the warehouse does: the record's bytes, and where it stood."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._offset = time.time_ns() // 1000

    def put(self, table: str, record: Any, profile_id: str = "", **columns: Any) -> None:
        self._offset += 1
        row = {
            "raw": msgspec.json.encode(record).decode(),
            "profile_id": profile_id,
            "_partition": slot(profile_id),
            "_offset": self._offset,
            "_appended_at": "2026-05-28 20:26:40.000",
        } | columns
        sql = f"INSERT INTO rapport.{table} ({', '.join(row)}) FORMAT JSONEachRow"
        answer = httpx.post(self._url, params={"query": sql}, content=msgspec.json.encode(row), timeout=30)
        assert answer.status_code == 200, answer.text

    def merges(self, merged: list[tuple[str, str]]) -> None:
        sql = "INSERT INTO rapport.merges (raw, profile_id, _partition, _offset, _appended_at) FORMAT JSONEachRow"
        rows = [
            {"raw": msgspec.json.encode(MergeRecord(loser, winner, AT)).decode(), "profile_id": loser, "_appended_at": 0}
            for loser, winner in merged
        ]
        answer = httpx.post(self._url, params={"query": sql}, content=b"".join(map(msgspec.json.encode, rows)), timeout=30)
        assert answer.status_code == 200, answer.text

    def event(self, profile_id: str, at: int, event: str, properties: str = "{}", message_id: str | None = None, **more: Any) -> None:
        record = ReceivedEvent(
            type=EventType.TRACK,
            message_id=message_id or uuid.uuid4().hex,
            source_id="web",
            timestamp=at,
            received_at=at,
            original_timestamp=at,
            event=event,
            properties=msgspec.Raw(properties.encode()),
            context=msgspec.Raw(b'{"ip":"10.0.0.1","campaign":{"source":"mail"}}'),
        )
        self.put("events", record, profile_id, **more)


@pytest.fixture(scope="module")
def tables(clickhouse: Process) -> Tables:
    url: str = clickhouse.url  # type: ignore[attr-defined]
    environment = os.environ | {"RAPPORT_CLICKHOUSE_URL": url}
    done = subprocess.run(
        [sys.executable, "-m", "services.warehouse.migrate"], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Tables(url)


@pytest.fixture(scope="module")
def query(
    kafka: Process, redis_server: Process, clickhouse: Process, tables: Tables, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("query")
    with api_service.running(kafka, redis_server.url, clickhouse.url, folder) as running:  # type: ignore[attr-defined]
        yield running


def test_a_persons_events_are_paged_newest_first_without_a_gap(query: Api, tables: Tables) -> None:
    person = f"u:{uuid.uuid4().hex}"
    for n in range(25):
        tables.event(person, AT + n // 4, "Product Viewed", f'{{"n":{n},"email":"ada@example.com","nothing":null}}', f"{person}-{n}")
    tables.event(person, AT, "Order Completed")
    tables.event(person, AT + 3, "Product Viewed", "{}", f"{person}-13")  # a copy of a message counts as the one
    found = list(query.pages(f"profiles/{person}/events", limit=7, event="Product Viewed"))
    assert sorted(one["message_id"] for one in found) == sorted(f"{person}-{n}" for n in range(25))
    assert [one["timestamp"] for one in found] == sorted((one["timestamp"] for one in found), reverse=True)
    assert found[0]["properties"] == {"n": 24, "email": "ada@example.com", "nothing": None}
    assert len(list(query.pages(f"profiles/{person}/events"))) == 26
    reader = query.post("keys", {"kind": "query", "name": "reader", "scopes": ["read"]}).json()["secret"]
    masked = query.get(f"profiles/{person}/events", reader, event="Product Viewed").json()["data"][0]
    assert (masked["properties"]["email"], masked["context"]["ip"], masked["properties"]["n"]) == ("a***@example.com", "1***1", "***")


def test_events_and_messages_of_the_merged_are_those_of_the_winner(query: Api, tables: Tables) -> None:
    name = uuid.uuid4().hex
    device, mail, user = f"a:{name}", f"email:{name}@x.org", f"u:{name}"
    for person in (device, mail, user):
        tables.event(person, AT, f"Merged {name}")
        tables.put("messages", message(name + person, person, MessageStatus.SENT), person)
    for loser, winner in ((device, mail), (mail, user)):
        tables.put("merges", MergeRecord(loser, winner, AT), loser)
    assert len(query.get(f"profiles/{user}/events").json()["data"]) == 3
    assert len(query.get(f"profiles/{user}/messages").json()["data"]) == 3
    for measure, value in (("unique_people", "1"), ("count", "3")):
        (one,) = ask(query, event=f"Merged {name}", measure=measure)
        assert [point["value"] for point in one["points"]] == [value, "0", "0"]


def test_a_chain_of_merges_that_the_live_view_does_not_know_is_one_person(query: Api, tables: Tables) -> None:
    name = uuid.uuid4().hex
    chain = [f"u:{name}-{number}" for number in range(41)]
    tables.merges(list(pairwise(chain)))
    for place in (0, 20, 40):
        tables.event(chain[place], AT, f"Chained {name}")
        tables.put("messages", message(chain[place], chain[place], MessageStatus.SENT), chain[place])
    assert len(query.get(f"profiles/{chain[-1]}/events").json()["data"]) == 3
    assert len(query.get(f"profiles/{chain[-1]}/messages").json()["data"]) == 3
    (one,) = ask(query, event=f"Chained {name}", measure="unique_people")
    assert one["points"][0]["value"] == "1"


def test_several_who_went_up_in_one_who_was_merged_on_are_one_person(query: Api, tables: Tables) -> None:
    name = uuid.uuid4().hex
    devices = [f"a:{name}-{number}" for number in range(5)]
    tables.merges([*((device, f"u:{name}-x") for device in devices), (f"u:{name}-x", f"u:{name}-y"), (f"u:{name}-y", f"u:{name}-z")])
    for device in devices:
        tables.event(device, AT, f"Gathered {name}")
    (one,) = ask(query, event=f"Gathered {name}", measure="unique_people")
    assert one["points"][0]["value"] == "1"


def test_the_state_that_the_ledger_took_last_holds_whatever_the_hosts_clocks_said(query: Api, tables: Tables) -> None:
    journey, person = f"j{uuid.uuid4().hex}", f"u:{uuid.uuid4().hex}"
    for n in range(3):
        for place, (status, at) in enumerate(((MessageStatus.CLAIMED, 900), (MessageStatus.SENDING, 500), (MessageStatus.SENT, 100))):
            changed = message(f"{journey}-{n}", person, status, AT + n + at, journey)
            tables.put("messages", changed, person, ledger=10 * n + place)
    for path in ("messages", f"profiles/{person}/messages"):
        found = list(query.pages(path, limit=2, **({"journey": journey} if path == "messages" else {})))
        assert [(one["dispatch_id"], one["status"]) for one in found] == [(f"{journey}-{n}", "sent") for n in (2, 1, 0)]
    assert list(query.pages("messages", journey=journey, status="claimed")) == []


def message(dispatch_id: str, profile_id: str, status: MessageStatus, at: int = AT, journey: str = "welcome") -> MessageChanged:
    return MessageChanged(
        dispatch_id=dispatch_id,
        entry_id="e",
        journey=journey,
        step="s1",
        profile_id=profile_id,
        channel="email",
        template="t",
        status=status,
        at=at,
        to_masked="a***@x.org",
    )


def test_a_message_is_listed_once_in_its_last_state(query: Api, tables: Tables) -> None:
    journey = f"j{uuid.uuid4().hex}"
    for n in range(5):
        for step, status in enumerate((MessageStatus.CLAIMED, MessageStatus.SENDING, MessageStatus.SENT if n else MessageStatus.UNKNOWN)):
            tables.put("messages", message(f"{journey}-{n}", "u:1", status, AT + n * 10 + step, journey), "u:1")
    found = list(query.pages("messages", journey=journey, limit=2))
    assert [one["status"] for one in found] == ["sent"] * 4 + ["unknown"]
    assert [one["dispatch_id"] for one in query.pages("messages", journey=journey, status="unknown")] == [f"{journey}-0"]
    assert list(query.pages("messages", journey=journey, status="sending")) == []


def test_transitions_and_conflicts_are_listed(query: Api, tables: Tables) -> None:
    segment = query.get("segments").json()["data"][0]["key"]
    person = f"u:{uuid.uuid4().hex}"
    for n in range(6):
        transition = Transition.LEFT if n % 2 else Transition.ENTERED
        changed = SegmentChanged(profile_id=person, segment=segment, transition=transition, at=AT + n, decided_at=AT + n // 2, version=9)
        tables.put("segment_transitions", changed, person)
    found = [one for one in query.pages(f"segments/{segment}/transitions", limit=2) if one["profile_id"] == person]
    assert [one["transition"] for one in found] == ["left", "entered"] * 3
    left = [one for one in query.pages(f"segments/{segment}/transitions", transition="left") if one["profile_id"] == person]
    assert (len(left), left[0]["version"]) == (3, 9)
    for n in range(2):
        tables.put("identity_conflicts", ConflictRecord(person, "u:zzz", f"phone {n}", AT + n), person)
    (conflict,) = [one for one in query.pages("identity-conflicts", limit=1) if one["one"] == person]
    assert (conflict["two"], conflict["why"]) == ("u:zzz", "phone 1")


def ask(query: Api, **body: Any) -> Any:
    answer = query.post("queries/timeseries", {"from": "2026-05-28T00:00:00Z", "to": "2026-05-31T00:00:00Z"} | body)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def test_a_series_counts_sums_and_groups_by_the_zones_days(query: Api, tables: Tables) -> None:
    event = f"Order Completed {uuid.uuid4().hex}"
    for n, (amount, tax, currency) in enumerate((("0.1", 0.1, "EUR"), ("0.2", 0.2, "EUR"), ("1234567890.1234", 5, "CNY"))):
        tables.event(f"u:{event}{n % 2}", AT + n * 12 * HOUR, event, f'{{"tax":{tax},"currency":"{currency}"}}', revenue=amount)
    (utc,) = ask(query, event=event)
    assert [(one["at"], one["value"]) for one in utc["points"]] == [
        ("2026-05-28T00:00:00.000Z", "1"),
        ("2026-05-29T00:00:00.000Z", "2"),
        ("2026-05-30T00:00:00.000Z", "0"),
    ]
    (shanghai,) = ask(query, event=event, time_zone="Asia/Shanghai", measure="unique_people")
    assert [one["value"] for one in shanghai["points"]] == ["0", "2", "1", "0"]
    assert shanghai["points"][0]["at"] == "2026-05-27T16:00:00.000Z"
    (revenue,) = ask(query, event=event, measure="sum", property="revenue", interval="month")
    assert revenue["total"] == "1234567890.4234"
    groups = ask(query, event=event, measure="sum", property="tax", group_by="currency", interval="week")
    assert [(one["group"], one["total"]) for one in groups] == [("CNY", "5.0000"), ("EUR", "0.3000")]
    (first,) = ask(query, event=event, group_by="utm_source", groups=1, interval="hour")
    assert (first["group"], first["total"], len(first["points"])) == ("mail", "3", 72)
    assert [one["total"] for one in ask(query, event="no such event")] == ["0"]


def test_status_tells_when_rows_last_reached_clickhouse(query: Api, tables: Tables) -> None:
    tables.event("u:1", AT, "Order Completed")
    warehouse = query.get("system/status").json()["warehouse"]
    assert warehouse["events"] >= 1
    flushed = datetime.fromisoformat(warehouse["last_flush"])
    assert flushed.tzinfo == UTC


@pytest.mark.parametrize(("store", "unknown"), [("clickhouse", 401), ("kafka", 503)])
def test_a_store_that_stands_still_is_named_at_once_and_stalls_nothing_else(
    query: Api, store: str, unknown: int, request: pytest.FixtureRequest
) -> None:
    server: Process = request.getfixturevalue(store)
    reader = {"authorization": f"Bearer {query.key}"}
    server.pause()
    try:
        with httpx.Client(base_url=query.url, headers=reader, timeout=SOON_SECONDS) as client:
            for _ in range(3):
                ready, status = client.get("/readyz"), client.get("/api/v1/system/status")
                assert (ready.status_code, ready.json()["parts"][store]) == (200, "does not answer")
                assert [name for name, told in status.json()["stores"].items() if not told["answers"]] == [store]
            assert client.get("/api/v1/segments").status_code == 200
            assert client.get("/api/v1/segments", headers={"authorization": "Bearer qk_nobody"}).status_code == unknown
    finally:
        server.resume()
    wait_until("all answer again", lambda: query.get("system/status").json()["stores"][store]["answers"])


async def test_a_question_that_asks_too_much_is_told_apart_from_a_server_that_is_away(clickhouse: Process, tables: Tables) -> None:
    history = ClickHouseHistory(Address(clickhouse.url), 1, 1000, 64)  # type: ignore[attr-defined]
    try:
        for sql in ("SELECT number FROM numbers(2000)", "SELECT count() FROM numbers(1000000000000)"):
            with pytest.raises(HistoryTooMuch):
                await history.rows(Question("much", sql, {}))
        with pytest.raises(HistoryAway):
            await history.rows(Question("early", "SELECT 1 FROM rapport.not_there_yet", {}))
        found = await history.rows(Question("bound", "SELECT {a:String} AS a", {"a": "'; DROP TABLE x --"}))
        assert found == [{"a": "'; DROP TABLE x --"}]
    finally:
        history.close()
