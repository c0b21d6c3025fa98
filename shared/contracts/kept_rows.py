"""What the warehouse notes in ClickHouse about what it has put there, and how the notes show what ClickHouse has lost.

`rapport.progress`: up to which offset the rows of each partition of the log are in; written behind each block and before Kafka's commit. So
ClickHouse is never behind the committed offset, unless it lost rows: its folder went, or an older copy came back.
`rapport.kept`: the number of the oldest block in each partition of a table. It stays through inserts, merges and DELETE; it goes or changes
when a table or a partition of it is dropped or truncated. A DELETE, such as an erasure, may empty a partition too: ClickHouse lists it
among its mutations, and what goes by one is not called lost.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

TABLES: Final = (
    "events",
    "merges",
    "segment_transitions",
    "messages",
    "profiles",
    "identity_conflicts",
    "merges_by_winner",
    "merges_by_loser",
    "merges_by_append",
    "message_latest",
    "message_times",
    "message_people",
)
"""Those that a record of the log is in. The last six are filled by views of the others."""
GONE: Final = frozenset({60, 81})
"""ClickHouse's codes: no such table, no such database."""
ADOPTED: Final = "*"
"""As a topic: the tables held rows before there were notes, so a partition without a note is taken as it stands."""

PROGRESS: Final = "SELECT topic, partition, generation, next, target, gap FROM rapport.progress FINAL"
_NAMES: Final = ", ".join(f"'{table}'" for table in TABLES)
PARTS: Final = (
    "SELECT table, partition_id AS part, min(min_block_number) AS first FROM system.parts "  # noqa: S608 names of this file
    f"WHERE database = 'rapport' AND active AND rows > 0 AND table IN ({_NAMES}) GROUP BY table, part"
)
KEPT: Final = "SELECT table, part, first, toUnixTimestamp(at) AS since FROM rapport.kept FINAL WHERE NOT gone"
DELETED: Final = (
    "SELECT table, toUnixTimestamp(max(create_time)) AS last, min(is_done) = 0 AS running FROM system.mutations WHERE database = 'rapport' "
    "AND (command ILIKE '%DELETE%' OR command LIKE '%_row_exists%') GROUP BY table"
)
PRESENT: Final = "SELECT name FROM system.tables WHERE database = 'rapport'"

ADVICE: Final = "`rapport rebuild warehouse` loads it again from the log (RUNBOOK.md, Rebuild a view)"

PARTS_SHOWN: Final = 3
"""Of the partitions that a table lost, so many are named."""

Where = tuple[str, int]


class Noted(NamedTuple):
    """A partition's rows are in up to `next`.

    `target`: where the rebuild of this generation ends, 0 for none. `gap`: rows were lost before it.
    """

    topic: str
    partition: int
    generation: int
    next: int
    target: int = 0
    gap: bool = False


class Part(NamedTuple):
    """The oldest block of one partition of a table. `since`: when that was noted, epoch seconds."""

    table: str
    part: str
    first: int
    since: int = 0


class Deleted(NamedTuple):
    """A DELETE of rows of a table: when the last one was asked for (epoch seconds), and whether one is still going on."""

    table: str
    last: int
    running: bool = False


def latest(rows: Iterable[Noted]) -> dict[Where, Noted]:
    """The note that holds for each partition: of the newest generation."""
    found: dict[Where, Noted] = {}
    for row in rows:
        known = found.get((row.topic, row.partition))
        if known is None or (row.generation, row.next) > (known.generation, known.next):
            found[row.topic, row.partition] = row
    return found


def missing_tables(present: Iterable[str]) -> str | None:
    """Which tables are gone."""
    gone = sorted({*TABLES, "progress", "kept"} - set(present))
    return f"ClickHouse has lost tables: {', '.join(gone)}" if gone else None


def rows_lost(noted: Mapping[Where, Noted], written: Mapping[Where, int]) -> str | None:
    """What is missing of that which had been written up to `written`."""
    short = {where: next_ - noted[where].next for where, next_ in written.items() if where in noted and noted[where].next < next_}
    absent = sorted(where for where in written if where not in noted)
    if absent:
        return f"ClickHouse knows nothing of {absent[0][0]}[{absent[0][1]}] and {len(absent) - 1} more: it was emptied"
    if short:
        where, records = max(short.items(), key=lambda one: one[1])
        return f"ClickHouse is older than what was written to it: {where[0]}[{where[1]}] ends {records} records too early"
    return None


def parts_lost(kept: Sequence[Part], parts: Sequence[Part], deleted: Iterable[Deleted]) -> list[Part]:
    """What was dropped: the oldest block of a partition is another, or there is none, and no DELETE explains it."""
    there = {(part.table, part.part): part.first for part in parts}
    last = {one.table: one.last for one in deleted}
    return [one for one in kept if there.get((one.table, one.part)) != one.first and last.get(one.table, -1) < one.since]


def to_note(kept: Sequence[Part], parts: Sequence[Part], deleted: Iterable[Deleted]) -> list[Part]:
    """Partitions that are new, or have seen a DELETE since they were noted, which excuses nothing that goes once it has ended.

    A DELETE may go on for hours, one part after another, and takes what it takes at any time of them.
    """
    known, deletes = {(one.table, one.part): one for one in kept}, {one.table: one for one in deleted}

    def is_news(part: Part) -> bool:
        before, delete = known.get((part.table, part.part)), deletes.get(part.table)
        if before is None:
            return True
        if delete is None:
            return before.first != part.first
        return not delete.running and (before.first != part.first or delete.last >= before.since)

    return [part for part in parts if is_news(part)]


def said(lost: Sequence[Part]) -> str | None:
    """The same in words: each table, with as many of its partitions as can be read at a glance."""
    if not lost:
        return None
    tables: dict[str, list[str]] = {}
    for part in lost:
        tables.setdefault(part.table, []).append(part.part)
    return f"rows were dropped from ClickHouse: {'; '.join(f'{table} ({_partitions(parts)})' for table, parts in sorted(tables.items()))}"


def _partitions(parts: Sequence[str]) -> str:
    shown = ", ".join(sorted(parts)[:PARTS_SHOWN])
    more = f" and {len(parts) - PARTS_SHOWN} more" if len(parts) > PARTS_SHOWN else ""
    return f"partition{'s' if len(parts) > 1 else ''} {shown}{more}"
