"""The application: the tracking API as a raw route in front, FastAPI behind it, problem+json on every error."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from services.ingest.adapters import answers, endpoints
from services.ingest.adapters.keyring import Keyring
from services.ingest.adapters.openapi import with_tracking
from services.ingest.adapters.tracking import Tracking
from services.ingest.domain.reasons import Refusal, Refused
from services.ingest.settings import Settings

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]


class IngestApp(FastAPI):
    """FastAPI, except that paths of the tracking API and preflights never get as far as its middleware and router."""

    def __init__(self, tracking: Tracking, lifespan: Lifespan | None) -> None:
        super().__init__(
            title="Rapport ingest",
            version="1",
            summary="The Segment tracking API",
            lifespan=lifespan,
            redirect_slashes=False,
            docs_url=None,
            redoc_url=None,
        )
        self._tracking = tracking

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if self._tracking.answers(scope["path"]):
                return await self._tracking(scope, receive, send)
            if scope["method"] == "OPTIONS":
                await send({"type": "http.response.start", "status": 204, "headers": answers.preflight(dict(scope["headers"]))})
                return await send({"type": "http.response.body", "body": b""})
        return await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """FastAPI's document, with the tracking API's paths added."""
        if not self.openapi_schema:
            self.openapi_schema = with_tracking(super().openapi())
        return self.openapi_schema


def build(
    settings: Settings,
    tracking: Tracking,
    keyring: Keyring,
    readiness: endpoints.Readiness,
    lifespan: Lifespan | None = None,
) -> IngestApp:
    """The application over parts that are already made; tests hand it fakes."""
    app = IngestApp(tracking, lifespan)
    app.include_router(endpoints.health(readiness))
    app.include_router(endpoints.browser(settings, keyring))
    app.include_router(endpoints.replay(settings, tracking))
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _internal_error)
    return app


def _respond(refused: Refused, request: Request) -> Response:
    status, headers, body = answers.problem(refused, request.headers.get("origin", "").encode("latin-1") or None)
    response = Response(body, status)
    response.raw_headers = headers
    return response


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _respond(error, request)


async def _http_error(request: Request, error: Exception) -> Response:
    """SDKs switch themselves off on a 404 and take a 3xx for success: an unknown path is a 400."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        response = _respond(Refused(405, Refusal.METHOD_NOT_ALLOWED, "this path does not answer that method"), request)
        response.headers["allow"] = (error.headers or {}).get("Allow", "GET, OPTIONS")
        return response
    if error.status_code == 404:
        return _respond(Refused(400, Refusal.UNKNOWN_PATH, "there is no such path"), request)
    return _respond(Refused(400, Refusal.INVALID_REQUEST, str(error.detail)), request)


async def _invalid(request: Request, error: Exception) -> Response:
    return _respond(Refused(400, Refusal.INVALID_REQUEST, "a parameter is missing or malformed"), request)


async def _internal_error(request: Request, error: Exception) -> Response:
    return _respond(Refused(500, Refusal.INTERNAL_ERROR, "internal error"), request)
