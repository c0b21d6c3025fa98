"""A segment as the API shows it."""

from dataclasses import dataclass
from typing import Any

from shared.contracts.definitions import SegmentState


@dataclass(frozen=True)
class KnownSegment:
    """An applied definition. `rule`: its `when`, as JSON. `state`: what its set says that it can answer."""

    key: str
    version: int
    title_zh: str
    title_en: str
    description: str | None
    rule: Any
    text: str
    state: SegmentState = SegmentState.LIVE
