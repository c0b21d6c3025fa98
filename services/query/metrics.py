"""Every metric of the query service. Labels are closed sets; ids of people, segments or keys are never labels."""

from typing import Final

from shared.adapters.prometheus import Registry
from shared.contracts.metrics import Metric, MetricKind
from shared.http.metrics import HTTP_METRICS, HttpMetrics

METRICS: Final = (
    *HTTP_METRICS,
    Metric("rapport_query_replayed_total", MetricKind.COUNTER, ("kind",), "dead letters and rejected events sent in again"),
)


class Metrics(HttpMetrics):
    """The metrics of one process."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self.replayed = registry.counter("rapport_query_replayed_total")
