# ruff: noqa: S608 the names put into statements are made here
"""On a real ClickHouse: columns read in one pass say what they said before, for rows of before too; context and traits on asking."""

import json
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, Final

import pytest

from deploy.local.clickhouse import ClickHouse as Server
from services.warehouse import migrate as migrations
from services.warehouse.adapters.tables import ClickHouseTables
from services.warehouse.domain.rows import Record, row
from shared.adapters.clickhouse import ClickHouse
from shared.adapters.store_settings import Address
from shared.contracts.topics import EVENT_RESOLVED, MESSAGE_CHANGED, PROFILE_CHANGED, SEGMENT_CHANGED

pytestmark = pytest.mark.real
NUMBER: Final = 9
_tokens = count()

CONTEXT: Final = {
    "campaign": {"source": "news", "medium": "email", "name": "[Brand] {summer}"},
    "page": {"path": "/p/1", "url": "https://shop.example.com/p/1"},
    "device": {"type": "ios"},
    "locale": "en-GB",
    "timezone": "Europe/London",
    "library": {"name": "analytics.js", "version": "1"},
}
EVENT: Final[dict[str, Any]] = {
    "type": "track",
    "message_id": "m",
    "source_id": "shop",
    "timestamp": 1_760_000_000_001,
    "received_at": 1_760_000_000_500,
    "original_timestamp": 1_760_000_000_002,
    "sent_at": 1_760_000_000_003,
    "user_id": "1",
    "anonymous_id": "a1",
    "group_id": "g",
    "event": "Order Completed",
    "name": "n",
    "properties": {"revenue": "12.3456", "currency": "GBP", "category": "books"},
    "traits": {"plan": {"tier": 2}},
    "context": CONTEXT,
}
PLAIN: Final = (
    EVENT,
    {**EVENT, "sent_at": None, "original_timestamp": None, "user_id": None, "context": {}, "properties": {}, "traits": {}},
    {"type": "page", "message_id": 'quote " \\ 订单 \u2028', "source_id": "s", "timestamp": 1, "received_at": 2, "anonymous_id": "🛒"},
    {**EVENT, "timestamp": 10**17, "original_timestamp": -(10**17), "received_at": 2**63 - 1},
    {**EVENT, "properties": {"currency": 826}, "context": {"campaign": "none", "locale": 7, "page": None}},
    {**EVENT, "context": {"campaign": {"source": {"to": "ann@example.com"}, "medium": ["ann@example.com"], "name": "{source}"}}},
    {**EVENT, "properties": {"a.b": 1, "a": {"b": 2}}, "context": {"a": 1, "library": [{"name": "x"}]}},
)
AWKWARD: Final = (
    b"not json", b"", b"{", b"[]", b'["m"]', b"null", b'"text"', b"\x00\xff", b'{"type":"track"', b'{"message_id":7,"timestamp":"9"}',
    b'{"message_id":"m","timestamp":12345678901234567890,"sent_at":1.5}', b'{"message_id":"\\ud800"}',
    b'{"message_id":"m","message_id":"n"}',
    b'{"message_id":"deep","properties":' + b'{"a":' * 1100 + b"1" + b"}" * 1100 + b"}", json.dumps(EVENT, indent=2).encode(),
)  # fmt: skip
RAWS: Final = tuple(json.dumps(one, ensure_ascii=False).encode() for one in PLAIN) + AWKWARD


@pytest.fixture
def before(clickhouse: Server) -> Iterator[ClickHouse]:
    """The tables as the release before had them."""
    client = ClickHouse(Address(clickhouse.url))
    client.command("DROP DATABASE IF EXISTS rapport")
    migrations.migrate(client, [one for one in migrations.found() if one.number < NUMBER])
    yield client
    client.command("DROP DATABASE rapport")
    client.close()


def put(store: ClickHouse, topic: str, raws: Sequence[bytes], token: str | None = None, first: int = 0) -> None:
    made = [row(topic, 3, Record(first + nth, 1_760_000_000_123, b"u:1", raw, [])) for nth, raw in enumerate(raws)]
    rows = [one for one in made if one is not None]
    ClickHouseTables(store).insert(rows[0].table, b"".join(one.data for one in rows), token or f"block-{next(_tokens)}")


def told(store: ClickHouse, table: str, columns: str = "* EXCEPT (raw)") -> list[dict[str, Any]]:
    """What each row says, in the order of the log; `raw` may hold bytes that no JSON can."""
    return store.rows(f"SELECT hex(raw) AS bytes, {columns} FROM rapport.{table} ORDER BY _offset SETTINGS date_time_output_format = 'iso'")


def columns_of(store: ClickHouse, table: str) -> str:
    """What an insert filled before."""
    found = store.rows(f"SELECT name FROM system.columns WHERE database = 'rapport' AND table = '{table}' ORDER BY position")
    return ", ".join(row["name"] for row in found if row["name"] not in ("raw",))


def test_rows_of_before_and_rows_of_after_say_the_same(before: ClickHouse) -> None:
    columns = columns_of(before, "events")
    kept = [raw for raw in RAWS if raw]
    put(before, EVENT_RESOLVED, kept)
    said = told(before, "events", columns)
    migrations.migrate(before, migrations.found())
    assert told(before, "events", columns) == said, "rows of before"
    before.command("TRUNCATE TABLE rapport.events")
    put(before, EVENT_RESOLVED, kept)
    arrays = {raw.hex().upper() for raw in kept if raw[:1] == b"["}
    for was, now in zip(said, told(before, "events", columns), strict=True):
        if was["bytes"] in arrays:  # their members are read by place: no event is an array, and each keeps a row of its own
            assert now["message_id"] == was["message_id"]
        else:
            assert now == was


def test_copies_of_before_and_after_are_one_row_of_each_message_once_they_are_merged(before: ClickHouse) -> None:
    raws = [json.dumps({**EVENT, "message_id": f"m{nth}"}).encode() for nth in range(50)]
    put(before, EVENT_RESOLVED, raws)
    migrations.migrate(before, migrations.found())
    put(before, EVENT_RESOLVED, raws)
    asked = "SELECT count() AS n, countIf(context.locale::String = 'en-GB') AS l, countIf(locale = 'en-GB') AS c FROM rapport.events"
    assert before.rows(f"{asked} FINAL") == [{"n": 50, "l": 50, "c": 50}]
    before.command("OPTIMIZE TABLE rapport.events FINAL")
    assert before.rows(asked) == [{"n": 50, "l": 50, "c": 50}]


def test_a_block_that_was_written_before_is_not_written_again_after(before: ClickHouse) -> None:
    message = {"dispatch_id": "d", "entry_id": "e", "journey": "j", "step": "s", "profile_id": "u:1", "status": "sent", "at": 1}
    changed = {"profile_id": "u:1", "segment": "vip", "transition": "entered", "at": 1, "decided_at": 2, "version": 1}
    profile = {"profile_id": "u:1", "version": 2, "at": 1, "first_seen": 1, "last_seen": 1, "events": 1, "orders": 0}
    blocks = [(EVENT_RESOLVED, EVENT), (MESSAGE_CHANGED, message), (SEGMENT_CHANGED, changed), (PROFILE_CHANGED, profile)]
    for topic, record in blocks:
        put(before, topic, [json.dumps(record).encode()], token=f"{topic}:3:0-0")
    migrations.migrate(before, migrations.found())
    for topic, record in blocks:
        put(before, topic, [json.dumps(record).encode()], token=f"{topic}:3:0-0")
    for table in ("events", "messages", "segment_transitions", "profiles"):
        assert before.rows(f"SELECT count() AS n FROM rapport.{table}") == [{"n": 1}], table


def test_transitions_messages_and_profiles_say_the_same_as_before(before: ClickHouse) -> None:
    transition = {"profile_id": "u:1", "segment": "vip", "transition": "left", "at": 1, "decided_at": 2, "version": 4_000_000_000}
    message = {"dispatch_id": "d", "entry_id": "e", "journey": "j", "step": "s", "channel": "email", "template": "t", "at": 1}
    ended = {"status": "failed", "reason": "bounced", "provider": "p", "provider_message_id": "x", "to_masked": "a…"}
    profile = {"version": 2**63 + 1, "at": 1, "first_seen": 1, "last_seen": 2, "events": 3, "orders": 1, "user_id": "1"}
    spent = {"revenue": "99999999999999999999.1234", "currency": "GBP", "revenues": {"GBP": "1", "EUR": "2.5"}}
    known = {"anonymous_ids": ["a", "b"], "traits": {"email": {"value": "x@example.com", "at": 1}}}
    records: dict[str, tuple[str, list[dict[str, Any]]]] = {
        "segment_transitions": (SEGMENT_CHANGED, [{**transition, "by_event": "m"}, {**transition, "at": -5, "reason": "time"}]),
        "messages": (MESSAGE_CHANGED, [{**message, "status": "sent"}, {"dispatch_id": "d", **ended}]),
        "profiles": (
            PROFILE_CHANGED,
            [{**profile, **spent, **known}, {"version": 3, "revenue": "no number", "merged_into": "u:2", "traits": [1]}],
        ),
    }
    said = {}
    for table, (topic, of_table) in records.items():
        put(before, topic, [json.dumps(one).encode() for one in of_table] + [b"not json"])
        said[table] = columns_of(before, table), told(before, table, columns_of(before, table))
    migrations.migrate(before, migrations.found())
    for table, (topic, of_table) in records.items():
        columns, was = said[table]
        assert told(before, table, columns) == was, f"{table}, rows of before"
        before.command(f"TRUNCATE TABLE rapport.{table}")
        put(before, topic, [json.dumps(one).encode() for one in of_table] + [b"not json"])
        assert told(before, table, columns) == was, table


def test_what_stands_plainly_in_a_context_is_a_column_and_what_does_not_is_none(before: ClickHouse) -> None:
    names = "utm_source, utm_medium, utm_campaign, page_path, device_type, locale, time_zone, library"
    put(before, EVENT_RESOLVED, [json.dumps(EVENT).encode()])
    migrations.migrate(before, migrations.found())
    hidden = {"source": {"to": "ann@example.com"}, "medium": ["ann@example.com"], "name": "{source}"}
    put(before, EVENT_RESOLVED, [json.dumps({**EVENT, "message_id": "2", "context": {"campaign": hidden, "locale": 7}}).encode()], first=1)
    plain = {"utm_source": "news", "utm_medium": "email", "utm_campaign": "[Brand] {summer}", "page_path": "/p/1", "device_type": "ios"}
    nothing = dict.fromkeys(names.split(", "), "")
    assert before.rows(f"SELECT {names} FROM rapport.events ORDER BY _offset") == [
        plain | {"locale": "en-GB", "time_zone": "Europe/London", "library": "analytics.js"},
        nothing | {"utm_campaign": "{source}", "locale": "7"},
    ]


def test_a_migration_that_was_killed_goes_on_and_tables_that_are_made_anew_have_it_too(before: ClickHouse) -> None:
    (ours,) = [one for one in migrations.found() if one.number == NUMBER]
    put(before, EVENT_RESOLVED, [json.dumps(EVENT).encode()])
    statements = ours.statements("default", "")
    for killed_behind in range(1, len(statements)):
        for statement in statements[:killed_behind]:
            before.command(statement)
        assert before.rows("SELECT message_id, context.locale::String AS l, traits FROM rapport.events") == [
            {"message_id": "m", "l": "en-GB", "traits": EVENT["traits"]}
        ]
    migrations.migrate(before, migrations.found())
    before.command("DROP TABLE rapport.identity_conflicts")
    assert f"{NUMBER:04}_{ours.name}" in migrations.migrate(before, migrations.found())
    put(before, EVENT_RESOLVED, [json.dumps({**EVENT, "message_id": "2"}).encode()], first=1)
    found = before.rows("SELECT message_id, locale, context.locale::String AS l FROM rapport.events ORDER BY message_id")
    assert found == [{"message_id": one, "locale": "en-GB", "l": "en-GB"} for one in ("2", "m")]
    filled = "SELECT name FROM system.columns WHERE database = 'rapport' AND default_kind = 'ALIAS' ORDER BY table, name"
    assert [one["name"] for one in before.rows(filled)] == ["context", "traits", "traits"]
