"""The stores as a service of the API reads them, as protocols: real ones stand beside this file, tests hand in fakes."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from shared.reading.inputs import Where
from shared.reading.keeping import Standing
from shared.reading.log import LogRecord
from shared.reading.questions import Question


class History(Protocol):
    """ClickHouse. Raises HistoryAway, HistoryTooMuch; asked for rows while some are missing, HistoryLost."""

    async def rows(self, question: Question) -> list[dict[str, Any]]: ...
    async def answers(self) -> bool: ...
    async def notes(self, question: Question) -> list[dict[str, Any]]: ...
    async def standing(self) -> Standing: ...


class LogOffsets(Protocol):
    """Offsets in Kafka. Raises LogAway."""

    async def ends(self, partitions: Iterable[Where]) -> dict[Where, int]: ...


class LogReads(LogOffsets, Protocol):
    """Kafka, read. Raises LogAway (reads of too many bytes: TooMuch)."""

    async def starts(self, partitions: Iterable[Where]) -> dict[Where, int]: ...
    async def began(self, partitions: Iterable[Where]) -> int | None: ...
    async def bounds(self, topic: str) -> dict[int, tuple[int, int]]: ...
    async def committed(self, group: str, partitions: Iterable[Where]) -> dict[Where, int]: ...
    async def read(self, topic: str, ranges: Mapping[int, tuple[int, int]]) -> list[LogRecord]: ...


async def standing_now(history: History) -> Standing | None:
    """How the history stands, None if ClickHouse does not answer now: what is remembered of it says nothing of that."""
    return await history.standing() if await history.answers() else None
