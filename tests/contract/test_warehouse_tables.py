# ruff: noqa: S608 the names put into statements are made here
"""The warehouse's tables on a real ClickHouse: what becomes of a record's bytes, and of those nobody expected."""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from deploy.local.clickhouse import ClickHouse as Server
from services.profile import folder_stage
from services.warehouse import migrate as migrations
from services.warehouse.adapters.tables import ClickHouseTables
from services.warehouse.domain.rows import Record, Table, row
from shared.adapters.clickhouse import ClickHouse, StoreAway, StoreRefused
from shared.adapters.store_settings import Address
from shared.contracts.profile_blob import Profile
from shared.contracts.topics import (
    DISPATCH_RECORDED,
    EVENT_RESOLVED,
    IDENTITY_CONFLICTED,
    MESSAGE_CHANGED,
    PROFILE_CHANGED,
    SEGMENT_CHANGED,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.real


BY_VIEWS = ("merges_by_winner", "merges_by_loser", "merges_by_append", "message_latest", "message_times", "message_people")
"""Tables that views fill."""


@pytest.fixture(scope="module")
def store(clickhouse: Server) -> Iterator[ClickHouse]:
    client = ClickHouse(Address(clickhouse.url))
    client.command("DROP DATABASE IF EXISTS rapport")
    migrations.migrate(client, migrations.found())
    yield client
    client.close()


@pytest.fixture(autouse=True)
def _empty(store: ClickHouse) -> None:
    for table in (*(table.label for table in Table), *BY_VIEWS):
        store.command(f"TRUNCATE TABLE rapport.{table}")


_sent = iter(range(10**9))


def put(
    store: ClickHouse,
    topic: str,
    value: Any,
    key: bytes = b"u:1",
    kind: bytes | None = None,
    token: str | None = None,
    cause: bytes | None = None,
) -> bytes:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    nth = next(_sent)
    headers = [(name, told) for name, told in (("cause", cause), ("kind", kind)) if told is not None]
    made = row(topic, 3, Record(nth, 1_760_000_000_123, key, raw, headers))
    assert made is not None
    ClickHouseTables(store).insert(made.table, made.data, token or f"token-{nth}")
    return raw


EVENT: dict[str, Any] = {
    "type": "track",
    "message_id": "m1",
    "source_id": "shop",
    "timestamp": 1_760_000_000_001,
    "received_at": 1_760_000_000_500,
    "original_timestamp": 1_760_000_000_002,
    "sent_at": 1_760_000_000_003,
    "user_id": "1",
    "anonymous_id": "a1",
    "event": "Order Completed",
    "properties": {"revenue": "12.3456", "currency": "GBP", "products": [{"sku": "x", "price": 1.5}]},
    "context": {"ip": "127.0.0.1", "library": {"name": "js"}},
    "extra": {"unknown": [1, 2]},
}


def one(store: ClickHouse, sql: str) -> dict[str, Any]:
    (row,) = store.rows(sql)
    return row


def test_an_event_becomes_columns_and_keeps_its_bytes(store: ClickHouse) -> None:
    raw = put(store, EVENT_RESOLVED, json.dumps(EVENT, indent=1).encode())
    found = one(
        store,
        "SELECT raw, profile_id, type, event, message_id, source_id, user_id, anonymous_id, toString(revenue) AS revenue, currency, "
        "toUnixTimestamp64Milli(timestamp) AS t, toUnixTimestamp64Milli(received_at) AS r, "
        "toUnixTimestamp64Milli(original_timestamp) AS o, toUnixTimestamp64Milli(sent_at) AS s, "
        "toUnixTimestamp64Milli(_appended_at) AS at, _topic, _partition, toString(day) AS day, "
        "properties, context, toString(context.library.name) AS library, traits FROM rapport.events",
    )
    assert found.pop("raw").encode() == raw
    assert found.pop("properties") == EVENT["properties"]
    assert found.pop("context") == EVENT["context"]
    assert found == {
        "profile_id": "u:1", "type": "track", "event": "Order Completed", "message_id": "m1", "source_id": "shop", "user_id": "1",
        "anonymous_id": "a1", "revenue": "12.3456", "currency": "GBP", "t": 1_760_000_000_001, "r": 1_760_000_000_500,
        "o": 1_760_000_000_002, "s": 1_760_000_000_003, "at": 1_760_000_000_123, "_topic": EVENT_RESOLVED, "_partition": 3,
        "day": "2025-10-09", "library": "js", "traits": {},
    }  # fmt: skip


def test_absent_times_are_null_and_absurd_ones_do_no_harm(store: ClickHouse) -> None:
    put(store, EVENT_RESOLVED, {**EVENT, "original_timestamp": None, "sent_at": None})
    found = one(store, "SELECT original_timestamp, sent_at, toString(day) AS day FROM rapport.events")
    assert found == {"original_timestamp": None, "sent_at": None, "day": "2025-10-09"}
    for absurd in (10**17, -(10**17), 2**63 - 1):
        put(store, EVENT_RESOLVED, {**EVENT, "message_id": str(absurd), "timestamp": absurd, "original_timestamp": absurd})
    assert one(store, "SELECT count() AS n FROM rapport.events")["n"] == 4


@pytest.mark.parametrize(
    "properties",
    [
        '{"a":1,"a":2}', '{"a.b":1,"a":{"b":2}}', "[1]", '"x"', "null", '{"x":[{"a":1},{"a":"s"},3,null]}', '{"":1}',
        '{"n":123456789012345678901234567890}', '{"a":' * 200 + "1" + "}" * 200, '{"a":"\\ud800"}', '{"a":1e400}', '{"a\\nb":"\\u0000"}',
    ],
)  # fmt: skip
def test_no_json_that_a_client_can_send_stops_an_insert(store: ClickHouse, properties: str) -> None:
    raw = put(
        store, EVENT_RESOLVED, json.dumps({**EVENT, "properties": 0}).replace('"properties": 0', f'"properties": {properties}').encode()
    )
    found = one(store, "SELECT hex(raw) AS raw, message_id, event FROM rapport.events")
    assert bytes.fromhex(found["raw"]) == raw


@pytest.mark.parametrize("raw", [b"not json", b"\x00\xff\n\t{", b"{", b'{"type":"track"'])
def test_bytes_that_are_no_json_keep_a_row_of_their_own(store: ClickHouse, raw: bytes) -> None:
    put(store, EVENT_RESOLVED, raw)
    put(store, EVENT_RESOLVED, raw)
    assert [bytes.fromhex(found["raw"]) for found in store.rows("SELECT hex(raw) AS raw FROM rapport.events FINAL")] == [raw, raw]


def test_the_same_message_twice_is_one_row_after_the_second_net(store: ClickHouse) -> None:
    put(store, EVENT_RESOLVED, EVENT)
    put(store, EVENT_RESOLVED, {**EVENT, "timestamp": EVENT["timestamp"] + 40 * 86_400_000, "sent_at": 1, "received_at": 2})
    put(store, EVENT_RESOLVED, {**EVENT, "source_id": "other"})
    found = one(store, "SELECT count() AS n, uniqExact((source_id, message_id)) AS u FROM rapport.events FINAL")
    assert found == {"n": 2, "u": 2}


def test_a_token_is_kept_on_every_table(store: ClickHouse) -> None:
    for topic in (EVENT_RESOLVED, SEGMENT_CHANGED, MESSAGE_CHANGED, PROFILE_CHANGED, IDENTITY_CONFLICTED):
        for _ in range(2):
            put(store, topic, {"same": "row"}, token=f"{topic}:0:1-1")
    for _ in range(2):
        put(store, EVENT_RESOLVED, {"loser": "a", "winner": "b", "at": 1}, kind=b"merge", token="merge:0:1-1")
    for table in Table:
        assert one(store, f"SELECT count() AS n FROM rapport.{table.label}")["n"] == 1, table


def test_transitions_messages_profiles_and_conflicts_have_their_columns(store: ClickHouse) -> None:
    put(
        store,
        SEGMENT_CHANGED,
        {
            "profile_id": "u:1",
            "segment": "vip",
            "transition": "entered",
            "at": 1000,
            "decided_at": 2000,
            "version": 3,
            "by_event": "m",
            "reason": "event",
        },
    )
    found = one(
        store,
        "SELECT profile_id, segment, transition, version, by_event, reason, toUnixTimestamp64Milli(at) AS at, "
        "toUnixTimestamp64Milli(decided_at) AS decided "
        "FROM rapport.segment_transitions FINAL",
    )
    assert found == {
        "profile_id": "u:1",
        "segment": "vip",
        "transition": "entered",
        "version": 3,
        "by_event": "m",
        "reason": "event",
        "at": 1000,
        "decided": 2000,
    }
    message = {"dispatch_id": "d", "entry_id": "e", "journey": "j", "step": "s", "profile_id": "u:1", "channel": "email", "template": "t"}
    for status, at in (("claimed", 1), ("sending", 2), ("sent", 3)):
        put(store, MESSAGE_CHANGED, {**message, "status": status, "at": at, "provider_message_id": "p"})
    last = one(
        store, "SELECT argMax(status, at) AS status, count() AS n, any(journey) AS journey FROM rapport.messages FINAL GROUP BY dispatch_id"
    )
    assert last == {"status": "sent", "n": 3, "journey": "j"}
    profile = {
        "profile_id": "u:1",
        "at": 1,
        "first_seen": 1,
        "last_seen": 2,
        "events": 3,
        "orders": 1,
        "traits": {"email": "x@example.com"},
    }
    for version, revenue in ((2, "99999999999999999999.1234"), (1, "1")):
        put(store, PROFILE_CHANGED, {**profile, "version": version, "revenue": revenue, "anonymous_ids": ["a", "b"]})
    kept = one(store, "SELECT version, toString(revenue) AS revenue, anonymous_ids, traits FROM rapport.profiles FINAL")
    assert kept == {"version": 2, "revenue": "99999999999999999999.1234", "anonymous_ids": ["a", "b"], "traits": {"email": "x@example.com"}}
    put(store, IDENTITY_CONFLICTED, {"one": "u:1", "two": "u:2", "why": "email", "at": 5})
    assert one(store, "SELECT one, two, why FROM rapport.identity_conflicts FINAL") == {"one": "u:1", "two": "u:2", "why": "email"}


def test_the_summary_of_who_was_forgotten_and_came_back_is_the_new_one_whichever_came_in_first(store: ClickHouse) -> None:
    day = 86_400_000
    old, new = Profile(events=57, last_seen=20_000 * day), Profile(events=1, last_seen=20_400 * day)
    for key, order in (("a:1", (old, new)), ("a:2", (new, old))):
        for one in order:
            summary = {"version": folder_stage.version(key, one), "last_seen": one.last_seen, "events": one.events, "orders": 0}
            put(store, PROFILE_CHANGED, {**summary, "profile_id": key, "at": one.last_seen, "first_seen": 1}, key.encode())
    assert store.rows("SELECT profile_id, events FROM rapport.profiles FINAL WHERE profile_id LIKE 'a:%' ORDER BY profile_id") == [
        {"profile_id": "a:1", "events": 1},
        {"profile_id": "a:2", "events": 1},
    ]


def test_of_two_states_of_a_message_the_later_in_the_ledger_holds_whatever_the_clocks_said(store: ClickHouse) -> None:
    message = {"dispatch_id": "d", "entry_id": "e", "journey": "j", "step": "s", "profile_id": "u:1", "channel": "email", "template": "t"}
    for status, at, place in (("sent", 1_000, 7), ("sending", 9_000, 6), ("claimed", 5_000, 5)):
        told = {**message, "status": status, "at": at}
        put(store, MESSAGE_CHANGED, told, cause=f"dispatcher|{DISPATCH_RECORDED}|3|{place}|0".encode())
    latest = "SELECT toString(status) AS status, toUnixTimestamp64Milli(at) AS at FROM rapport.message_latest FINAL"
    assert one(store, latest) == {"status": "sent", "at": 1_000}
    assert store.rows("SELECT ledger FROM rapport.messages ORDER BY ledger") == [{"ledger": 5}, {"ledger": 6}, {"ledger": 7}]
    put(store, MESSAGE_CHANGED, {**message, "dispatch_id": "old", "status": "claimed", "at": 1})
    put(store, MESSAGE_CHANGED, {**message, "dispatch_id": "old", "status": "sent", "at": 2}, cause=b"no cause that anybody knows")
    assert one(store, f"{latest} WHERE dispatch_id = 'old'") == {"status": "sent", "at": 2}, "before the ledger was kept: by instant"


def test_a_block_that_a_view_missed_reaches_it_when_the_block_is_repeated(store: ClickHouse) -> None:
    merge = {"loser": "a:1", "winner": "u:1", "at": 1}
    store.command("RENAME TABLE rapport.merges_by_winner TO rapport.hidden")
    with pytest.raises((StoreAway, StoreRefused)):
        put(store, EVENT_RESOLVED, merge, kind=b"merge", token="once")
    store.command("RENAME TABLE rapport.hidden TO rapport.merges_by_winner")
    for _ in range(2):
        put(store, EVENT_RESOLVED, merge, kind=b"merge", token="once")
    for table in ("merges", "merges_by_winner"):
        assert store.rows(f"SELECT loser, winner FROM rapport.{table}") == [{"loser": "a:1", "winner": "u:1"}], table


@pytest.mark.parametrize("long", ["", "客" * 9_000], ids=["in the URL", "in the body"])
def test_a_parameter_comes_as_it_was(store: ClickHouse, long: str) -> None:
    texts = ("a\tb\n\r", "back\\slash", "it's", '"q"', "\0", "{p0:String}", "%41&x=1", "😀" + long)
    for text in texts:
        assert store.rows("SELECT {text:String} AS found", {"text": text}) == [{"found": text}]
    asked = "SELECT {texts:Array(String)} AS texts, {numbers:Array(Int64)} AS numbers, {number:Int64} AS number"
    assert store.rows(asked, {"texts": texts, "numbers": (-1, 2**53), "number": -7}) == [
        {"texts": list(texts), "numbers": [-1, 2**53], "number": -7}
    ]


def test_chains_of_merges_resolve_to_their_root(store: ClickHouse) -> None:
    chain = [f"p{n}" for n in range(30)]
    for at, (loser, winner) in enumerate(pairwise(chain)):
        put(store, EVENT_RESOLVED, {"loser": loser, "winner": winner, "at": at}, kind=b"merge", key=loser.encode())
    put(store, EVENT_RESOLVED, {"loser": "p0", "winner": "p1", "at": 0}, kind=b"merge")  # said twice
    found = {row["loser"]: row["canonical"] for row in store.rows("SELECT loser, canonical FROM rapport.canonical_ids")}
    assert found == dict.fromkeys(chain[:-1], "p29")
    asked = "SELECT dictGetOrDefault('rapport.canonical', 'canonical', {id:String}, {id:String}) AS who"
    wait_until("the chain's end", lambda: store.rows(asked, {"id": "p0"}) == [{"who": "p29"}])
    assert store.rows(asked, {"id": "never merged"}) == [{"who": "never merged"}]


def test_migrations_run_once_and_a_changed_one_is_an_error(store: ClickHouse) -> None:
    assert migrations.migrate(store, migrations.found()) == []
    changed = [migrations.Migration(one.number, one.name, one.text + " ") for one in migrations.found()]
    with pytest.raises(migrations.MigrationError, match="0001 was changed"):
        migrations.migrate(store, changed)


def test_a_refusal_and_an_absence_are_told_apart(store: ClickHouse) -> None:
    with pytest.raises(StoreRefused) as refused:
        store.insert("rapport.nowhere", "CSV", b"1", "t")
    assert refused.value.code == 60
    absent = ClickHouse(Address("http://127.0.0.1:1"), 1)
    with pytest.raises(StoreAway):
        absent.command("SELECT 1")
    absent.close()
