"""What answers are made of: pages, instants, and what is said beside the data."""

from datetime import datetime
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field, PlainSerializer, WithJsonSchema

from shared.http.instants import rfc3339
from shared.http.sealing import MAX_CURSOR

T = TypeVar("T")

Instant = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-06-01T01:00:00.000Z"]}),
]
"""An instant: RFC 3339, UTC, milliseconds."""

MAX_LIMIT = 1000

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="rows of a page at most")]
CursorText = Annotated[
    str | None,
    Query(
        max_length=MAX_CURSOR, pattern=r"^[A-Za-z0-9_-]+$", description="`next_cursor` of the page before; opaque, with the same filters"
    ),
]


class Meta(BaseModel):
    """How far the answer can be relied on."""

    rebuilding: bool = Field(False, description="the live view is being rebuilt from the log: the answer may lack what is older")


class ProfileMeta(Meta):
    merging: bool = Field(False, description="the state of somebody merged into this profile is still on its way")


class Page(BaseModel, Generic[T]):
    """A page of a list. The last one has no `next_cursor`."""

    data: list[T]
    next_cursor: str | None = None
    meta: Meta = Meta()
