"""The application: routers over parts, problem+json on every error, an OpenAPI document that says all of it."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi import params as kinds
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute

from services.query.adapters.http import failures, history, keys, problems, profiles, queries, rebuilds, segments, system
from services.query.adapters.http.envelope import Envelope
from services.query.domain.reasons import Code, Refused
from services.query.parts import Parts

PREFIX: Final = "/api/v1"
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


class QueryApp(FastAPI):
    """FastAPI, except that its own 422 is our 400."""

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            document = super().openapi()
            for path in document["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
                    _as_problems(operation["responses"])
            for unused in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(unused, None)
            self.openapi_schema = document
        return self.openapi_schema


def build(parts: Parts, group_prefix: str = "rapport", lifespan: Lifespan | None = None) -> QueryApp:
    """The application over parts that are already made; tests hand it fakes."""
    app = QueryApp(
        title="Rapport query API",
        version="1",
        summary="Live profiles, segments, messages, history",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{PREFIX}/openapi.json",
    )
    app.state.keys = parts.access
    api = APIRouter(prefix=PREFIX, dependencies=[Depends(each_parameter_known_and_once)])
    for routes in (
        profiles.router(parts),
        history.router(parts),
        segments.router(parts),
        queries.router(parts),
        failures.rejected(parts),
        failures.dead_letters(parts),
        keys.router(parts),
        rebuilds.router(parts),
        system.router(parts, group_prefix),
    ):
        api.include_router(routes)
    app.include_router(api)
    app.include_router(system.health(parts))
    problems.install(app, parts.metrics)
    app.add_middleware(Envelope, metrics=parts.metrics)
    return app


async def each_parameter_known_and_once(request: Request) -> None:
    """A filter that is misspelt must not silently filter nothing, nor one given twice by the last alone. Raises Refused (400).

    No parameter of this API is a list.
    """
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    known = {field.alias for field in get_flat_params(route.dependant) if isinstance(field.field_info, kinds.Query)}
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        message = f"unknown parameter {unknown[0]!r}; known here: {', '.join(sorted(known)) or 'none'}"
        raise Refused(400, Code.INVALID_REQUEST, message, unknown[0])
    given = Counter(name for name, _ in request.query_params.multi_items())
    twice = sorted(name for name, times in given.items() if times > 1)
    if twice:
        raise Refused(400, Code.INVALID_REQUEST, f"parameter {twice[0]!r} may be given once only", twice[0])


def _as_problems(responses: dict[str, Any]) -> None:
    """FastAPI documents every model as application/json; errors are problem+json."""
    for status, response in responses.items():
        content = response.get("content", {})
        if status >= "400" and "application/json" in content and "$ref" in content["application/json"].get("schema", {}):
            content[problems.MEDIA_TYPE] = content.pop("application/json")
        if status in ("429", "503") and problems.MEDIA_TYPE in content:
            response["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
