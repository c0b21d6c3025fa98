# ruff: noqa: S608 statements are put together of constants of this file
"""The archive on a real ClickHouse holds what its fake says: the same rows, in the same order, to the same slots."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from random import Random

import httpx
import pytest

from deploy.local.clickhouse import ClickHouse as Server
from services.warehouse import migrate as migrations
from services.warehouse.adapters.tables import ClickHouseTables
from services.warehouse.domain.rows import Record, Table, row
from shared.adapters import row_archive
from shared.adapters.clickhouse import ClickHouse
from shared.adapters.row_archive import RowArchive
from shared.adapters.store_settings import Address
from shared.contracts.headers import CAUSE, header
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import EVENT_RECEIVED, EVENT_RESOLVED, SEGMENT_CHANGED
from shared.runtime.archived import Archive, ArchiveAway, Place, Row, What
from shared.runtime.cut import Cut
from shared.testing.archive import FakeArchive
from shared.testing.fakes import FakeLog
from shared.testing.histories import encoded, event, key_of
from shared.testing.scene import Scene
from tests.unit.test_views_rebuilt import HOUR, scene

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def store(clickhouse: Server) -> Iterator[ClickHouse]:
    client = ClickHouse(Address(clickhouse.url))
    client.command("DROP DATABASE IF EXISTS rapport")
    migrations.migrate(client, migrations.found())
    yield client
    client.close()


def empty(store: ClickHouse) -> None:
    for table in (*(table.label for table in Table), "merges_by_loser", "merges_by_append"):
        store.command(f"TRUNCATE TABLE rapport.{table}")


@pytest.fixture
def told(store: ClickHouse) -> Scene:
    """People who merge in chains, and what segmentation says of them; all of it stands in ClickHouse, some of it twice."""
    empty(store)
    told, random = scene(), Random(7)
    for number in range(120):
        who = random.randint(0, 8)
        ids = random.choice(
            (
                {"anonymous_id": f"d{who}"},
                {"anonymous_id": f"d{who}", "user_id": f"u{who % 3}"},
                {"user_id": f"u{who % 3}"},
                {"ids": {"email": f"m{who % 4}@x.org"}},
                {"ids": {"email": f"m{who % 4}@x.org"}, "anonymous_id": f"d{who}"},
            )
        )
        one = event("track", f"m{number}", properties={"text": "ä\x00\n" * 10, "bytes": "x" * random.randint(0, 500)}, **ids)
        told.log.append(EVENT_RECEIVED, key_of(one), encoded(one))
        told.log.now += random.choice((0, 1, 999, HOUR))
        if number % 10 == 0:
            told.tick(told.log.now)
            told.settle(random)
    alias = event("alias", "last", user_id="u1", previous_id="u0")
    told.log.append(EVENT_RECEIVED, key_of(alias), encoded(alias))
    told.tick(told.log.now)
    told.settle(random)
    assert told.markers("folder")
    _load(store, told.log)
    return told


def _load(store: ClickHouse, log: FakeLog) -> None:
    tables = ClickHouseTables(store)
    for topic in (EVENT_RESOLVED, SEGMENT_CHANGED):
        for partition in range(partition_count()):
            seen = set()
            for one in log.partitions[topic, partition]:
                cause = header(one.headers, CAUSE)
                made = row(topic, partition, Record(one.offset, one.timestamp, one.key or b"", one.value or b"", one.headers))
                if made is not None and cause not in seen:
                    seen.add(cause)
                    for copy in range(1 + (one.offset % 5 == 0)):
                        tables.insert(made.table, made.data, f"{topic}:{partition}:{one.offset}:{copy}")


def cut_at(log: FakeLog, share: float) -> Cut:
    topics = (EVENT_RESOLVED, SEGMENT_CHANGED)
    at = {topic: [int(share * len(log.partitions[topic, p])) for p in range(partition_count())] for topic in topics}
    return Cut(log.now, at)


async def read(archive: Archive, partition: int, cut: Cut) -> list[Row]:
    found: list[Row] = []
    after: Place | None = None
    while page := await archive.page(partition, cut, after):
        found += page
        after = page[-1].place
    return found


def fullest(told: Scene, cut: Cut) -> int:
    """The slot with the most rows."""
    return max(range(partition_count()), key=lambda one: len(asyncio.run(read(FakeArchive(told.log, 10_000), one, cut))))


@pytest.mark.parametrize("share", [0.4, 1.0])
@pytest.mark.parametrize("small", [False, True])
def test_the_rows_of_a_slot_are_those_that_the_fake_tells(
    store: ClickHouse, clickhouse: Server, told: Scene, share: float, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if small:
        for name, value in (("PAGE_ROWS", 3), ("PAGE_BYTES", 1000), ("SEARCHED", 50)):
            monkeypatch.setattr(row_archive, name, value)
    archive, cut, rows = RowArchive(Address(clickhouse.url)), cut_at(told.log, share), 0
    about = 0
    for partition in range(partition_count()):
        found = asyncio.run(read(archive, partition, cut))
        expected = asyncio.run(read(FakeArchive(told.log, 10_000), partition, cut))
        assert found == expected
        rows += len(found)
        about += asyncio.run(archive.about(partition, cut))
    archive.close()
    assert rows > 30 * share
    assert rows <= about < 2 * rows, "copies are among them"


def test_merges_of_before_the_tables_that_are_searched_are_found_in_them(store: ClickHouse, clickhouse: Server, told: Scene) -> None:
    archive, cut = RowArchive(Address(clickhouse.url)), cut_at(told.log, 1.0)
    partition = fullest(told, cut)
    before = asyncio.run(read(archive, partition, cut))
    for table in ("merges_by_loser", "merges_by_append"):
        store.command(f"DROP TABLE rapport.{table}")
    migrations.migrate(store, migrations.found())
    assert asyncio.run(read(archive, partition, cut)) == before
    assert {row.place.what for row in before} >= {What.ABSORBED, What.EVENT}
    archive.close()


def test_who_begins_again_gets_pages_as_small_as_the_first_time(
    store: ClickHouse, clickhouse: Server, told: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("PAGE_ROWS", 3), ("SEARCHED", 50)):
        monkeypatch.setattr(row_archive, name, value)
    archive, cut = RowArchive(Address(clickhouse.url)), cut_at(told.log, 1.0)
    partition = fullest(told, cut)
    first = list(asyncio.run(archive.page(partition, cut, None)))
    after = first
    for _ in range(4):
        after = list(asyncio.run(archive.page(partition, cut, after[-1].place)))
    assert len(after) > 0
    assert asyncio.run(archive.page(partition, cut, None)) == first
    assert len(first) <= 3
    archive.close()


def _others(store: ClickHouse, count: int) -> None:
    """So many people, each merged into a user who was merged into another; long ago."""
    for loser, winner, part in (("a:", "u:", 0), ("u:", "w:", 1)):
        raw = f'concat(\'{{"loser":"{loser}\', hex(sipHash64(number)), \'","winner":"{winner}\', hex(sipHash64(number)), \'"}}\')'
        columns = f"{raw}, concat('{loser}', hex(sipHash64(number))), {part}, number, toDateTime64('2026-01-01 00:00:00', 3) + number / 100"
        store.command(
            f"INSERT INTO rapport.merges (raw, profile_id, _partition, _offset, _appended_at) SELECT {columns} FROM numbers({count})"
        )


def _later(store: ClickHouse, people: int) -> None:
    """So many people of those come once more, under the id that each had first."""
    id_, when = "concat('a:', hex(sipHash64(number)))", "toDateTime64('2026-03-01 00:00:00', 3) + number"
    raw = 'concat(\'{"type":"track","message_id":"m\', toString(number), \'","anonymous_id":"x"}\')'
    columns = f"{raw}, {id_}, kafkaMurmurHash({id_}) % 8, 1000000 + number, {when}"
    store.command(
        f"INSERT INTO rapport.events (raw, profile_id, _partition, _offset, _appended_at) SELECT {columns} FROM numbers({people})"
    )


def test_what_a_page_costs_does_not_grow_with_all_that_were_ever_merged(
    store: ClickHouse, clickhouse: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in rows that ClickHouse says it has read, for the search of a page's end and for the page."""
    asked, read = ClickHouse._post, [0]

    def counted(client: ClickHouse, parameters: Mapping[str, str | int], body: bytes) -> httpx.Response:
        answer = asked(client, parameters, body)
        read[0] += int(json.loads(answer.headers["x-clickhouse-summary"])["read_rows"])
        return answer

    cut = Cut(0, {EVENT_RESOLVED: [10_000_000] * partition_count()})
    before_them = Place(1_772_323_000_000, 0, 0, 0)
    cost, keys = {}, set()
    for others in (20_000, 200_000):
        empty(store)
        _others(store, others)
        _later(store, 40)
        archive = RowArchive(Address(clickhouse.url))
        with monkeypatch.context() as patch:
            patch.setattr(ClickHouse, "_post", counted)
            read[0] = 0
            rows = asyncio.run(archive.page(slot("w:" + rows_id(store)), cut, before_them))
            cost[others] = read[0]
        keys |= {row.key[:2] for row in rows}
        archive.close()
    assert keys == {b"w:"}, "each is found under whom they became in two steps"
    assert cost[200_000] < 2 * cost[20_000]
    assert cost[200_000] < 200_000


def rows_id(store: ClickHouse) -> str:
    return str(store.rows("SELECT hex(sipHash64(toUInt64(0))) AS id")[0]["id"])


def test_what_the_warehouse_has_not_written_yet_is_waited_for(store: ClickHouse, clickhouse: Server) -> None:
    store.command("TRUNCATE TABLE rapport.progress")
    archive, cut = RowArchive(Address(clickhouse.url)), Cut(0, {EVENT_RESOLVED: [5] + [0] * (partition_count() - 1)})
    note = "INSERT INTO rapport.progress (topic, partition, generation, next, target, gap) VALUES"
    with pytest.raises(ArchiveAway, match="waiting for the warehouse"):
        asyncio.run(archive.whole(cut))
    store.command(f"{note} ('{EVENT_RESOLVED}', 0, 0, 4, 0, false)")
    with pytest.raises(ArchiveAway, match="below 5"):
        asyncio.run(archive.whole(cut))
    store.command(f"{note} ('{EVENT_RESOLVED}', 0, 0, 5, 0, false)")
    asyncio.run(archive.whole(cut))
    store.command(f"{note} ('{EVENT_RESOLVED}', 0, 7, 5, 9, true)")
    with pytest.raises(ArchiveAway):
        asyncio.run(archive.whole(cut))
    archive.close()


def test_a_clickhouse_that_does_not_answer_is_said_so() -> None:
    archive = RowArchive(Address("http://127.0.0.1:9"))
    with pytest.raises(ArchiveAway, match="ClickHouse"):
        asyncio.run(archive.page(0, Cut(0, {EVENT_RESOLVED: [1] * partition_count()}), None))
    archive.close()
