"""The quiet endpoints, as ordinary FastAPI routes: what browser SDKs fetch before they send, health, replay."""

import hmac
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec
from fastapi import APIRouter, Depends, Header, Path, Request, Response
from fastapi.responses import JSONResponse

from services.ingest.adapters import answers
from services.ingest.adapters.bodies import read_body
from services.ingest.adapters.keyring import Keyring, Source
from services.ingest.adapters.tracking import Tracking
from services.ingest.domain import writekeys
from services.ingest.domain.bodies import take_batch, take_item, take_single
from services.ingest.domain.paths import kind_of
from services.ingest.domain.reasons import Reason, Refusal, Refused
from services.ingest.domain.replays import replayed_message_id
from services.ingest.settings import Settings
from shared.contracts.events import REJECTED_DECODER
from shared.contracts.topics import LARGE_RECORD_BYTES

Readiness = Callable[[], Mapping[str, str | None]]
"""What must hold for the process to be ready: name -> None if it holds, else why it does not."""
_WORKSPACE: Final = "rapport"
_MOMENT: Final = "2026-01-01T00:00:00.000Z"


def _with_cors(request: Request, response: Response) -> None:
    for name, value in answers.cors(request.headers.get("origin", "").encode("latin-1") or None):
        response.headers[name.decode()] = value.decode()


def health(readiness: Readiness) -> APIRouter:
    """/healthz and /readyz: what a load balancer asks. Metrics are for inside, on the health port."""
    router = APIRouter()

    @router.get("/healthz", operation_id="healthz", summary="The process runs")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/readyz", operation_id="readyz", summary="Events are taken", responses={503: {"description": "not ready, and why"}})
    async def readyz() -> JSONResponse:
        parts = dict(readiness())
        ready = all(reason is None for reason in parts.values())
        body = {"status": "ready" if ready else "not ready", "parts": {name: reason or "ok" for name, reason in parts.items()}}
        return JSONResponse(body, 200 if ready else 503)

    return router


def browser(settings: Settings, keyring: Keyring) -> APIRouter:
    """What browser SDKs ask for before they send. Raises Refused where the write key is unknown."""
    router = APIRouter(dependencies=[Depends(_with_cors)])

    @router.get("/v1/projects/{write_key}/settings", operation_id="segmentSettings", summary="Settings of Segment's browser SDK")
    @router.get("/v1/projects/{write_key}/settings/", include_in_schema=False)
    async def segment_settings(request: Request, write_key: Annotated[str, Path(description="write key")]) -> dict[str, Any]:
        await keyring.source(write_key)
        url = urlsplit(settings.public_url or f"{_scheme(request)}://{request.headers.get('host', '')}")
        destination = {"apiKey": write_key, "apiHost": f"{url.netloc}{url.path.rstrip('/')}/v1", "protocol": url.scheme}
        return {"integrations": {"Segment.io": destination}, "metrics": {"sampleRate": 0}}

    @router.get("/sourceConfig", operation_id="sourceConfig", summary="Configuration of RudderStack's SDKs")
    @router.get("/sourceConfig/", include_in_schema=False)
    async def source_config(
        request: Request,
        authorization: Annotated[str, Header(description="Basic authentication, the write key as user name")] = "",
    ) -> dict[str, Any]:
        secret = writekeys.from_basic(authorization.encode("latin-1", "replace"))
        secret = secret or writekeys.from_query(request.scope["query_string"])
        if secret is None:
            raise Refused(401, Refusal.MISSING_WRITE_KEY, "no write key: send it as the user name of Basic authentication")
        return _source_config(await keyring.source(secret), secret)

    return router


def _scheme(request: Request) -> str:
    forwarded = request.headers.get("x-forwarded-proto", "")
    return forwarded if forwarded in ("http", "https") else request.url.scheme


def _source_config(source: Source, write_key: str) -> dict[str, Any]:
    quiet = {"enabled": False}
    return {
        "source": {
            "id": source.source_id,
            "name": source.source_id,
            "writeKey": write_key,
            "enabled": True,
            "workspaceId": _WORKSPACE,
            "destinations": [],
            "updatedAt": _MOMENT,
            "config": {"statsCollection": {"errors": quiet, "metrics": quiet}},
        }
    }


def replay(settings: Settings, tracking: Tracking) -> APIRouter:
    """Rejected events again, for the control service: through the same parser, with the time and source of then."""
    router = APIRouter(include_in_schema=False)

    @router.post("/internal/v1/replay")
    async def replay_rejected(request: Request) -> dict[str, bool]:
        given = writekeys.from_bearer(request.headers.get("authorization", "").encode("latin-1")) or ""
        token = settings.internal_token
        if token is None or not hmac.compare_digest(given.encode(), token.get_secret_value().encode()):
            raise Refused(401, Refusal.UNKNOWN_WRITE_KEY, "replaying needs the internal token")
        bound = settings.body_timeout_seconds
        value = await read_body(dict(request.scope["headers"]), request.receive, LARGE_RECORD_BYTES, bound)
        try:
            rejected = REJECTED_DECODER.decode(value)
        except msgspec.DecodeError as error:
            raise Refused(400, Reason.INVALID_FIELD, f"the body is no rejected event: {error}") from None
        received_at = min(rejected.received_at, time.time_ns() // 1_000_000)
        frame = tracking.frame(rejected.source_id, received_at, replayed_message_id(value))
        kind = kind_of(rejected.path)
        if kind is not None:
            taken = take_single(rejected.original, frame, kind)
        elif rejected.reason == Reason.MALFORMED_JSON and not rejected.around and b'"batch"' in rejected.original:
            taken = take_batch(rejected.original, frame)
        else:
            taken = take_item(rejected.original, rejected.around, frame)
        if taken.rejected:  # it stands in the rejected topic already
            reason = taken.rejected[0][0]
            raise Refused(400, reason.reason, reason.message, reason.field)
        await tracking.publish(rejected.path, taken, frame, None)
        return {"success": True}

    return router
