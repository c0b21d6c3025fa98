# ruff: noqa: S608 statements are put together of constants of this file; values go as parameters
"""The warehouse's rows as an archive: what a slot reads below its cut (shared/runtime/archived.py), page by page."""

import asyncio
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from shared.adapters.clickhouse import ClickHouse, StoreAway, StoreRefused
from shared.adapters.store_settings import Address
from shared.contracts.kept_rows import ADOPTED, PROGRESS, Noted, latest
from shared.contracts.roots import roots
from shared.contracts.slots import partition_count
from shared.contracts.topics import EVENT_RESOLVED, SEGMENT_CHANGED
from shared.runtime.archived import ARCHIVED, HOUR_MS, ArchiveAway, Place, Row, What
from shared.runtime.cut import Cut

T = TypeVar("T")
PAGE_ROWS: Final = 5000
PAGE_BYTES: Final = 4 << 20
SEARCHED: Final = 200_000
"""So many rows, of all slots, one search for the ends of pages covers: those of a day, or of longer or shorter."""
LONGEST_MS: Final = 365 * 24 * HOUR_MS
TIMEOUT_S: Final = 600.0
NOWHERE: Final = Place(0, 0, 0, -1)
BEHIND: Final = (7, 0xFFFF, 1 << 62)
"""What, partition and offset behind all of an instant."""

_PLACE: Final = "toUnixTimestamp64Milli(_appended_at)"
_BELOW: Final = "_offset < {events:Array(Int64)}[_partition + 1]"
_BELOW_OF: Final = {"segment_transitions": _BELOW.replace("{events:", "{transitions:")}
_SLOT: Final = "kafkaMurmurHash(key) % {count:UInt16} = {slot:UInt16}"
_TIMES: Final = "_appended_at >= fromUnixTimestamp64Milli({from:Int64}) AND _appended_at <= fromUnixTimestamp64Milli({to:Int64})"
_SPAN: Final = (
    f"{_TIMES} AND (at, what, part, place) > ({{from:Int64}}, {{from_what:UInt8}}, {{from_part:UInt16}}, {{from_place:Int64}}) "
    "AND (at, what, part, place) <= ({to:Int64}, {to_what:UInt8}, {to_part:UInt16}, {to_place:Int64})"
)


class _Kind(NamedTuple):
    """Rows of one kind: where they stand, whose they were when they came, and what they say."""

    what: What
    table: str
    id: str
    value: str


_OF: Final = {
    EVENT_RESOLVED: (
        _Kind(What.MARKER, "merges_by_append", "loser", "winner"),
        _Kind(What.ABSORBED, "merges_by_append", "loser", "loser"),
        _Kind(What.EVENT, "events", "profile_id", "raw"),
    ),
    SEGMENT_CHANGED: (_Kind(What.TRANSITION, "segment_transitions", "profile_id", "raw"),),
}


def _from(kind: _Kind, columns: str, when: str) -> str:
    return f"SELECT {columns} FROM rapport.{kind.table} WHERE {_BELOW_OF.get(kind.table, _BELOW)} AND {when}"


def _all(topics: Sequence[str], columns: Callable[[_Kind], str], when: str) -> str:
    return " UNION ALL ".join(_from(kind, columns(kind), when) for topic in topics for kind in _OF[topic])


def _where(kind: _Kind) -> str:
    return f"{_PLACE} AS at, toUInt8({kind.what.value}) AS what, _partition AS part, _offset AS place"


def _merges(losers: str) -> str:
    return f"SELECT loser, winner FROM rapport.merges_by_loser WHERE {_BELOW} AND loser IN ({losers})"


def with_roots(topics: Sequence[str]) -> str:
    """Who those in a span became by the merges below the cut, and by no other."""
    return f"WITH RECURSIVE {roots(_merges(_all(topics, lambda kind: kind.id, _TIMES)), _merges)}"


_ORDER: Final = "ORDER BY at, what, part, place"


def statement(topics: Sequence[str], wide: bool) -> str:
    """All rows of a slot in the span of two places; `wide`: with key and value. Copies of a row come once."""
    rows = _all(topics, lambda kind: f"{_where(kind)}, {kind.id} AS id" + (f", {kind.value} AS value" if wide else ""), _SPAN)
    key = f"if(what = {What.MARKER.value} OR roots.root = '', id, roots.root) AS key"
    columns = f"at, what, part, place, {key}" + (", value" if wide else "")
    joined = f"SELECT {columns} FROM ({rows}) AS rows LEFT JOIN roots ON roots.loser = rows.id"
    return f"(SELECT * FROM ({joined}) WHERE {_SLOT} {_ORDER} LIMIT 1 BY at, what, part, place)"


def count_sql(topics: Sequence[str]) -> str:
    """How many rows a span has, of whichever slot."""
    return f"SELECT count() AS found FROM ({_all(topics, _where, _SPAN)})"


def about_sql(topics: Sequence[str]) -> str:
    """How many rows came for people of a slot, before anybody was merged."""
    return f"SELECT count() AS found FROM ({_all(topics, lambda _: '_offset', '_partition = {slot:UInt16}')})"


def next_sql(topics: Sequence[str]) -> str:
    """When the log took the first row behind an instant, of whichever slot; no row if there is none."""
    times = _all(topics, lambda _: "_appended_at", "_appended_at > fromUnixTimestamp64Milli({from:Int64})")
    return f"SELECT toUnixTimestamp64Milli(min(_appended_at)) AS at FROM ({times}) HAVING count() > 0"


def bounds_sql(topics: Sequence[str]) -> str:
    """The last place of each page of a span."""
    counted = f"SELECT *, row_number() OVER ({_ORDER}) AS nth, count() OVER () AS total FROM {statement(topics, False)}"
    return f"{with_roots(topics)} SELECT at, what, part, place FROM ({counted}) WHERE nth % {PAGE_ROWS} = 0 OR nth = total {_ORDER}"


def page_sql(topics: Sequence[str]) -> str:
    """The rows up to the end of a page, as many as PAGE_BYTES hold; the first in any case."""
    window = f"OVER ({_ORDER} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    bytes_ = f"sum(length(key) + length(value)) {window} AS bytes, row_number() {window} AS nth"
    weighed = f"SELECT *, {bytes_} FROM {statement(topics, True)}"
    return (
        f"{with_roots(topics)} SELECT at, what, part, place, base64Encode(key) AS key, base64Encode(value) AS value FROM ({weighed}) "
        f"WHERE bytes <= {PAGE_BYTES} OR nth = 1 {_ORDER}"
    )


@dataclass
class _Way:
    """How far somebody has come below a cut (`start`), where the next pages end, and up to where those ends are known.

    `window`: of how many milliseconds the next search is.
    """

    cut: Cut
    start: Place
    searched: Place
    ends: list[Place] = field(default_factory=list)
    window: int = 24 * HOUR_MS


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

    async def about(self, partition: int, cut: Cut) -> int:
        topics = [topic for topic in cut.at if topic in ARCHIVED]
        return int((await self._rows(about_sql(topics), partition, cut, NOWHERE, NOWHERE))[0]["found"])

    async def page(self, partition: int, cut: Cut, after: Place | None) -> Sequence[Row]:
        topics = [topic for topic in cut.at if topic in ARCHIVED]
        start = after or NOWHERE
        who = (partition, ",".join(topics))
        way = self._ways.get(who)
        if way is None or way.cut != cut or way.start > start:  # who begins again must not get all that lies before the first known end
            way = self._ways[who] = _Way(cut, start, start)
        way.start = start
        while True:
            while way.ends and way.ends[0] <= start:
                del way.ends[0]
            if not way.ends:
                if not await self._search(topics, partition, way):
                    return []
                continue
            found = await self._rows(page_sql(topics), partition, cut, start, way.ends[0])
            if found:
                return [Row(_place(row), b64decode(row["key"]), b64decode(row["value"])) for row in found]
            start = way.ends[0]  # what the search found has been deleted since

    async def _search(self, topics: Sequence[str], partition: int, way: _Way) -> bool:
        """Find where the pages of the next rows end; False if there are no more."""
        begin = max(way.start, way.searched)
        while True:
            last = Place(begin.at + way.window, *BEHIND)
            count = int((await self._rows(count_sql(topics), partition, way.cut, begin, last))[0]["found"])
            if count > SEARCHED and way.window > 1:
                way.window //= 2
            elif count:
                break
            else:
                later = await self._rows(next_sql(topics), partition, way.cut, last, last)
                if not later:
                    return False
                begin = Place(int(later[0]["at"]), 0, 0, -1)
        way.ends += [_place(row) for row in await self._rows(bounds_sql(topics), partition, way.cut, begin, last)]
        way.searched = last
        if count < SEARCHED // 4:
            way.window = min(2 * way.window, LONGEST_MS)
        return True

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
