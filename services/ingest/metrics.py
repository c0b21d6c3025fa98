"""Every metric of ingest. Labels are closed sets; ids of people, sources or keys are never labels."""

from typing import Final

from services.ingest.domain.reasons import Reason
from shared.adapters.prometheus import RefusalCounts, Registry
from shared.contracts.events import EventType
from shared.contracts.metrics import Metric, MetricKind

C, G, H = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.HISTOGRAM
_SECONDS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

METRICS: Final = (
    Metric("rapport_ingest_requests_total", C, ("code",), "requests answered, by HTTP status"),
    Metric("rapport_ingest_requests_refused_total", C, ("reason",), "requests answered with an error, by its code"),
    Metric("rapport_ingest_request_seconds", H, (), "head of the request read to answer; includes Kafka's acknowledgement", _SECONDS),
    Metric("rapport_ingest_body_bytes_total", C, (), "bytes of bodies as they came"),
    Metric("rapport_ingest_events_received_total", C, ("type",), "events acknowledged by Kafka"),
    Metric("rapport_ingest_events_rejected_total", C, ("reason",), "events put into the rejected topic"),
    Metric("rapport_ingest_unusable_ids_total", C, ("field",), "ids that stand for nobody and counted as absent"),
    Metric("rapport_ingest_produce_errors_total", C, (), "records that Kafka did not acknowledge in time"),
    Metric("rapport_ingest_events_in_flight", G, (), "records waiting for Kafka's acknowledgement"),
    Metric("rapport_ingest_kafka_available", G, (), "1 while events are taken, 0 while callers get 503"),
    Metric("rapport_ingest_connections", G, (), "connections open; RAPPORT_MAX_CONNECTIONS of a process at most"),
    Metric("rapport_ingest_hung_up_total", C, ("reason",), "connections closed before a request was whole"),
    Metric("rapport_ingest_write_keys", G, (), "write keys known, revoked ones included"),
)


class Metrics(RefusalCounts):
    """The metrics, with their labels bound: labels() costs a microsecond a call, and the hot path has none to spare."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self.registry = registry
        self.requests = registry.counter("rapport_ingest_requests_total")
        self.requests_ok = self.requests.labels("200")
        self.refused = registry.counter("rapport_ingest_requests_refused_total")
        self.seconds = registry.histogram("rapport_ingest_request_seconds")
        self.body_bytes = registry.counter("rapport_ingest_body_bytes_total")
        received = registry.counter("rapport_ingest_events_received_total")
        self.received = {kind: received.labels(kind.value) for kind in EventType}
        rejected = registry.counter("rapport_ingest_events_rejected_total")
        self.rejected = {reason: rejected.labels(reason.value) for reason in Reason}
        self.unusable_ids = registry.counter("rapport_ingest_unusable_ids_total")
        self.produce_errors = registry.counter("rapport_ingest_produce_errors_total")
        self.in_flight = registry.gauge("rapport_ingest_events_in_flight")
        self.kafka_available = registry.gauge("rapport_ingest_kafka_available")
        self.connections = registry.gauge("rapport_ingest_connections")
        self.hung_up = registry.counter("rapport_ingest_hung_up_total")
        self.write_keys = registry.gauge("rapport_ingest_write_keys")
