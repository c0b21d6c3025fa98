"""chDB behind a few typed calls. Every call blocks and lets go of the interpreter's lock while the engine works.

A connection of chDB is a session of its own (settings, current database) over the one server in this process; connections
work side by side, and one costs a quarter of a millisecond: each request gets a new one.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chdb import _chdb

from deploy.local.clickhouse_server import errors


@dataclass(frozen=True)
class Counts:
    """What a statement read and wrote."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0


@dataclass(frozen=True)
class Facts:
    """What the server says of itself on every answer."""

    version: str
    timezone: str
    name: str


def quoted(text: str) -> str:
    """A string literal of ClickHouse's SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(name: str) -> str:
    """A quoted identifier of ClickHouse's SQL."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _open(path: str) -> Any:
    return _chdb.connect(path)  # type: ignore[attr-defined]  # chDB's type stub leaves it out


class Engine:
    """The server in this process. One data folder can be open in one process at a time."""

    def __init__(self, data: Path, config: Path) -> None:
        """Open `data`, making it if need be. Raises ClickHouseError when another process has it."""
        self._data = data
        try:
            self._first = _open(f"{data}?config-file={config}")
        except RuntimeError as failed:
            raise errors.engine_error(str(failed)) from None
        self._plain_default_database()
        self.facts = self._facts()

    def _plain_default_database(self) -> None:
        """chDB lays the database `default` over the files of this machine: SELECT * FROM `/any/file`. Here it is only itself."""
        metadata = self._data / "metadata"
        kept = any((metadata / "default").glob("*.sql"))
        with self.connect() as connection:
            connection.run(b"DETACH DATABASE default", "Null")
            if kept:
                connection.run(b"ATTACH DATABASE default", "Null")
                return
            for leftover in ("default.sql", "default.sql.tmp", "default"):  # an empty one cannot be attached: it is made anew
                (metadata / leftover).unlink(missing_ok=True)
            connection.run(b"CREATE DATABASE default ENGINE = Atomic", "Null")

    def _facts(self) -> Facts:
        with self.connect() as connection:
            told, _ = connection.run(b"SELECT version(), timezone(), hostName()", "TabSeparated")
        return Facts(*told.decode().strip().split("\t"))

    def connect(self) -> "Connection":
        """A new session over the same data."""
        return Connection(_open(str(self._data)))

    def kill(self, marked: str) -> None:
        """Ask every running statement whose text holds `marked` to stop; returns without waiting for it."""
        half = len(marked) // 2
        spelt = f"concat({quoted(marked[:half])}, {quoted(marked[half:])})"  # so that this statement is not one of them
        with self.connect() as connection, contextlib.suppress(errors.ClickHouseError):
            connection.run(f"KILL QUERY WHERE position(query, {spelt}) > 0 ASYNC".encode(), "Null")

    def close(self) -> None:
        """Finish what runs in the background and let go of the folder."""
        self._first.close()


class Connection:
    """A session. One call at a time; calls may come from different threads. Raises ClickHouseError for the engine's errors."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def use(self, database: str) -> None:
        """Make `database` the current one."""
        self.run(f"USE {identifier(database)}".encode(), "Null")

    def set(self, settings: Mapping[str, str]) -> None:
        """Apply settings; their names must be plain words (the caller checked that)."""
        if settings:
            pairs = ", ".join(f"{name} = {quoted(value)}" for name, value in settings.items())
            self.run(f"SET {pairs}".encode(), "Null")

    def with_parameters(self, sql: bytes, parameters: Mapping[str, str]) -> bytes:
        """`sql`, with parameters put where they can be put into an INSERT that carries data: into the session."""
        for name, value in parameters.items():
            self.run(f"SET param_{name} = {quoted(value)}".encode(), "Null")
        return sql

    def reads_only(self, sql: bytes) -> bool:
        """Whether `sql` is a statement that answers rows and changes nothing."""
        try:
            return bool(self._connection.classify_query(sql)["query_class"].name == "READ_ONLY")
        except RuntimeError:
            return False

    def run(self, sql: bytes, form: str, parameters: Mapping[str, str] | None = None) -> tuple[bytes, Counts]:
        """Run one statement to its end; its output whole, in format `form` unless the statement names one."""
        try:
            result = self._connection.query(sql, form, params=dict(parameters or {}))
            return bytes(result.bytes()), _counts(result)
        except RuntimeError as failed:
            raise errors.engine_error(str(failed)) from None


def _counts(result: Any) -> Counts:
    return Counts(result.storage_rows_read(), result.storage_bytes_read(), result.rows_written(), result.bytes_written())
