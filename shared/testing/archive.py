"""The warehouse's rows as they would come of a FakeLog that remembers all it ever had."""

from collections.abc import Sequence

from shared.contracts.headers import CAUSE, KIND, KIND_CLOCK, KIND_EXPIRED, KIND_MERGE, Headers, header
from shared.contracts.identity import MERGE_DECODER
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import EVENT_RESOLVED, SEGMENT_CHANGED
from shared.runtime.archived import ArchiveAway, Place, Row, What
from shared.runtime.cut import Cut
from shared.testing.fakes import Crash, FakeLog


class FakeArchive:
    """`page_rows`: rows a page. `away`: it does not answer. `page_limit`: crash after so many more pages."""

    def __init__(self, log: FakeLog, page_rows: int = 3) -> None:
        self.away = False
        self.page_limit: int | None = None
        self.pages = 0
        self._log = log
        self._page_rows = page_rows

    async def whole(self, cut: Cut) -> None:
        if self.away:
            raise ArchiveAway("the fake archive is away")

    async def about(self, partition: int, cut: Cut) -> int:
        return len(self._rows(partition, cut))

    async def page(self, partition: int, cut: Cut, after: Place | None) -> Sequence[Row]:
        await self.whole(cut)
        if self.page_limit is not None:
            if self.page_limit == 0:
                raise Crash("in the middle of the archive")
            self.page_limit -= 1
        rows = [row for row in self._rows(partition, cut) if after is None or row.place > after]
        self.pages += bool(rows)
        return sorted(rows)[: self._page_rows]

    def _rows(self, slot_: int, cut: Cut) -> list[Row]:
        winners: dict[str, str] = {}
        rows: list[Row] = []
        for what, topic in ((What.EVENT, EVENT_RESOLVED), (What.TRANSITION, SEGMENT_CHANGED)):
            for partition in range(partition_count() if topic in cut.at else 0):
                seen: set[bytes | None] = set()
                for one in self._log.partitions[topic, partition][: cut.at[topic][partition]]:
                    if _kind(one.headers) in (KIND_CLOCK, KIND_EXPIRED) or not one.value or _cause(one.headers) in seen:
                        continue
                    seen.add(_cause(one.headers))
                    place = Place(one.timestamp, what, partition, one.offset)
                    if _kind(one.headers) == KIND_MERGE:
                        merge = MERGE_DECODER.decode(one.value)
                        winners[merge.loser] = merge.winner
                        rows.append(Row(place._replace(what=What.MARKER), merge.loser.encode(), merge.winner.encode()))
                    else:
                        rows.append(Row(place, one.key or b"", one.value))
        found = []
        for row in rows:
            key = root = row.key.decode()
            while root in winners:
                root = winners[root]
            if row.place.what != What.MARKER:
                found.append((root, row._replace(key=root.encode())))
                continue
            found.append((key, row))
            found.append((root, Row(row.place._replace(what=What.ABSORBED), root.encode(), row.key)))
        return [row for key, row in found if slot(key) == slot_]


def _kind(headers: Headers) -> bytes | None:
    return header(headers, KIND)


def _cause(headers: Headers) -> bytes | None:
    return header(headers, CAUSE)
