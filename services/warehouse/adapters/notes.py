"""The warehouse's notes in ClickHouse: what is in, and whether it still is."""

import json
from collections.abc import Sequence

from services.warehouse.migrate import found, migrate
from shared.adapters.clickhouse import ClickHouse
from shared.contracts.kept_rows import DELETED, KEPT, PARTS, PRESENT, PROGRESS, Deleted, Noted, Part


class ClickHouseNotes:
    """As Notes."""

    def __init__(self, store: ClickHouse) -> None:
        self._store = store

    def tables(self) -> list[str]:
        return [row["name"] for row in self._store.rows(PRESENT)]

    def progress(self) -> list[Noted]:
        return [Noted(**row) for row in self._store.rows(PROGRESS)]

    def note(self, rows: Sequence[Noted]) -> None:
        self._insert("rapport.progress (topic, partition, generation, next, target, gap)", [row._asdict() for row in rows])

    def parts(self) -> list[Part]:
        return [Part(**row) for row in self._store.rows(PARTS)]

    def kept(self) -> list[Part]:
        return [Part(**row) for row in self._store.rows(KEPT)]

    def deleted(self) -> list[Deleted]:
        return [Deleted(**row) for row in self._store.rows(DELETED)]

    def keep(self, parts: Sequence[Part], gone: bool = False) -> None:
        rows = [{"table": part.table, "part": part.part, "first": part.first, "gone": gone} for part in parts]
        self._insert("rapport.kept (table, part, first, gone)", rows)

    def make_tables(self) -> list[str]:
        return migrate(self._store, found())

    def _insert(self, into: str, rows: Sequence[dict[str, object]]) -> None:
        if rows:
            self._store.insert(into, "JSONEachRow", "\n".join(json.dumps(row) for row in rows).encode(), "")
