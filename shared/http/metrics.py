"""What every process of the API counts of its requests. Labels are closed sets; ids of people, segments or keys are never labels."""

from typing import Final

from shared.adapters.prometheus import RefusalCounts, Registry
from shared.contracts.metrics import SECONDS, Metric, MetricKind

C, G, H = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.HISTOGRAM

HTTP_METRICS: Final = (
    Metric("rapport_api_requests_total", C, ("operation", "code"), "requests answered, by operation and HTTP status"),
    Metric("rapport_api_request_seconds", H, ("operation",), "request read to answer sent", SECONDS),
    Metric(
        "rapport_api_busy_total",
        C,
        ("pool",),
        "requests answered 429: the threads of a pool were taken, and the places to wait, or a key's half",
    ),
    Metric("rapport_query_keys", G, (), "query keys known, revoked ones included"),
)


class HttpMetrics(RefusalCounts):
    """The metrics of one process; a service with more of its own extends it."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self.registry = registry
        self.requests = registry.counter("rapport_api_requests_total")
        self.seconds = registry.histogram("rapport_api_request_seconds")
        self.busy = registry.counter("rapport_api_busy_total")
        self.keys = registry.gauge("rapport_query_keys")
