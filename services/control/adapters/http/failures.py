"""What went wrong, kept whole: events that ingest rejected, records that a stage could not fold. Listed, looked at, sent in again."""

import base64
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, Generic, TypeVar

import msgspec
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.control.domain.newest import newest, windows
from services.control.domain.replaying import PLACE_PATTERN, Place, place, replayed
from services.control.parts import Parts
from shared.contracts.events import REJECTED_DECODER, RejectedEvent
from shared.contracts.failed import FAILED_DECODER, FailedRecord, FailureReason
from shared.contracts.redis_keys import TAGS
from shared.contracts.topics import EVENT_REJECTED, RECORD_FAILED
from shared.http.bearer import Admin
from shared.http.cursors import LogCursor
from shared.http.instants import instant
from shared.http.personal import HIDDEN, View
from shared.http.problems import documented
from shared.http.reasons import Code, Refused
from shared.http.sealing import bad_cursor
from shared.http.shapes import CursorText, Instant, Page
from shared.reading.away import LogAway
from shared.reading.log import LogRecord, TooMuch

S = TypeVar("S", bound=BaseModel)
LISTED_BYTES: Final = 4096
"""What a list shows of a payload; asked for by itself, a record is shown whole."""
MAX_REPLAYS: Final = 100
MAX_FAILURES: Final = 100

FailureLimit = Annotated[int, Query(ge=1, le=MAX_FAILURES, description="records of a page at most")]
PlaceId = Annotated[str, Path(pattern=PLACE_PATTERN, description="partition:offset")]


class Payload(BaseModel):
    """Bytes: as text where they are UTF-8, else in base64. Null for keys without the scope `personal`."""

    text: str | None = None
    base64: str | None = None
    bytes: int
    cut: bool = Field(False, description="only the beginning is shown")


class RejectedShape(BaseModel):
    id: str
    reason: str
    message: str
    field: str | None
    received_at: Instant
    source_id: str
    path: str
    original: Payload | None


class DeadLetterShape(BaseModel):
    id: str
    stage: str
    reason: FailureReason
    detail: str
    topic: str
    partition: int
    offset: int
    failed_at: Instant
    key: str | None
    kind: str | None = Field(description="the record's own kind header")
    value: Payload | None


class ReplayRequest(BaseModel):
    """Which records to send in again."""

    model_config = ConfigDict(extra="forbid")

    ids: list[Annotated[str, StringConstraints(pattern=PLACE_PATTERN)]] = Field(min_length=1, max_length=MAX_REPLAYS)


class Replayed(BaseModel):
    """`replayed`: sent in. Otherwise `code` and `message` say why not."""

    id: str
    replayed: bool
    code: Code | None = None
    message: str | None = None


class Replays(BaseModel):
    data: list[Replayed]


class _Failures(Generic[S]):
    """Pages and single records of one topic. `shape`: a record as it is shown, so many bytes of it at most; None if it cannot be read."""

    def __init__(self, parts: Parts, topic: str, shape: Callable[[LogRecord, View, int | None], S | None]) -> None:
        self._parts = parts
        self._topic = topic
        self._shape = shape

    async def shown(self, limit: int, cursor: str | None, filters: str, wanted: Callable[[LogRecord], bool], view: View) -> Page[S]:
        """A page of what is `wanted`."""
        records, following = await self.page(limit, cursor, filters, wanted)
        shown = [self._shape(record, view, LISTED_BYTES) for record in records]
        return Page(data=[one for one in shown if one is not None], next_cursor=following)

    async def whole(self, place_id: str, view: View) -> S:
        """One record with all its bytes. Raises Refused (404) if nothing that can be read stands there."""
        shown = self._shape(await self.one(place(place_id)), view, None)
        if shown is None:
            raise Refused(404, Code.UNKNOWN_RECORD, f"record {place_id} cannot be read")
        return shown

    async def page(
        self, limit: int, cursor: str | None, filters: str, wanted: Callable[[LogRecord], bool]
    ) -> tuple[list[LogRecord], str | None]:
        """The newest records and the cursor to older ones. `filters` names what `wanted` asks."""
        parts, of = self._parts, f"{self._topic} {filters}"
        at = parts.sealer.open(cursor, LogCursor)
        if at is not None and at.of != of:
            raise bad_cursor()
        bounds = await parts.reads.bounds(self._topic)
        size = limit
        while True:
            ranges = windows(bounds, {} if at is None else at.before, size)
            try:
                records = await parts.reads.read(self._topic, ranges) if ranges else []
                break
            except TooMuch:
                if size == 1:
                    raise LogAway("the newest records are too large") from None
                size = max(1, size // 4)
        taken, before = newest(records, ranges, bounds, limit, wanted)
        return taken, None if before is None else parts.sealer.seal(LogCursor(of, before))

    async def one(self, at: Place) -> LogRecord:
        """Raises Refused (404) if nothing stands there."""
        bounds = (await self._parts.reads.bounds(self._topic)).get(at.partition)
        if bounds is not None and bounds[0] <= at.offset < bounds[1]:
            for record in await self._parts.reads.read(self._topic, {at.partition: (at.offset, at.offset + 1)}):
                return record
        raise Refused(404, Code.UNKNOWN_RECORD, f"there is no record {at}, or it has left the log")


def rejected(parts: Parts) -> APIRouter:
    routes = APIRouter(tags=["rejected events"])
    failures = _Failures(parts, EVENT_REJECTED, _rejected_shape)

    @routes.get("/rejected-events", operation_id="listRejectedEvents", summary="Rejected events, newest first", responses=documented())
    async def listed(
        access: Admin,
        limit: FailureLimit = 20,
        cursor: CursorText = None,
        reason: Annotated[str | None, Query(pattern="^[a-z_]{1,40}$")] = None,
        source_id: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    ) -> Page[RejectedShape]:
        """With a filter a page may be short, or empty, while `next_cursor` leads on."""

        def wanted(record: LogRecord) -> bool:
            event = _rejected(record)
            return event is not None and reason in (None, event.reason) and source_id in (None, event.source_id)

        return await failures.shown(limit, cursor, f"{reason} {source_id}", wanted, parts.view(access))

    @routes.get("/rejected-events/{place_id}", operation_id="getRejectedEvent", summary="One rejected event", responses=documented(404))
    async def single(access: Admin, place_id: PlaceId) -> RejectedShape:
        return await failures.whole(place_id, parts.view(access))

    @routes.post(
        "/rejected-events:replay", operation_id="replayRejectedEvents", summary="Send rejected events in again", responses=documented()
    )
    async def replay(access: Admin, wanted: ReplayRequest) -> Replays:
        """Through ingest, as of the time at which they came; what is still invalid is refused again. Counted once, however often sent."""

        async def send(at: Place) -> None:
            await parts.replays.replay((await failures.one(at)).value or b"")
            parts.metrics.replayed.labels("rejected").inc()

        return Replays(data=[await _outcome(text, send) for text in wanted.ids])

    return routes


def dead_letters(parts: Parts) -> APIRouter:
    routes = APIRouter(tags=["dead letters"])
    failures = _Failures(parts, RECORD_FAILED, _letter_shape)

    @routes.get("/dead-letters", operation_id="listDeadLetters", summary="Dead letters, newest first", responses=documented())
    async def listed(
        access: Admin,
        limit: FailureLimit = 20,
        cursor: CursorText = None,
        stage: Annotated[str | None, Query(pattern=f"^({'|'.join(TAGS)})$")] = None,
        reason: FailureReason | None = None,
    ) -> Page[DeadLetterShape]:
        """With a filter a page may be short, or empty, while `next_cursor` leads on."""

        def wanted(record: LogRecord) -> bool:
            letter = _letter(record)
            return letter is not None and stage in (None, letter.stage) and reason in (None, letter.reason)

        return await failures.shown(limit, cursor, f"{stage} {reason}", wanted, parts.view(access))

    @routes.get("/dead-letters/{place_id}", operation_id="getDeadLetter", summary="One dead letter", responses=documented(404))
    async def single(access: Admin, place_id: PlaceId) -> DeadLetterShape:
        return await failures.whole(place_id, parts.view(access))

    @routes.post("/dead-letters:replay", operation_id="replayDeadLetters", summary="Fold dead letters again", responses=documented())
    async def replay(access: Admin, wanted: ReplayRequest) -> Replays:
        """Only the stage that failed sees the record again, and applies it once, however often it is replayed."""

        async def send(at: Place) -> None:
            letter = _letter(await failures.one(at))
            if letter is None:
                raise Refused(409, Code.REPLAY_REFUSED, f"dead letter {at} cannot be read")
            await parts.appends.append([replayed(letter, at)])
            parts.metrics.replayed.labels("dead_letter").inc()

        return Replays(data=[await _outcome(text, send) for text in wanted.ids])

    return routes


async def _outcome(text: str, send: Callable[[Place], Awaitable[None]]) -> Replayed:
    """One record's outcome: that one is refused is no reason to leave the others."""
    try:
        await send(place(text))
    except Refused as refused:
        if refused.status in (502, 503):
            raise
        return Replayed(id=text, replayed=False, code=refused.code, message=refused.message)
    return Replayed(id=text, replayed=True)


def _rejected(record: LogRecord) -> RejectedEvent | None:
    try:
        return REJECTED_DECODER.decode(record.value or b"")
    except msgspec.DecodeError:
        return None


def _letter(record: LogRecord) -> FailedRecord | None:
    try:
        return FAILED_DECODER.decode(record.value or b"")
    except msgspec.DecodeError:
        return None


def _rejected_shape(record: LogRecord, view: View, most: int | None) -> RejectedShape | None:
    event = _rejected(record)
    if event is None:
        return None
    return RejectedShape(
        id=str(Place(record.partition, record.offset)),
        reason=event.reason,
        message=view.text(event.message),
        field=None if event.field is None else view.text(event.field),
        received_at=instant(event.received_at),
        source_id=event.source_id,
        path=event.path,
        original=_payload(event.original, most) if view.clear else None,
    )


def _letter_shape(record: LogRecord, view: View, most: int | None) -> DeadLetterShape | None:
    letter = _letter(record)
    if letter is None:
        return None
    key = None if letter.key is None else letter.key.decode(errors="replace")
    return DeadLetterShape(
        id=str(Place(record.partition, record.offset)),
        stage=letter.stage,
        reason=letter.reason,
        detail=letter.detail if view.clear else HIDDEN,
        topic=letter.topic,
        partition=letter.partition,
        offset=letter.offset,
        failed_at=instant(letter.failed_at),
        key=None if key is None else view.profile_id(key),
        kind=next((value.decode(errors="replace") for name, value in letter.headers if name == "kind"), None),
        value=_payload(letter.value, most) if view.clear else None,
    )


def _payload(raw: bytes | None, most: int | None) -> Payload | None:
    if raw is None:
        return None
    shown = raw if most is None else raw[:most]
    cut = len(shown) < len(raw)
    for dropped in range(4 if cut else 1):  # the cut may have gone through a character
        try:
            return Payload(text=shown[: len(shown) - dropped].decode(), bytes=len(raw), cut=cut)
        except UnicodeDecodeError:
            continue
    return Payload(base64=base64.b64encode(shown).decode(), bytes=len(raw), cut=cut)
