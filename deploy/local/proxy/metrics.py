"""Every metric of the proxy. Labels are closed sets."""

from enum import StrEnum
from typing import Final

from shared.adapters.prometheus import Registry
from shared.contracts.metrics import SECONDS, Metric, MetricKind

METRICS: Final = (
    Metric(
        "rapport_proxy_requests_total",
        MetricKind.COUNTER,
        ("backend", "code"),
        "requests answered, by the service that they are for (`proxy`: answered here) and HTTP status",
    ),
    Metric("rapport_proxy_request_seconds", MetricKind.HISTOGRAM, ("backend",), "head of a request read to its answer sent", SECONDS),
    Metric(
        "rapport_proxy_failures_total",
        MetricKind.COUNTER,
        ("backend", "reason"),
        "requests that a service did not answer: unreachable, broken_off, silent, busy (too many under way), cut (in mid-answer)",
    ),
)


class Failure(StrEnum):
    """Why a service gave no whole answer."""

    UNREACHABLE = "unreachable"
    BROKEN_OFF = "broken_off"
    SILENT = "silent"
    BUSY = "busy"
    CUT = "cut"


class Metrics:
    """The metrics of one process."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.requests = registry.counter("rapport_proxy_requests_total")
        self.seconds = registry.histogram("rapport_proxy_request_seconds")
        self.failures = registry.counter("rapport_proxy_failures_total")
