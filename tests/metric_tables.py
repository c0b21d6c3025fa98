"""Every metric of the project: the runtime's table and those of the services."""

from importlib import import_module
from typing import Final

from deploy.local.settings import PROJECT
from shared.contracts.metrics import METRICS, Metric
from shared.http.metrics import HTTP_METRICS

SERVICES: Final = tuple(sorted(path.name for path in (PROJECT / "services").iterdir() if (path / "main.py").exists()))


def service_tables() -> dict[str, tuple[Metric, ...]]:
    """The table of each service that has one (services/<name>/metrics.py), and the proxy's."""
    own = [name for name in SERVICES if (PROJECT / "services" / name / "metrics.py").exists()]
    places = {name: f"services.{name}.metrics" for name in own} | {"proxy": "deploy.local.proxy.metrics"}
    return {name: import_module(place).METRICS for name, place in places.items()}


def all_metrics() -> dict[str, Metric]:
    """By name."""
    return {metric.name: metric for table in (METRICS, HTTP_METRICS, *service_tables().values()) for metric in table}
