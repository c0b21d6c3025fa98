"""A question to ClickHouse: its text, its values, and how much it asks."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Load(StrEnum):
    """How much a question asks of ClickHouse. Each has threads of its own: none waits for another."""

    PAGE = "page"
    SERIES = "series"
    STATUS = "status"


@dataclass(frozen=True)
class Question:
    """One question. `name` tells it in logs; `sql` binds every value as `{name:Type}`; no value stands in the text."""

    name: str
    sql: str
    parameters: Mapping[str, Any]
    load: Load = Load.PAGE


def ping() -> Question:
    """Whether ClickHouse answers."""
    return Question("ping", "SELECT 1 AS one", {}, Load.STATUS)
