"""The application of the query service."""

from services.query.adapters.http import failures, history, keys, profiles, queries, rebuilds, segments, system
from services.query.parts import Parts
from shared.http.app import Api, Lifespan
from shared.http.app import build as build_api
from shared.http.health import health


def build(parts: Parts, group_prefix: str = "rapport", lifespan: Lifespan | None = None) -> Api:
    """The application over parts that are already made; tests hand it fakes."""
    routers = (
        profiles.router(parts),
        history.router(parts),
        segments.router(parts),
        queries.router(parts),
        failures.rejected(parts),
        failures.dead_letters(parts),
        keys.router(parts),
        rebuilds.router(parts),
        system.router(parts, group_prefix),
    )
    ready = health(system.readiness(parts), parts.metrics)
    summary = "Live profiles, segments, messages, history"
    return build_api("Rapport query API", summary, routers, ready, parts.access, parts.metrics, lifespan)
