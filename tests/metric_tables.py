"""Every metric of the project: the runtime's table and those of the services."""

from importlib import import_module
from typing import Final

from deploy.local.settings import PROJECT
from shared.contracts.metrics import METRICS, Metric

SERVICES: Final = tuple(sorted(path.name for path in (PROJECT / "services").iterdir() if (path / "main.py").exists()))


def service_tables() -> dict[str, tuple[Metric, ...]]:
    """The table of each service that has one (services/<name>/metrics.py)."""
    own = [name for name in SERVICES if (PROJECT / "services" / name / "metrics.py").exists()]
    return {name: import_module(f"services.{name}.metrics").METRICS for name in own}


def all_metrics() -> dict[str, Metric]:
    """By name."""
    return {metric.name: metric for table in (METRICS, *service_tables().values()) for metric in table}
