"""ClickHouse's notes about itself, in memory, for tests of the warehouse."""

from collections.abc import Sequence

from shared.adapters.clickhouse import StoreRefused
from shared.contracts.kept_rows import TABLES, Deleted, Noted, Part


class MemoryNotes:
    """`blocks`: the oldest block of each (table, partition) now. `deletes`: DELETEs of rows. Tests change them."""

    def __init__(self) -> None:
        self.names = {*TABLES, "progress", "kept"}
        self.noted: list[Noted] = []
        self.blocks: dict[tuple[str, str], int] = {}
        self.deletes: list[Deleted] = []
        self.now = 1000
        self._kept: dict[tuple[str, str], Part] = {}

    def tables(self) -> Sequence[str]:
        return sorted(self.names)

    def progress(self) -> Sequence[Noted]:
        if "progress" not in self.names:
            raise StoreRefused(60, "no such table")
        return list(self.noted)

    def note(self, rows: Sequence[Noted]) -> None:
        self.noted += rows

    def parts(self) -> Sequence[Part]:
        return [Part(table, part, first) for (table, part), first in self.blocks.items()]

    def kept(self) -> Sequence[Part]:
        return list(self._kept.values())

    def deleted(self) -> Sequence[Deleted]:
        return self.deletes

    def keep(self, parts: Sequence[Part], gone: bool = False) -> None:
        for part in parts:
            if gone:
                del self._kept[part.table, part.part]
            else:
                self._kept[part.table, part.part] = part._replace(since=self.now)

    def make_tables(self) -> Sequence[str]:
        made = {*TABLES, "progress", "kept"} - self.names
        self.names |= made
        return sorted(made)

    def empty(self, names: Sequence[str] = ()) -> None:
        """Everything goes, or these tables."""
        self.names -= set(names) if names else self.names
        self.noted = self.noted if names else []
        self._kept = self._kept if names else {}
        self.blocks = {key: first for key, first in self.blocks.items() if names and key[0] not in names}
