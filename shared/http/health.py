"""/healthz, /readyz, /metrics of a process of the API."""

from collections.abc import Awaitable, Callable, Mapping

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shared.http.metrics import HttpMetrics

Troubles = Mapping[str, str | None]
"""What an answer stands on -> None, or why it does not hold."""
Look = Callable[[], Awaitable[tuple[Troubles, Troubles]]]
"""What a process needs to be ready; what is named only, since it answers without it what does not ask for it."""


def health(look: Look, metrics: HttpMetrics) -> APIRouter:
    """The three routes; `look` never waits long."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", operation_id="healthz", summary="The process runs")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get(
        "/readyz", operation_id="readyz", summary="Requests can be answered", responses={503: {"description": "not ready, and why"}}
    )
    async def readyz() -> JSONResponse:
        """Within a second. ClickHouse and Kafka are named but not needed: without them only what asks them answers 503."""
        needed, named = await look()
        ready = all(reason is None for reason in needed.values())
        told = {name: reason or "ok" for name, reason in (*needed.items(), *named.items())}
        return JSONResponse({"status": "ready" if ready else "not ready", "parts": told}, 200 if ready else 503)

    @routes.get("/metrics", operation_id="metrics", summary="Prometheus metrics", response_class=Response)
    async def prometheus() -> Response:
        return Response(generate_latest(metrics.registry.collectors), media_type=CONTENT_TYPE_LATEST)

    return routes
