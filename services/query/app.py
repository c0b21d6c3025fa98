"""The application of the query service."""

from services.query.adapters.http import history, profiles, queries, readiness, segments
from services.query.parts import Parts
from shared.http.app import Api, Lifespan
from shared.http.app import build as build_api
from shared.http.health import health


def build(parts: Parts, lifespan: Lifespan | None = None) -> Api:
    """The application over parts that are already made; tests hand it fakes."""
    routers = (profiles.router(parts), history.router(parts), segments.router(parts), queries.router(parts))
    ready = health(readiness.look(parts), parts.metrics)
    summary = "Live profiles, segments, messages, history"
    return build_api("Rapport query API", summary, routers, ready, parts.access, parts.metrics, lifespan)
