"""The page of a person's events is what FINAL of the whole table would give, copies that differ included."""

import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from deploy.local.clickhouse import ClickHouse as Server
from services.query.domain import questions
from services.warehouse import migrate as migrations
from shared.adapters.clickhouse import ClickHouse
from shared.adapters.store_settings import Address

pytestmark = pytest.mark.real
AT, DAY = 1_780_000_000_000, 86_400_000
PEOPLE = ("u:1", "u:2", "a:1")
BLOCKS, ROWS = 6, 80


@pytest.fixture
def store(clickhouse: Server) -> Iterator[ClickHouse]:
    client = ClickHouse(Address(clickhouse.url))
    client.command("DROP DATABASE IF EXISTS rapport")
    migrations.migrate(client, migrations.found())
    client.command("SYSTEM STOP MERGES rapport.events")
    yield client
    client.command("DROP DATABASE rapport")
    client.close()


def copies(draw: random.Random, offset: int) -> dict[str, Any]:
    """A row of few possible keys, so that most have copies: of other times, of other bytes, and some of another person."""
    return {
        "raw": msgspec.json.encode({"n": offset}).decode(),
        "profile_id": draw.choice(PEOPLE),
        "_partition": draw.randrange(8),
        "_offset": offset,
        "_appended_at": 0,
        "type": draw.choice(("track", "page")),
        "event": draw.choice(("Seen", "Bought")),
        "day": draw.choice(("2026-05-31", "2026-06-01")),
        "source_id": "shop",
        "message_id": f"m{draw.randrange(12)}",
        "sender": draw.choice(("u:1", "a:1")),
        "timestamp": (AT + draw.randrange(5) * DAY) / 1000,
        "received_at": AT // 1000,
    }


def test_a_page_is_what_final_of_the_whole_table_gives(store: ClickHouse) -> None:
    draw = random.Random(7)
    for block in range(BLOCKS):
        rows = [copies(draw, block * ROWS + number) for number in range(ROWS)]
        sql = f"INSERT INTO rapport.events ({', '.join(rows[0])}) VALUES "  # noqa: S608 of this test only
        store.command(sql + ", ".join(f"({', '.join(repr(value) for value in one.values())})" for one in rows))
    whole = store.rows(
        "SELECT profile_id, type, event, toUnixTimestamp64Milli(timestamp) AS at, _partition AS p, _offset AS o FROM rapport.events FINAL"
    )
    assert len(whole) < BLOCKS * ROWS / 2, "most rows are copies"
    places = [(one["at"], one["p"], one["o"]) for one in whole]
    for ids in (["u:1"], ["u:2", "a:1"], ["nobody"], [*PEOPLE, *(f"u:{n}" for n in range(10, 900))]):
        for type_, event in ((None, None), ("track", None), ("page", "Seen")):
            for after in (None, places[3], places[40]):
                wanted = sorted(
                    (
                        (one["at"], one["p"], one["o"])
                        for one in whole
                        if one["profile_id"] in ids and type_ in (None, one["type"]) and event in (None, one["event"])
                    ),
                    reverse=True,
                )
                asked = questions.events(ids, type_, event, after, 9)
                found = [(one["timestamp_ms"], one["partition"], one["offset"]) for one in store.rows(asked.sql, asked.parameters)]
                assert found == [place for place in wanted if after is None or place < after][:9]
