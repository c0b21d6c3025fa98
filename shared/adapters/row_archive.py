# ruff: noqa: S608 statements are put together of constants of this file; values go as parameters
"""The warehouse's rows as an archive: what a slot reads below its cut (shared/runtime/archived.py), page by page."""

import asyncio
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from shared.adapters.clickhouse import ClickHouse, StoreAway, StoreRefused
from shared.adapters.store_settings import Address
from shared.contracts.kept_rows import ADOPTED, PROGRESS, Noted, latest
from shared.contracts.slots import partition_count
from shared.contracts.topics import EVENT_RESOLVED, SEGMENT_CHANGED
from shared.runtime.archived import ARCHIVED, NEVER, ArchiveAway, Place, Row, What
from shared.runtime.cut import Cut

T = TypeVar("T")
PAGE_ROWS: Final = 1000
PAGE_BYTES: Final = 4 << 20
PLACES: Final = 50_000
"""Rows that one search for the bounds of pages covers: it reads narrow columns, but of all that is left."""
TIMEOUT_S: Final = 600.0
LAST: Final = Place(NEVER, 0, 0, 0)

_PLACE: Final = "toUnixTimestamp64Milli(_appended_at)"
_BELOW: Final = "_offset < {events:Array(Int64)}[_partition + 1]"
_SLOT: Final = "kafkaMurmurHash(%s) %% {count:UInt16} = {slot:UInt16}"
_SPAN: Final = (
    "_appended_at >= fromUnixTimestamp64Milli({from:Int64}) AND _appended_at <= fromUnixTimestamp64Milli({to:Int64}) "
    "AND (at, what, part, place) > ({from:Int64}, {from_what:UInt8}, {from_part:UInt16}, {from_place:Int64}) "
    "AND (at, what, part, place) <= ({to:Int64}, {to_what:UInt8}, {to_part:UInt16}, {to_place:Int64})"
)
_MERGES: Final = f"SELECT loser, winner FROM rapport.merges WHERE {_BELOW}"
ROOTS: Final = f"""WITH RECURSIVE chain AS
(
    SELECT loser, winner, 1 AS steps FROM ({_MERGES})
    UNION ALL
    SELECT chain.loser AS loser, further.winner AS winner, chain.steps + 1 AS steps
    FROM chain INNER JOIN ({_MERGES}) AS further ON further.loser = chain.winner
    WHERE chain.steps < 999
),
roots AS (SELECT loser, argMax(winner, steps) AS root FROM chain GROUP BY loser)
"""
"""Who somebody became by the merges below the cut, and by no other."""
_ROOT: Final = "if(roots.root = '', rows.profile_id, roots.root)"


def _rows(what: What, table: str, key: str, value: str, where: str, joined: str = "", columns: str = "") -> str:
    wide = f", {key} AS key, {value} AS value" if columns else ""
    return (
        f"SELECT {_PLACE} AS at, toUInt8({what.value}) AS what, _partition AS part, _offset AS place{wide} "
        f"FROM rapport.{table} AS rows {joined} WHERE {where} AND {_SPAN}"
    )


def statement(topics: Sequence[str], wide: bool) -> str:
    """All rows of a slot in the span of two places; `wide`: with key and value. Copies of a row come once."""
    columns = "wide" if wide else ""
    left = "LEFT JOIN roots ON roots.loser = rows.profile_id"
    of_slot = _SLOT % _ROOT
    parts = []
    if EVENT_RESOLVED in topics:
        parts = [
            _rows(What.MARKER, "merges", "rows.loser", "rows.winner", f"_partition = {{slot:UInt16}} AND {_BELOW}", "", columns),
            _rows(
                What.ABSORBED,
                "merges",
                "roots.root",
                "rows.loser",
                f"{_BELOW} AND {_SLOT % 'roots.root'}",
                "INNER JOIN roots ON roots.loser = rows.loser",
                columns,
            ),
            _rows(What.EVENT, "events", _ROOT, "rows.raw", f"{_BELOW} AND {of_slot}", left, columns),
        ]
    if SEGMENT_CHANGED in topics:
        below = _BELOW.replace("{events:", "{transitions:")
        parts.append(_rows(What.TRANSITION, "segment_transitions", _ROOT, "rows.raw", f"{below} AND {of_slot}", left, columns))
    return f"({' UNION ALL '.join(parts)})"


_ORDER: Final = "ORDER BY at, what, part, place"
_ONCE: Final = f"{_ORDER} LIMIT 1 BY at, what, part, place"


def bounds_sql(topics: Sequence[str]) -> str:
    """The last place of each page among the next `PLACES` rows."""
    nearest = f"SELECT at, what, part, place FROM {statement(topics, False)} {_ONCE} LIMIT {PLACES}"
    counted = f"SELECT *, row_number() OVER ({_ORDER}) AS nth, count() OVER () AS total FROM ({nearest})"
    return f"{ROOTS} SELECT at, what, part, place FROM ({counted}) WHERE nth % {PAGE_ROWS} = 0 OR nth = total {_ORDER}"


def page_sql(topics: Sequence[str]) -> str:
    """The rows up to the end of a page, as many as PAGE_BYTES hold; the first in any case."""
    once = f"SELECT * FROM {statement(topics, True)} {_ONCE}"
    window = f"OVER ({_ORDER} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    weighed = f"SELECT *, sum(length(key) + length(value)) {window} AS bytes, row_number() {window} AS nth FROM ({once})"
    return (
        f"{ROOTS} SELECT at, what, part, place, base64Encode(key) AS key, base64Encode(value) AS value FROM ({weighed}) "
        f"WHERE bytes <= {PAGE_BYTES} OR nth = 1 {_ORDER}"
    )


class _Way(NamedTuple):
    """How far somebody has come below a cut, and where the next pages end."""

    cut: Cut
    start: Place
    ends: list[Place]


class RowArchive:
    """As Archive. One question at a time, so that pages of one slot only are in memory."""

    def __init__(self, where: Address) -> None:
        """Connects at the first question."""
        self._store = ClickHouse(where, TIMEOUT_S)
        self._asking = asyncio.Lock()
        self._ways: dict[tuple[int, str], _Way] = {}

    async def whole(self, cut: Cut) -> None:
        noted = latest(Noted(**row) for row in await self._ask(lambda: self._store.rows(PROGRESS)))
        adopted = (ADOPTED, 0) in noted
        for topic, offsets in cut.at.items():
            for partition, offset in enumerate(offsets if topic in ARCHIVED else ()):
                one = noted.get((topic, partition))
                if one is None and (adopted or not offset):
                    continue
                come = 0 if one is None else min(one.next, one.next if one.next >= one.target else 0)
                if come < offset:
                    raise ArchiveAway(f"ClickHouse has not all rows of {topic}[{partition}] below {offset} yet: waiting for the warehouse")

    async def page(self, partition: int, cut: Cut, after: Place | None) -> Sequence[Row]:
        topics = [topic for topic in cut.at if topic in ARCHIVED]
        start = after or Place(0, 0, 0, -1)
        who = (partition, ",".join(topics))
        way = self._ways.get(who)
        # Who begins again must not get all that lies before the first known end in one page.
        known = way.ends if way is not None and way.cut == cut and way.start <= start else []
        while True:
            while known and known[0] <= start:
                del known[0]
            self._ways[who] = _Way(cut, start, known)
            if not known:
                known += [_place(row) for row in await self._rows(bounds_sql(topics), partition, cut, start, LAST)]
                if not known:
                    return []
            found = await self._rows(page_sql(topics), partition, cut, start, known[0])
            if found:
                return [Row(_place(row), b64decode(row["key"]), b64decode(row["value"])) for row in found]
            start = known[0]  # what the search found has been deleted since

    async def _rows(self, sql: str, partition: int, cut: Cut, start: Place, last: Place) -> list[dict[str, Any]]:
        parameters: dict[str, str | int] = {"slot": partition, "count": partition_count(), "events": _array(cut, EVENT_RESOLVED)}
        parameters["transitions"] = _array(cut, SEGMENT_CHANGED)
        for name, place in (("from", start), ("to", last)):
            parameters |= {name: place.at, f"{name}_what": place.what, f"{name}_part": place.partition, f"{name}_place": place.offset}
        return await self._ask(lambda: self._store.rows(sql, parameters))

    async def _ask(self, question: Callable[[], T]) -> T:
        async with self._asking:
            try:
                return await asyncio.to_thread(question)
            except (StoreAway, StoreRefused) as away:
                raise ArchiveAway(f"ClickHouse is asked for what the log no longer has: {away}") from away

    def close(self) -> None:
        """Let go of the connections."""
        self._store.close()


def _array(cut: Cut, topic: str) -> str:
    return f"[{','.join(map(str, cut.at.get(topic, [0] * partition_count())))}]"


def _place(row: Mapping[str, Any]) -> Place:
    return Place(int(row["at"]), int(row["what"]), int(row["part"]), int(row["place"]))
