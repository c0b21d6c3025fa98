"""segments: what is applied, how many are in each, and who."""

from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from services.query.adapters import members, people
from services.query.adapters.members import Member
from services.query.adapters.people import SEGMENTATION
from services.query.domain.segments import KnownSegment
from services.query.parts import Parts
from shared.contracts.definitions import SegmentState as StateInSet
from shared.http.bearer import Reader
from shared.http.cursors import MemberCursor, NameCursor
from shared.http.instants import instant
from shared.http.problems import documented
from shared.http.reasons import Code, Refused
from shared.http.sealing import bad_cursor
from shared.http.shapes import CursorText, Instant, Limit, Meta, Page

_LIST = "segments"

SegmentKey = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_]{0,62}$", description="the segment's name in its file")]


class Titles(BaseModel):
    zh: str
    en: str


class SegmentState(StrEnum):
    """`live`: decided on each event. `rebuilding`: its stage is going through the log again; sizes grow or change."""

    LIVE = "live"
    REBUILDING = "rebuilding"
    FILLING = "filling"
    FROM_NOW = "from_now"


class SegmentSummary(BaseModel):
    key: str
    title: Titles
    description: str | None
    version: int = Field(description="of the rule: it changes when the rule does")
    size: int = Field(description="people in it now")
    state: SegmentState = Field(
        description="also `filling`: the rule asks what was not counted before, so nobody is in it and nobody enters; "
        "`from_now`: it was accepted that what people did before the rule was applied counts for nothing"
    )


class SegmentShape(SegmentSummary):
    rule: Any = Field(description="the rule as JSON")
    definition: str = Field(description="the file as it was applied")
    meta: Meta


class MemberShape(BaseModel):
    profile_id: str
    since: Instant


def find(parts: Parts, key: str) -> KnownSegment:
    """Raises Refused (404)."""
    found = next((one for one in parts.segments() if one.key == key), None)
    if found is None:
        raise Refused(404, Code.UNKNOWN_SEGMENT, "there is no segment of that name")
    return found


def router(parts: Parts) -> APIRouter:
    routes = APIRouter(tags=["segments"])

    @routes.get("/segments", operation_id="listSegments", summary="All segments with their sizes", responses=documented())
    async def segments(access: Reader, limit: Limit = 100, cursor: CursorText = None) -> Page[SegmentSummary]:
        after = parts.sealer.open(cursor, NameCursor)
        if after is not None and after.of != _LIST:
            raise bad_cursor()
        left = [one for one in parts.segments() if after is None or one.key > after.after]
        page = left[:limit]
        rebuilding = await people.any_rebuilding(parts.space, SEGMENTATION)
        sizes = await members.sizes(parts.space, [one.key for one in page])
        return Page(
            data=[_summary(one, size, rebuilding) for one, size in zip(page, sizes, strict=True)],
            next_cursor=parts.sealer.seal(NameCursor(_LIST, page[-1].key)) if len(left) > limit else None,
            meta=Meta(rebuilding=rebuilding),
        )

    @routes.get("/segments/{key}", operation_id="getSegment", summary="One segment", responses=documented(404))
    async def segment(access: Reader, key: SegmentKey) -> SegmentShape:
        known = find(parts, key)
        rebuilding = await people.any_rebuilding(parts.space, SEGMENTATION)
        (size,) = await members.sizes(parts.space, [key])
        return SegmentShape(
            **_summary(known, size, rebuilding).model_dump(), rule=known.rule, definition=known.text, meta=Meta(rebuilding=rebuilding)
        )

    @routes.get("/segments/{key}/members", operation_id="listSegmentMembers", summary="Who is in a segment", responses=documented(404))
    async def member_page(access: Reader, key: SegmentKey, limit: Limit = 100, cursor: CursorText = None) -> Page[MemberShape]:
        """Those longest in it first. Somebody who enters while you page comes at the end; somebody who leaves is no more seen."""
        find(parts, key)
        at = parts.sealer.open(cursor, MemberCursor)
        if at is not None and at.segment != key:
            raise bad_cursor()
        after = None if at is None else Member(at.since, at.profile_id.encode())
        found = await members.page(parts.space, key, after, limit + 1)
        page = found[:limit]
        last = page[-1] if len(found) > limit else None
        view = parts.view(access)
        return Page(
            data=[MemberShape(profile_id=view.profile_id(one.profile_id.decode()), since=instant(one.since)) for one in page],
            next_cursor=None if last is None else parts.sealer.seal(MemberCursor(key, last.since, last.profile_id.decode())),
            meta=Meta(rebuilding=await people.any_rebuilding(parts.space, SEGMENTATION)),
        )

    return routes


def _summary(known: KnownSegment, size: int, rebuilding: bool) -> SegmentSummary:
    return SegmentSummary(
        key=known.key,
        title=Titles(zh=known.title_zh, en=known.title_en),
        description=known.description,
        version=known.version,
        size=size,
        state=SegmentState.REBUILDING if rebuilding and known.state is not StateInSet.FILLING else SegmentState(known.state),
    )
