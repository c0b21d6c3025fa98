"""Every metric of messaging beside the runtime's. Labels are closed sets; no id of a person, a journey or a message is one."""

from typing import Final

from services.messaging.dispatch.ports import Observer
from shared.adapters.prometheus import Registry
from shared.contracts.changes import MessageStatus
from shared.contracts.metrics import SECONDS, Metric, MetricKind

C, G, H = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.HISTOGRAM

METRICS: Final = (
    Metric("rapport_messages_total", C, ("channel", "status"), "messages that reached a state of the ledger"),
    Metric("rapport_messages_suppressed_total", C, ("channel", "reason"), "messages not sent because a rule forbids it"),
    Metric("rapport_messages_deferred_total", C, ("channel", "reason"), "times a message had to wait"),
    Metric("rapport_dispatcher_repeated_total", C, (), "requests for a message that was settled or in hand already"),
    Metric("rapport_dispatcher_undecodable_total", C, (), "requests set aside because they cannot be read"),
    Metric(
        "rapport_dispatcher_waiting", G, ("slot", "channel", "class"), "requests in hand of a slot that wait for a place at their provider"
    ),
    Metric(
        "rapport_dispatcher_unread",
        G,
        ("slot", "channel", "class"),
        "records of the log from which a slot reads on once its hands have room",
    ),
    Metric("rapport_dispatcher_put_off", G, ("slot", "channel", "class"), "messages that wait for another try, out of hand"),
    Metric("rapport_dispatcher_gate_closed", G, ("slot",), "1 while a slot sends nothing because a stage before it has yet to catch up"),
    Metric("rapport_dispatcher_takeovers_total", C, (), "slots of the dispatcher taken over"),
    Metric(
        "rapport_dispatcher_dropped_repeats_total", C, (), "expired requests dropped: they were settled so long ago that their ids are gone"
    ),
    Metric("rapport_dispatcher_ledger_messages", G, ("slot",), "messages that the ledger of a slot knows: settled or under way"),
    Metric("rapport_dispatcher_ledger_bytes", G, ("slot",), "memory of the ids of a slot's settled messages, about"),
    Metric(
        "rapport_dispatcher_checkpoint_timestamp_seconds",
        G,
        ("slot",),
        "when (seconds since 1970) checkpoints last held every settled message of a slot",
    ),
    Metric("rapport_provider_seconds", H, ("channel", "provider"), "one message handed to a provider, from connection to answer", SECONDS),
    Metric("rapport_provider_places", G, ("channel", "provider"), "messages that may be on their way to a provider at once"),
    Metric("rapport_provider_places_used", G, ("channel", "provider"), "messages that are on their way to a provider"),
    Metric("rapport_provider_away", G, ("channel", "provider"), "1 while a provider is left alone because it does not take messages"),
    Metric("rapport_provider_off", G, ("channel", "provider"), "1 once a provider has said that it is gone for good: its messages fail"),
)


class Metrics(Observer):
    """Counts what the dispatcher tells."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def reached(self, channel: str, status: str, reason: str | None) -> None:
        counter = self._registry.counter
        counter("rapport_messages_total").labels(channel, status).inc()
        if status == MessageStatus.SUPPRESSED:
            counter("rapport_messages_suppressed_total").labels(channel, reason or "").inc()
        if status == MessageStatus.CLAIMED:
            counter("rapport_messages_deferred_total").labels(channel, reason or "").inc()

    def duplicate(self) -> None:
        self._registry.counter("rapport_dispatcher_repeated_total").inc()

    def undecodable(self) -> None:
        self._registry.counter("rapport_dispatcher_undecodable_total").inc()

    def gate(self, partition: int, reason: str | None) -> None:
        self._registry.gauge("rapport_dispatcher_gate_closed").labels(str(partition)).set(reason is not None)

    def waiting(self, partition: int, channel: str, message_class: str, in_hand: int, unread: int, put_off: int) -> None:
        for name, count in (("waiting", in_hand), ("unread", unread), ("put_off", put_off)):
            self._registry.gauge(f"rapport_dispatcher_{name}").labels(str(partition), channel or "none", message_class).set(count)

    def provider(self, channel: str, name: str, seconds: float, away: bool) -> None:
        self._registry.histogram("rapport_provider_seconds").labels(channel, name).observe(seconds)
        self._registry.gauge("rapport_provider_away").labels(channel, name).set(away)

    def switched_off(self, channel: str, name: str) -> None:
        self._registry.gauge("rapport_provider_off").labels(channel, name).set(1)

    def places(self, channel: str, name: str, used: int, count: int) -> None:
        self._registry.gauge("rapport_provider_places").labels(channel, name).set(count)
        self._registry.gauge("rapport_provider_places_used").labels(channel, name).set(used)

    def lost_to_retention(self, records: int) -> None:
        self._registry.counter("rapport_lost_to_retention_total").labels("dispatcher").inc(records)

    def forgotten(self) -> None:
        self._registry.counter("rapport_dispatcher_dropped_repeats_total").inc()

    def ledger(self, partition: int, messages: int, size: int) -> None:
        self._registry.gauge("rapport_dispatcher_ledger_messages").labels(str(partition)).set(messages)
        self._registry.gauge("rapport_dispatcher_ledger_bytes").labels(str(partition)).set(size)

    def checkpointed(self, partition: int) -> None:
        self._registry.gauge("rapport_dispatcher_checkpoint_timestamp_seconds").labels(str(partition)).set_to_current_time()

    def taken_over(self, partition: int) -> None:
        self._registry.counter("rapport_dispatcher_takeovers_total").inc()
