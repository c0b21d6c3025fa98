"""What happened: a person's events and messages, transitions of segments, all messages, identity conflicts; from ClickHouse."""

from typing import Annotated, Any, Final, TypeVar

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from services.query.adapters import message_list
from services.query.adapters.http.segments import SegmentKey, find
from services.query.domain import questions
from services.query.parts import Parts
from shared.contracts.changes import ChangeReason, MessageStatus, Transition
from shared.http.bearer import Admin, Reader
from shared.http.cursors import RowCursor
from shared.http.envelope import ProfileId
from shared.http.instants import instant, instant_or_none
from shared.http.personal import View, contents
from shared.http.problems import documented
from shared.http.sealing import bad_cursor
from shared.http.shapes import CursorText, Instant, Limit, Page
from shared.reading.questions import Question

R = TypeVar("R", bound=BaseModel)
Row = dict[str, Any]
Key = tuple[int | str, ...]
Name = Annotated[str | None, Query(min_length=1, max_length=200)]


class EventShape(BaseModel):
    message_id: str
    source_id: str
    type: str
    event: str | None = Field(description="a track event's name")
    name: str | None = Field(description="a page's or screen's name")
    profile_id: str = Field(description="the profile that it came to; merges may have moved it on")
    user_id: str | None
    anonymous_id: str | None
    timestamp: Instant = Field(description="corrected by the client's clock")
    original_timestamp: Instant | None
    sent_at: Instant | None
    received_at: Instant
    properties: Any
    traits: Any
    context: Any


class MessageShape(BaseModel):
    """The last state of one message."""

    dispatch_id: str
    journey: str
    step: str
    profile_id: str
    channel: str
    template: str
    status: MessageStatus
    at: Instant
    reason: str | None
    provider: str | None
    provider_message_id: str | None
    to_masked: str | None


class TransitionShape(BaseModel):
    profile_id: str
    segment: str
    transition: Transition
    at: Instant
    decided_at: Instant
    version: int
    by_event: str | None
    reason: ChangeReason | None


class ConflictShape(BaseModel):
    """Two known users whom something other than an alias calls one person. Never merged by itself."""

    one: str
    two: str
    why: str
    at: Instant


class _Pages:
    """Pages of rows, each list under a name of its own."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def after(self, cursor: str | None, of: str) -> Key | None:
        """The sort key behind which to go on. Raises Refused (400) for a cursor of another list."""
        found = self._parts.sealer.open(cursor, RowCursor)
        if found is not None and found.of != of:
            raise bad_cursor()
        return None if found is None else found.after

    async def rows(self, question: Question, limit: int, of: str, key: tuple[str, ...]) -> tuple[list[Row], str | None]:
        """`question` asks for one row more than `limit`: whether there are more then shows. `key`: columns that the list is ordered by."""
        found = await self._parts.history.rows(question)
        page = found[:limit]
        more = len(found) > limit
        return page, self._parts.sealer.seal(RowCursor(of, tuple(page[-1][name] for name in key))) if more else None


EVENT_KEY: Final = ("timestamp_ms", "partition", "offset")
MESSAGE_KEY: Final = ("at_ms", "dispatch_id")
TRANSITION_KEY: Final = ("decided_ms", "profile_id", "transition")
CONFLICT_KEY: Final = ("at_ms", "one", "two")


def router(parts: Parts) -> APIRouter:
    routes = APIRouter()
    pages = _Pages(parts)
    _add_a_persons(routes, parts, pages)
    _add_everybodys(routes, parts, pages)
    return routes


def _add_a_persons(routes: APIRouter, parts: Parts, pages: _Pages) -> None:
    """The lists of one person."""

    @routes.get(
        "/profiles/{profile_id}/events",
        operation_id="listProfileEvents",
        summary="Every event of a person, newest first",
        tags=["profiles"],
        responses=documented(),
    )
    async def events(
        access: Reader, profile_id: ProfileId, limit: Limit = 50, cursor: CursorText = None, type: Name = None, event: Name = None
    ) -> Page[EventShape]:
        """Those of everybody merged into them too. Rows come a moment after the event; `listRecentEvents` is faster."""
        of = msgspec.json.encode(("events", profile_id, type, event)).decode()
        asked = questions.events(await parts.people.ids_of(profile_id), type, event, pages.after(cursor, of), limit + 1)
        rows, following = await pages.rows(asked, limit, of, EVENT_KEY)
        return Page(data=[_event(row, parts.view(access)) for row in rows], next_cursor=following)

    @routes.get(
        "/profiles/{profile_id}/messages",
        operation_id="listProfileMessages",
        summary="Messages to a person, newest first",
        tags=["profiles"],
        responses=documented(),
    )
    async def profile_messages(access: Reader, profile_id: ProfileId, limit: Limit = 50, cursor: CursorText = None) -> Page[MessageShape]:
        of = msgspec.json.encode(("messages of", profile_id)).decode()
        asked = questions.messages_of(await parts.people.ids_of(profile_id), pages.after(cursor, of), limit + 1)
        rows, following = await pages.rows(asked, limit, of, MESSAGE_KEY)
        return Page(data=[_message(row, parts.view(access)) for row in rows], next_cursor=following)


def _add_everybodys(routes: APIRouter, parts: Parts, pages: _Pages) -> None:
    """The lists over all people."""

    @routes.get("/messages", operation_id="listMessages", summary="Messages, newest first", tags=["messages"], responses=documented())
    async def messages(
        access: Reader,
        limit: Limit = 50,
        cursor: CursorText = None,
        status: MessageStatus | None = None,
        journey: Name = None,
    ) -> Page[MessageShape]:
        """A page may be short, or empty, while `next_cursor` leads on."""
        of = msgspec.json.encode(("messages", status, journey)).decode()
        rows, after = await message_list.page(parts.history, status, journey, pages.after(cursor, of), limit)
        following = None if after is None else parts.sealer.seal(RowCursor(of, after))
        return Page(data=[_message(row, parts.view(access)) for row in rows], next_cursor=following)

    @routes.get(
        "/segments/{key}/transitions",
        operation_id="listSegmentTransitions",
        summary="Who entered and left a segment, newest first",
        tags=["segments"],
        responses=documented(404),
    )
    async def transitions(
        access: Reader, key: SegmentKey, limit: Limit = 50, cursor: CursorText = None, transition: Transition | None = None
    ) -> Page[TransitionShape]:
        find(parts, key)
        of = msgspec.json.encode(("transitions", key, transition)).decode()
        asked = questions.transitions(key, transition, pages.after(cursor, of), limit + 1)
        rows, following = await pages.rows(asked, limit, of, TRANSITION_KEY)
        return Page(data=[_transition(row, parts.view(access)) for row in rows], next_cursor=following)

    @routes.get(
        "/identity-conflicts",
        operation_id="listIdentityConflicts",
        summary="Known users that something calls one person",
        tags=["identity"],
        responses=documented(),
    )
    async def conflicts(access: Admin, limit: Limit = 50, cursor: CursorText = None) -> Page[ConflictShape]:
        """Newest first, each pair once. An alias joins them, if they are one person."""
        of = "conflicts"
        rows, following = await pages.rows(questions.conflicts(pages.after(cursor, of), limit + 1), limit, of, CONFLICT_KEY)
        return Page(data=[_conflict(row, parts.view(access)) for row in rows], next_cursor=following)


_CONTENTS: Final = ("properties", "traits", "context")


def _contents(raw: str) -> dict[str, Any]:
    """Properties, traits and context as the client sent them; empty where the record was no JSON."""
    try:
        whole = msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.DecodeError:
        whole = {}
    return {name: whole.get(name, {}) for name in _CONTENTS}


def _event(row: Row, view: View) -> EventShape:
    return EventShape(
        message_id=view.id(row["message_id"]),
        source_id=row["source_id"],
        type=row["type"],
        event=view.text(row["event"]) or None,
        name=view.text(row["name"]) or None,
        profile_id=view.profile_id(row["profile_id"]),
        user_id=view.id(row["user_id"]) or None,
        anonymous_id=view.id(row["anonymous_id"]) or None,
        timestamp=instant(row["timestamp_ms"]),
        original_timestamp=instant_or_none(row["original_ms"]),
        sent_at=instant_or_none(row["sent_ms"]),
        received_at=instant(row["received_ms"]),
        **contents(view, _contents(row["raw"])),
    )


def _message(row: Row, view: View) -> MessageShape:
    return MessageShape(
        dispatch_id=row["dispatch_id"],
        journey=row["journey"],
        step=row["step"],
        profile_id=view.profile_id(row["profile_id"]),
        channel=row["channel"],
        template=row["template"],
        status=row["status"],
        at=instant(row["at_ms"]),
        reason=row["reason"] or None,
        provider=row["provider"] or None,
        provider_message_id=row["provider_message_id"] or None,
        to_masked=row["to_masked"] or None,
    )


def _transition(row: Row, view: View) -> TransitionShape:
    return TransitionShape(
        profile_id=view.profile_id(row["profile_id"]),
        segment=row["segment"],
        transition=row["transition"],
        at=instant(row["at_ms"]),
        decided_at=instant(row["decided_ms"]),
        version=row["version"],
        by_event=view.id(row["by_event"]) or None,
        reason=row["reason"] or None,
    )


def _conflict(row: Row, view: View) -> ConflictShape:
    return ConflictShape(
        one=view.profile_id(row["one"]),
        two=view.profile_id(row["two"]),
        why=view.hidden(row["why"]),
        at=instant(row["at_ms"]),
    )
