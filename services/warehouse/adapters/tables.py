"""The tables in ClickHouse."""

from services.warehouse.domain.rows import FORMAT, Table
from shared.adapters.clickhouse import ClickHouse


class ClickHouseTables:
    """Inserts that count once."""

    def __init__(self, store: ClickHouse) -> None:
        self._store = store

    def insert(self, table: Table, rows: bytes, token: str) -> None:
        """As Tables.insert."""
        self._store.insert(table.value, FORMAT, rows, token)
