"""ClickHouse's history as far as it is whole: what has lost rows is not asked for them, so that no answer is short without a word."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import structlog

from shared.contracts.kept_rows import (
    ADVICE,
    DELETED,
    KEPT,
    PARTS,
    PRESENT,
    PROGRESS,
    Deleted,
    Noted,
    Part,
    Where,
    latest,
    missing_tables,
    parts_lost,
    rows_lost,
    said,
)
from shared.contracts.slots import NotSettled
from shared.reading.away import Busy, HistoryAway, HistoryLost, HistoryTooMuch, LogAway
from shared.reading.history import THREADS, ClickHouseHistory
from shared.reading.inputs import inputs, partitions
from shared.reading.keeping import Standing
from shared.reading.pools import asker
from shared.reading.questions import Load, Question
from shared.reading.settings import ReadingSettings

FRESH_SECONDS: Final = 2.0
STALE_SECONDS: Final = 6.0
"""Younger than this, what is known is told at once, and renewed behind the answer."""
LOOK_SECONDS: Final = 0.6
WAREHOUSE: Final = "warehouse"
_log = structlog.get_logger("query")


class Asked(Protocol):
    async def rows(self, question: Question) -> list[dict[str, Any]]: ...
    async def answers(self) -> bool: ...


class Log(Protocol):
    async def committed(self, group: str, wanted: Sequence[Where]) -> dict[Where, int]: ...


class KeptHistory:
    """History over one that answers whatever ClickHouse has. How that stands is looked up every two seconds at most, when it is asked."""

    def __init__(self, history: Asked, log: Log, group_prefix: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._history, self._log, self._clock = history, log, clock
        self._group = f"{group_prefix}-{WAREHOUSE}"
        self._standing: Standing | None = None
        self._looked_at = self._told_at = float("-inf")
        self._looking: asyncio.Task[Standing] | None = None

    async def rows(self, question: Question) -> list[dict[str, Any]]:
        """The rows. Raises HistoryAway, HistoryTooMuch; HistoryLost while some are missing."""
        try:
            hole = (await self.standing()).hole
        except HistoryAway:
            hole = None  # if ClickHouse is away, the question itself will say so
        if hole is not None:
            raise HistoryLost(hole)
        return await self._history.rows(question)

    async def notes(self, question: Question) -> list[dict[str, Any]]:
        """The rows whatever is missing: of questions about the history itself. Raises HistoryAway, HistoryTooMuch."""
        return await self._history.rows(question)

    async def answers(self) -> bool:
        return await self._history.answers()

    async def standing(self) -> Standing:
        """How it stands; how it stood, where finding out takes long. Raises HistoryAway if ClickHouse has never said."""
        age = self._clock() - self._told_at
        if self._looking is None or (self._looking.done() and self._clock() - self._looked_at > FRESH_SECONDS):
            self._looked_at = self._clock()
            self._looking = asyncio.create_task(self._look(), name="standing")
        if self._standing is None or age > STALE_SECONDS:
            await asyncio.wait({self._looking}, timeout=LOOK_SECONDS)
        if self._looking.done():
            try:
                before, self._standing = self._standing, self._looking.result()
            except HistoryAway:
                if self._standing is None:
                    raise
                return self._standing  # a look that failed does not mend what is known to be missing
            self._told_at = self._looked_at
            if before is None or self._standing.lost != before.lost:
                _log.info("history", lost=self._standing.lost)
        if self._standing is None:
            raise HistoryAway("how the history stands is not told")
        return self._standing

    async def _look(self) -> Standing:
        asker.set(None)  # of its own task: the look is for all
        try:
            written = await self._log.committed(self._group, partitions(inputs(WAREHOUSE)))
        except (LogAway, NotSettled):
            written = {}  # what ClickHouse says of itself is known all the same
        gone = missing_tables([row["name"] for row in await self._ask("present", PRESENT)])
        if gone is not None:
            return Standing(f"{gone}: {ADVICE}")
        noted = latest(Noted(**row) for row in await self._ask("progress", PROGRESS))
        kept, parts = [Part(**row) for row in await self._ask("kept", KEPT)], [Part(**row) for row in await self._ask("parts", PARTS)]
        deleted = [Deleted(**row) for row in await self._ask("deleted", DELETED)]
        known = {where: next_ for where, next_ in written.items() if not noted or where in noted}
        lost = said(parts_lost(kept, parts, deleted)) or rows_lost(noted, known)
        open_ = [one for one in noted.values() if one.next < one.target]
        return Standing(
            f"{lost}: {ADVICE}" if lost is not None else None,
            sum(one.target - one.next for one in open_),
            sum(one.target for one in noted.values() if one.target),
            any(one.gap for one in open_),
        )

    async def _ask(self, name: str, sql: str) -> list[dict[str, Any]]:
        try:
            return await self._history.rows(Question(name, sql, {}, Load.STATUS))
        except (HistoryTooMuch, Busy) as slow:
            raise HistoryAway(str(slow)) from slow


def asked_history(settings: ReadingSettings, series_threads: int = THREADS[Load.SERIES]) -> ClickHouseHistory:
    """ClickHouse, as the settings say."""
    threads = {**THREADS, Load.PAGE: settings.query_page_threads, Load.SERIES: series_threads}
    most = settings.query_seconds, settings.query_rows, settings.query_memory_mb
    return ClickHouseHistory(settings.clickhouse, *most, threads, settings.query_waiting)
