"""The application of a process of the API: routers, problem+json on every error, an OpenAPI document that says all of it."""

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI

from shared.contracts.problems import MEDIA_TYPE
from shared.http import problems
from shared.http.envelope import Envelope
from shared.http.key_access import KeyAccess
from shared.http.metrics import HttpMetrics
from shared.http.parameters import each_parameter_known_and_once

PREFIX: Final = "/api/v1"
DOCUMENT: Final = f"{PREFIX}/openapi.json"
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


class Api(FastAPI):
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


def build(
    title: str,
    summary: str,
    routers: Iterable[APIRouter],
    health: APIRouter,
    keys: KeyAccess,
    metrics: HttpMetrics,
    lifespan: Lifespan | None = None,
) -> Api:
    """The application over `routers`, each below PREFIX, and `health` beside them. `keys`: whose bearer keys are good."""
    app = Api(
        title=title,
        version="1",
        summary=summary,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        openapi_url=DOCUMENT,
    )
    app.state.keys = keys
    api = APIRouter(prefix=PREFIX, dependencies=[Depends(each_parameter_known_and_once)])
    for routes in routers:
        api.include_router(routes)
    app.include_router(api)
    app.include_router(health)
    problems.install(app, metrics)
    app.add_middleware(Envelope, metrics=metrics)
    return app


def _as_problems(responses: dict[str, Any]) -> None:
    """FastAPI documents every model as application/json; errors are problem+json."""
    for status, response in responses.items():
        content = response.get("content", {})
        if status >= "400" and "application/json" in content and "$ref" in content["application/json"].get("schema", {}):
            content[MEDIA_TYPE] = content.pop("application/json")
        if status in ("429", "503") and MEDIA_TYPE in content:
            response["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
