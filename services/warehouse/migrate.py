"""Brings ClickHouse's tables up to date: `python -m services.warehouse.migrate`. Safe to run at every start.

Each file of migrations/ is applied once, in the order of its number; what was applied is kept in `rapport.migrations` with
its SHA-256, so that a file changed afterwards is an error and not a riddle.
"""

import hashlib
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from services.warehouse.settings import MigrationSettings
from shared.adapters.clickhouse import ClickHouse, StoreAway, StoreRefused
from shared.adapters.environment import read_environment

FOLDER = Path(__file__).with_name("migrations")
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.2
_NUMBERED = re.compile(r"(\d{4})_(\w+)\.sql")


class MigrationError(Exception):
    """The tables cannot be brought up to date; the message says which file and why."""


@dataclass(frozen=True)
class Migration:
    """One file."""

    number: int
    name: str
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of the file, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def makes(self) -> set[str]:
        """Names of the tables that it makes."""
        return set(re.findall(r"^CREATE TABLE (?:IF NOT EXISTS )?rapport\.(\w+)", self.text, flags=re.MULTILINE))

    def statements(self, user: str, password: str) -> list[str]:
        """Its statements, without comments, with the credentials by which the server reads its own tables put in."""
        bare = re.sub(r"^\s*--.*$", "", self.text, flags=re.MULTILINE)
        bare = bare.replace("{user}", _quoted(user)).replace("{password}", _quoted(password))
        return [statement.strip() for statement in re.split(r";\s*$", bare, flags=re.MULTILINE) if statement.strip()]


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def found(folder: Path = FOLDER) -> list[Migration]:
    """The migrations of a folder, by number. Raises MigrationError for a name without a number, or a number twice.

    Numbers may leave gaps: two that are written at one time are given theirs beforehand, and do not depend on each other.
    """
    migrations = []
    for path in sorted(folder.glob("*.sql")):
        named = _NUMBERED.fullmatch(path.name)
        if named is None:
            raise MigrationError(f"{path.name}: a migration is named like 0001_what_it_does.sql")
        migrations.append(Migration(int(named[1]), named[2], path.read_text()))
    numbers = [migration.number for migration in migrations]
    if len(set(numbers)) < len(numbers):
        raise MigrationError(f"the numbers of the migrations are {numbers}: each may be there once")
    return migrations


def migrate(store: ClickHouse, migrations: list[Migration]) -> list[str]:
    """Apply what has not been applied, and all again where a table that was made is gone; returns the names.

    Raises MigrationError, StoreAway, StoreRefused.
    """
    store.command("CREATE DATABASE IF NOT EXISTS rapport")
    store.command(
        "CREATE TABLE IF NOT EXISTS rapport.migrations (number UInt32, name String, sha256 String, "
        "applied_at DateTime64(3, 'UTC') DEFAULT now64(3)) ENGINE = ReplacingMergeTree ORDER BY number"
    )
    done = {row["number"]: row["sha256"] for row in store.rows("SELECT number, sha256 FROM rapport.migrations FINAL")}
    applied = []
    there = {row["name"] for row in store.rows("SELECT name FROM system.tables WHERE database = 'rapport'")}
    gone = any(migration.number in done and migration.makes() - there for migration in migrations)
    for migration in migrations:
        if migration.number in done:
            if done[migration.number] != migration.digest:
                raise MigrationError(f"migration {migration.number:04} was changed after it had been applied: add a new one instead")
            if not gone:
                continue
        for statement in migration.statements(store.user, store.password):
            store.command(_repeatable(statement))
        row = f"{migration.number}\t{migration.name}\t{migration.digest}\n"
        store.insert("rapport.migrations (number, name, sha256)", "TSV", row.encode(), f"migration:{migration.number}")
        applied.append(f"{migration.number:04}_{migration.name}")
    return applied


def _repeatable(statement: str) -> str:
    """A start that was killed in the middle of a file applies its first statements again."""
    return re.sub(r"^CREATE (TABLE|VIEW|DICTIONARY|MATERIALIZED VIEW) (?!IF NOT EXISTS)", r"CREATE \1 IF NOT EXISTS ", statement)


def main() -> int:
    """Wait for ClickHouse, migrate, say what was done. Code 1 when it could not be, 2 for a setting."""
    settings = read_environment("migrations", MigrationSettings)
    store = ClickHouse(settings.clickhouse)
    end = time.monotonic() + WAIT_SECONDS
    try:
        while True:
            try:
                applied = migrate(store, found())
                break
            except StoreAway as away:
                if time.monotonic() > end:
                    sys.stderr.write(f"ClickHouse did not answer for {WAIT_SECONDS:g} s: {away}\n")
                    return 1
                time.sleep(POLL_SECONDS)
    except (MigrationError, StoreRefused) as wrong:
        sys.stderr.write(f"migrations failed: {wrong}\n")
        return 1
    finally:
        store.close()
    sys.stdout.write(f"{len(applied)} migrations applied: {', '.join(applied) or 'nothing new'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
