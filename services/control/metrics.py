"""What the control service counts beside what every process of the API does. Labels are closed sets."""

from typing import Final

from shared.adapters.prometheus import Registry
from shared.contracts.metrics import Metric, MetricKind
from shared.http.metrics import HTTP_METRICS, HttpMetrics

METRICS: Final = (
    Metric("rapport_control_replayed_total", MetricKind.COUNTER, ("kind",), "dead letters and rejected events sent in again"),
)


class Metrics(HttpMetrics):
    """The metrics of one process."""

    def __init__(self) -> None:
        registry = Registry("control", (*HTTP_METRICS, *METRICS))
        super().__init__(registry)
        self.replayed = registry.counter("rapport_control_replayed_total")
