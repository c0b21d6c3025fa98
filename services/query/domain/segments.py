"""A segment as the API shows it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class KnownSegment:
    """An applied definition. `rule`: its `when`, as JSON."""

    key: str
    version: int
    title_zh: str
    title_en: str
    description: str | None
    rule: Any
    text: str
