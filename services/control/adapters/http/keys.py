"""keys: made, listed, revoked. The log is the truth about them; this process and ingest follow it."""

import secrets
import time
from enum import StrEnum
from typing import Annotated, Final

from fastapi import APIRouter, Header, Path, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.control.domain.keys import KeyWanted, appended, check_may_revoke, made, revoked
from services.control.parts import Parts
from shared.contracts.control import KeyChanged, KeyKind
from shared.http.access import Scope, granted, key_id
from shared.http.bearer import Admin
from shared.http.cursors import NameCursor
from shared.http.instants import epoch_ms, instant, instant_or_none
from shared.http.problems import documented
from shared.http.reasons import RETRY_SECONDS, Code, Refused
from shared.http.sealing import bad_cursor
from shared.http.shapes import CursorText, Instant, Limit, Page

SECRET_BYTES: Final = 32
FOLLOW_SECONDS: Final = 2.0
_LIST: Final = "keys"

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=128,
        pattern=r"^[\x21-\x7e]+$",
        description="a retry with it gets the first answer, for ten minutes",
    ),
]


class KeyState(StrEnum):
    GOOD = "good"
    EXPIRED = "expired"
    REVOKED = "revoked"


class KeyShape(BaseModel):
    id: str = Field(description="names the key in this API; it is not the secret")
    kind: KeyKind
    name: str
    state: KeyState
    ends_in: str = Field(description="the secret's last four characters")
    source_id: str | None
    scopes: list[Scope]
    created_at: Instant
    expires_at: Instant | None
    revoked_at: Instant | None


class NewKeyShape(KeyShape):
    secret: str = Field(description="shown only now")


class KeyRequest(BaseModel):
    """A write key may only send events, for `source_id` (its name by default). A query key has `scopes`."""

    model_config = ConfigDict(extra="forbid")

    kind: KeyKind
    name: str = Field(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+$")
    source_id: str | None = Field(None, min_length=1, max_length=120, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    scopes: list[Scope] = Field([Scope.READ], min_length=1, max_length=len(Scope), description="of a query key")
    expires_at: AwareDatetime | None = Field(None, description="in the future; without it the key does not expire")


def router(parts: Parts) -> APIRouter:
    routes = APIRouter(tags=["keys"])

    async def followed(kind: KeyKind) -> None:
        """Wait until this process has read what it has just written: so a key is good, or bad, from the answer on."""
        await parts.access.read_up(parts.stores[kind], FOLLOW_SECONDS)

    @routes.get("/keys", operation_id="listKeys", summary="All keys, oldest first", responses=documented())
    async def keys(access: Admin, limit: Limit = 100, cursor: CursorText = None) -> Page[KeyShape]:
        after = parts.sealer.open(cursor, NameCursor)
        if after is not None and after.of != _LIST:
            raise bad_cursor()
        found = [record for record in _everything(parts) if after is None or _place(record) > after.after]
        page, more = found[:limit], len(found) > limit
        return Page(
            data=[_shape(record) for record in page],
            next_cursor=parts.sealer.seal(NameCursor(_LIST, _place(page[-1]))) if more else None,
        )

    @routes.post("/keys", operation_id="createKey", summary="Make a key", status_code=201, responses=documented(409))
    async def create(access: Admin, request: Request, wanted: KeyRequest, idempotency_key: IdempotencyKey = None) -> NewKeyShape:
        """The secret stands in this answer and nowhere else. A key cannot make one that may do more than itself."""

        async def make() -> NewKeyShape:
            expires = None if wanted.expires_at is None else epoch_ms(wanted.expires_at)
            asked = KeyWanted(wanted.kind, wanted.name, wanted.source_id, wanted.scopes if wanted.kind is KeyKind.QUERY else (), expires)
            secret, record = made(asked, secrets.token_hex(SECRET_BYTES), _now_ms(), access)
            await parts.appends.append([appended(record, parts.key_secrets)])
            await followed(record.kind)
            return NewKeyShape(secret=secret, **_shape(record).model_dump())

        return await parts.answered.once(access.id, "createKey", idempotency_key, await request.body(), make)

    @routes.delete(
        "/keys/{key_id}",
        operation_id="revokeKey",
        summary="Revoke a key",
        status_code=204,
        responses=documented(404),
        response_class=Response,
    )
    async def revoke(access: Admin, key_id: Annotated[str, Path(pattern="^[0-9a-f]{16}$")]) -> Response:
        """For good; processes refuse the key as soon as they have read that. Revoking it again changes nothing.

        A key cannot revoke one that may do more than itself.
        """
        record = next((one for one in _everything(parts) if _id(one) == key_id), None)
        if record is None:
            raise Refused(404, Code.UNKNOWN_QUERY_KEY, "there is no key of that id")
        check_may_revoke(record, access)
        if record.revoked_at is None:
            await parts.appends.append([appended(revoked(record, _now_ms()), parts.key_secrets)])
            await followed(record.kind)
        return Response(status_code=204)

    return routes


def _everything(parts: Parts) -> list[KeyChanged]:
    """All keys, oldest first. Raises Refused while they have not been read."""
    for store in parts.stores.values():
        if store.trouble is not None:
            raise Refused(503, Code.KEYS_NOT_READ, store.trouble, retry_after=RETRY_SECONDS)
    found = [record for store in parts.stores.values() for record in list(store.keys.values())]
    return sorted(found, key=lambda record: (record.created_at, record.hash))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _id(record: KeyChanged) -> str:
    return key_id(record.hash)


def _place(record: KeyChanged) -> str:
    """Sorts as the list does."""
    return f"{record.created_at:020d}{record.hash}"


def _shape(record: KeyChanged) -> KeyShape:
    expired = record.expires_at is not None and record.expires_at <= _now_ms()
    state = KeyState.REVOKED if record.revoked_at is not None else KeyState.EXPIRED if expired else KeyState.GOOD
    return KeyShape(
        id=_id(record),
        kind=record.kind,
        name=record.name,
        state=state,
        ends_in=record.hint,
        source_id=record.source_id,
        scopes=sorted(granted(record.scopes)),
        created_at=instant(record.created_at),
        expires_at=instant_or_none(record.expires_at),
        revoked_at=instant_or_none(record.revoked_at),
    )
