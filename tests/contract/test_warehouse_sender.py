"""On a real ClickHouse: a copy of a message adds no row, a message of somebody else with the same id does; rows of before 0006 too."""

import json
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import pytest

from deploy.local.clickhouse import ClickHouse as Server
from services.ingest.domain.accept import Accepted, Frame, accept
from services.ingest.domain.limits import Limits
from services.warehouse import migrate as migrations
from services.warehouse.adapters.tables import ClickHouseTables
from services.warehouse.domain.rows import Record, Table, row
from shared.adapters.clickhouse import ClickHouse, StoreRefused
from shared.adapters.store_settings import Address
from shared.contracts.topics import EVENT_RESOLVED

pytestmark = pytest.mark.real
NOW = 1_760_000_000_123
PEOPLE: tuple[dict[str, str], ...] = (
    {"userId": "ann"},
    {"userId": "bob"},
    {"anonymousId": "ann"},
    {"userId": "ann", "anonymousId": "d1"},
    {"userId": "ann", "anonymousId": "d2"},
)
_tokens = count()


@pytest.fixture
def before(clickhouse: Server) -> Iterator[ClickHouse]:
    """The tables as the release before had them."""
    client = ClickHouse(Address(clickhouse.url))
    client.command("DROP DATABASE IF EXISTS rapport")
    migrations.migrate(client, [one for one in migrations.found() if one.number < 6])
    yield client
    client.command("DROP DATABASE rapport")
    client.close()


def by_mailbox(address: str) -> dict[str, Any]:
    return {"context": {"externalId": [{"type": "email", "id": address}]}}


def record(offset: int, sent: dict[str, Any]) -> tuple[str, bytes]:
    """The id that ingest keys an event by, and the event's row: nobody has been merged."""
    call = {"type": "track", "event": "Order Completed", "messageId": "T-1", "timestamp": "2025-10-09T08:53:20Z"} | sent
    frame = Frame(source_id="shop", received_at=NOW, new_id=lambda: "made", limits=Limits())
    accepted = accept(json.dumps(call).encode(), frame)
    assert isinstance(accepted, Accepted), accepted
    made = row(EVENT_RESOLVED, 3, Record(offset, NOW, accepted.key, accepted.value, []))
    assert made is not None
    return accepted.key.decode(), made.data


def put(store: ClickHouse, rows: Sequence[bytes], token: str | None = None) -> None:
    ClickHouseTables(store).insert(Table.EVENTS, b"".join(rows), token or f"block-{next(_tokens)}")


def senders(store: ClickHouse, where: str = "FINAL") -> list[str]:
    return [found["sender"] for found in store.rows(f"SELECT sender FROM rapport.events {where} ORDER BY sender")]  # noqa: S608 of this file


def test_one_message_id_of_different_people_is_a_row_of_each_and_a_copy_is_none(before: ClickHouse) -> None:
    migrations.migrate(before, migrations.found())
    told = [record(at, sent) for at, sent in enumerate((*PEOPLE, by_mailbox("a@example.com"), by_mailbox("b@example.com")))]
    copies = [record(100 + at, {**sent, "sentAt": "2025-10-09T09:53:20Z"}) for at, sent in enumerate(PEOPLE)]
    put(before, [data for _, data in told])
    for _, data in (*copies, *told):
        put(before, [data])
    assert senders(before) == sorted(key for key, _ in told), "the ids that ingest keys them by, and the resolver counts them under"
    before.command("OPTIMIZE TABLE rapport.events FINAL")
    assert senders(before, "") == sorted(key for key, _ in told)


def test_rows_of_before_meet_their_copies_and_a_rebuild_brings_back_what_had_been_dropped(before: ClickHouse) -> None:
    told = [record(at, sent) for at, sent in enumerate(PEOPLE)] + [
        record(10 + at, {"userId": f"u{at}", "messageId": f"m{at}"}) for at in range(50)
    ]
    put(before, [data for _, data in told])  # one block, of which one row of `T-1` is kept
    put(before, [told[0][1]])
    put(before, [told[1][1], told[20][1]])
    assert before.rows("SELECT count() AS n FROM rapport.events FINAL") == [{"n": 51}]
    migrations.migrate(before, migrations.found())
    assert len(senders(before)) == 53, "those that ClickHouse had not merged yet are there again"
    put(before, [data for _, data in told])
    assert senders(before) == sorted(key for key, _ in told)
    before.command("OPTIMIZE TABLE rapport.events FINAL")
    assert senders(before, "") == sorted(key for key, _ in told)


def test_an_insert_amid_the_migration_is_refused_and_is_in_once_when_it_is_repeated_after(before: ClickHouse) -> None:
    whole = migrations.found()
    (sender,) = [one for one in whole if one.number == 6]
    stop, add, *_ = sender.statements("default", "")
    _, data = record(0, PEOPLE[0])
    for statement in (stop, add):  # and here it is killed
        before.command(statement)
    with pytest.raises(StoreRefused) as refused:
        put(before, [data], "block")
    assert refused.value.code == 469
    migrations.migrate(before, whole)
    for _ in range(2):
        put(before, [data], "block")
    assert senders(before, "") == ["u:ann"]
    put(before, [record(1, PEOPLE[1])[1]])
    before.command("OPTIMIZE TABLE rapport.events FINAL")
    assert before.rows("SELECT count() AS n FROM system.parts WHERE database = 'rapport' AND table = 'events' AND active") == [{"n": 1}]


def test_tables_that_are_made_anew_have_the_sender_and_the_rows_that_were_left_keep_theirs(before: ClickHouse) -> None:
    migrations.migrate(before, migrations.found())
    put(before, [record(at, sent)[1] for at, sent in enumerate(PEOPLE)])
    before.command("DROP TABLE rapport.profiles")
    assert "0006_sender" in migrations.migrate(before, migrations.found())
    assert len(senders(before)) == len(PEOPLE)
    before.command("DROP TABLE rapport.events")
    migrations.migrate(before, migrations.found())
    put(before, [record(at, sent)[1] for at, sent in enumerate(PEOPLE)])
    assert len(senders(before)) == len(PEOPLE)
