"""The application of the control service."""

from services.control.adapters.http import definitions, failures, keys, readiness, rebuilds, system
from services.control.parts import Parts
from shared.http.app import Api, Lifespan
from shared.http.app import build as build_api
from shared.http.health import health


def build(parts: Parts, group_prefix: str = "rapport", lifespan: Lifespan | None = None) -> Api:
    """The application over parts that are already made; tests hand it fakes."""
    routers = (
        failures.rejected(parts),
        failures.dead_letters(parts),
        keys.router(parts),
        rebuilds.router(parts),
        definitions.router(parts),
        system.router(parts, group_prefix),
    )
    ready = health(readiness.look(parts), parts.metrics)
    summary = "Definitions, keys, rejected events, dead letters, rebuilds, status"
    return build_api("Rapport control API", summary, routers, ready, parts.access, parts.metrics, lifespan)
