"""Every error as problem+json (RFC 9457) with the extension members `code` and `message`."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from shared.contracts.problems import MEDIA_TYPE, problem_document
from shared.contracts.slots import NotSettled
from shared.contracts.versions import NewerVersion
from shared.http.metrics import HttpMetrics
from shared.http.reasons import RETRY_SECONDS, Code, Refused
from shared.reading.away import Busy, HistoryAway, HistoryLost, HistoryTooMuch, LiveAway, LogAway

_log = structlog.get_logger("http")


class DefinitionProblem(BaseModel):
    """One thing wrong in a definition file."""

    file: str
    line: int = Field(description="from 1 on")
    path: str = Field(description="as in `when.all[0].within`; empty: the file as a whole")
    message: str


class Problem(BaseModel):
    """Why a request was not answered as it asks."""

    type: str = Field(examples=["about:blank"])
    title: str
    status: int
    detail: str
    code: Code
    message: str
    field: str | None = Field(None, description="the parameter at fault")
    problems: list[DefinitionProblem] | None = Field(None, description="of `wrong_definitions`: every mistake")


_MEANINGS: Final = {
    400: "a parameter or the body cannot be used, or the query asks for too much",
    401: "no query key, or none that is good",
    403: "the key lacks the scope",
    404: "there is no such thing",
    409: "not now, or not this one",
    429: "too much is asked of a store already; Retry-After says when to ask again",
    500: "a fault of this service",
    502: "ingest refused",
    503: "a store does not answer now; Retry-After says when to ask again",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route: these errors beside those that every route has."""
    every = (400, 401, 403, 429, 500, 503, *statuses)
    return {status: {"model": Problem, "description": _MEANINGS[status]} for status in sorted(every)}


def respond(refused: Refused) -> Response:
    body = problem_document(refused.status, refused.code.value, refused.message, refused.field, [asdict(one) for one in refused.problems])
    response = Response(body, refused.status, media_type=MEDIA_TYPE)
    if refused.retry_after is not None:
        response.headers["retry-after"] = str(refused.retry_after)
    if refused.status == 401:
        response.headers["www-authenticate"] = 'Bearer realm="rapport"'
    return response


def internal(method: str, error: Exception) -> Response:
    """Log a fault of this service, once and with its traceback; nothing of it is said outside."""
    _log.error("internal_error", method=method, exc_info=error)
    return respond(Refused(500, Code.INTERNAL_ERROR, "internal error"))


def install(app: FastAPI, metrics: HttpMetrics) -> None:
    """Answer every exception that means something with a problem document; envelope.py answers the others."""

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return respond(error)

    async def away(request: Request, error: Exception) -> Response:
        code, message = _AWAY[type(error)]
        if isinstance(error, HistoryLost):
            message = str(error)
        _log.warning("store_away", path=request.url.path.split("/")[:4], code=code.value, detail=str(error))
        return respond(Refused(503, code, message, retry_after=RETRY_SECONDS))

    async def busy(_: Request, error: Exception) -> Response:
        assert isinstance(error, Busy)
        metrics.busy.labels(error.pool).inc()
        message = f"{error.store} has as many questions of this kind as it, or one key, may have: ask again after Retry-After"
        return respond(Refused(429, Code.TOO_BUSY, message, retry_after=RETRY_SECONDS))

    async def too_much(_: Request, error: Exception) -> Response:
        return respond(Refused(400, Code.QUERY_TOO_LARGE, "the query needs more time, rows or memory than it may have: ask for less"))

    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(Busy, busy)
    app.add_exception_handler(HistoryTooMuch, too_much)
    for kind in _AWAY:
        app.add_exception_handler(kind, away)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)


_AWAY: Final[dict[type[Exception], tuple[Code, str]]] = {
    LiveAway: (Code.LIVE_UNAVAILABLE, "the live view (Redis) does not answer now"),
    HistoryAway: (Code.HISTORY_UNAVAILABLE, "the history (ClickHouse) does not answer now"),
    HistoryLost: (Code.HISTORY_INCOMPLETE, "the history (ClickHouse) is not whole"),
    LogAway: (Code.LOG_UNAVAILABLE, "the log (Kafka) does not answer now"),
    NewerVersion: (Code.LIVE_UNAVAILABLE, "the live view (Redis) is written by a newer release than this process: update it"),
    NotSettled: (Code.LOG_UNAVAILABLE, "the number of partitions has not been read from the log (Kafka) yet"),
}


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0]
    if first["type"] == "json_invalid":
        return respond(
            Refused(400, Code.INVALID_REQUEST, f"the body is no valid JSON at character {first['loc'][-1]}: {first['ctx']['error']}")
        )
    where = [str(part) for part in first["loc"][1:]]
    message = f"{'.'.join(where)}: {first['msg']}" if where else str(first["msg"])
    return respond(Refused(400, Code.INVALID_REQUEST, message, ".".join(where) or None))


def _methods(request: Request) -> str:
    """Every method of the path: the router itself names those of the first route only."""
    found = {
        method
        for route in request.app.routes
        if isinstance(route, APIRoute) and route.path_regex.match(request.scope["path"])
        for method in route.methods or ()
    }
    return ", ".join(sorted(found))


async def _http_error(request: Request, error: Exception) -> Response:
    """What the router says by itself: no such path, another method."""
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        response = respond(Refused(405, Code.METHOD_NOT_ALLOWED, "this path does not answer that method"))
        response.headers["allow"] = _methods(request)
        return response
    if error.status_code == HTTPStatus.NOT_FOUND:
        return respond(Refused(404, Code.UNKNOWN_PATH, "there is no such path"))
    return respond(Refused(error.status_code, Code.INVALID_REQUEST, str(error.detail)))
