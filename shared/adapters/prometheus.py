"""Metrics by prometheus-client, made from the tables in contracts/metrics.py and services/*/metrics.py."""

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.contracts.definitions import DefinitionRefusal
from shared.contracts.key_signature import KeyRefusal
from shared.contracts.metrics import METRICS, Metric, MetricKind
from shared.runtime.observer import Observer

VERSION: Final = "0.1.0"


class Registry:
    """One process's metrics, by name as the tables have it."""

    def __init__(self, service: str, metrics: Iterable[Metric] = ()) -> None:
        self.collectors = CollectorRegistry(auto_describe=True)
        self._made: dict[str, Counter | Gauge | Histogram] = {}
        for metric in (*METRICS, *metrics):
            self._made[metric.name] = self._make(metric)
        self.gauge("rapport_build_info").labels(service, VERSION).set(1)
        # read at each scrape; a process group that shares its figures (ingest with several) shows none
        self.gauge("rapport_disk_free_bytes").set_function(lambda: _disk().f_bavail * _disk().f_frsize)
        self.gauge("rapport_disk_size_bytes").set_function(lambda: _disk().f_blocks * _disk().f_frsize)

    def _make(self, metric: Metric) -> Counter | Gauge | Histogram:
        if metric.kind is MetricKind.COUNTER:
            return Counter(metric.name, metric.meaning, metric.labels, registry=self.collectors)
        if metric.kind is MetricKind.GAUGE:
            return Gauge(metric.name, metric.meaning, metric.labels, registry=self.collectors)
        return Histogram(metric.name, metric.meaning, metric.labels, buckets=metric.buckets, registry=self.collectors)

    def counter(self, name: str) -> Counter:
        made = self._made[name]
        assert isinstance(made, Counter), name
        return made

    def gauge(self, name: str) -> Gauge:
        made = self._made[name]
        assert isinstance(made, Gauge), name
        return made

    def histogram(self, name: str) -> Histogram:
        made = self._made[name]
        assert isinstance(made, Histogram), name
        return made


def _disk() -> os.statvfs_result:
    return os.statvfs(".")


class RuntimeMetrics(Observer):
    """Counts what the runtime tells."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._sweeping: defaultdict[str, set[int]] = defaultdict(set)

    def folded(self, stage: str, topic: str, counts: Mapping[str, int]) -> None:
        counter = self.registry.counter
        counter("rapport_stage_records_total").labels(stage, topic).inc(counts["folded"])
        for count, name in (
            ("repeated", "rapport_stage_repeated_total"),
            ("late", "rapport_stage_late_total"),
            ("absorbed", "rapport_stage_absorbed_total"),
            ("unmerged", "rapport_stage_unmerged_total"),
            ("expired", "rapport_stage_expired_total"),
            ("refused", "rapport_stage_refused_total"),
            ("ignored", "rapport_stage_ignored_numbers_total"),
            ("stuck", "rapport_stage_stuck_total"),
        ):
            if counts[count]:
                counter(name).labels(stage).inc(counts[count])
        if counts["failed"]:
            counter("rapport_dead_letters_total").labels(stage, topic).inc(counts["failed"])

    def definition_refused(self, reason: DefinitionRefusal) -> None:
        self.registry.counter("rapport_definition_records_refused_total").labels(reason.value).inc()

    def gap(self, stage: str, records: int) -> None:
        self.registry.counter("rapport_gap_records_total").labels(stage).inc(records)

    def chunk(self, stage: str, seconds: float, appended_ms: int) -> None:
        self.registry.histogram("rapport_stage_chunk_seconds").labels(stage).observe(seconds)
        self.registry.histogram("rapport_stage_seconds").labels(stage).observe(max(0.0, time.time() - appended_ms / 1000))

    def timers_fired(self, stage: str, count: int, now: int) -> None:
        self.registry.counter("rapport_timers_fired_total").labels(stage).inc(count)
        self.registry.gauge("rapport_timer_delay_seconds").labels(stage).set(max(0.0, time.time() - now / 1000))

    def swept(self, stage: str, partition: int, count: int, going_on: bool) -> None:
        self.registry.counter("rapport_swept_total").labels(stage).inc(count)
        self._sweep(stage, partition, going_on)

    def _sweep(self, stage: str, partition: int, going_on: bool) -> None:
        slots = self._sweeping[stage]
        (slots.add if going_on else slots.discard)(partition)
        self.registry.gauge("rapport_slots_sweeping").labels(stage).set(len(slots))

    def taken_over(self, stage: str, partition: int) -> None:
        self._sweep(stage, partition, False)
        self.registry.counter("rapport_takeovers_total").labels(stage).inc()

    def rolled_back(self, stage: str) -> None:
        self.registry.counter("rapport_store_rolled_back_total").labels(stage).inc()

    def committed(self, stage: str, batch: int, outbox: int, cached: int) -> None:
        self.registry.histogram("rapport_batch_bytes").labels(stage).observe(batch)
        self.registry.counter("rapport_outbox_bytes_total").labels(stage).inc(outbox)
        self.registry.gauge("rapport_cached_states_bytes").labels(stage).set(cached)

    def braked(self, stage: str, partition: int, stands: bool) -> None:
        self.registry.gauge("rapport_slots_braked").labels(stage).inc(1 if stands else -1)

    def retried(self, stage: str) -> None:
        self.registry.counter("rapport_store_retries_total").labels(stage).inc()

    def publishing(self, waiting_s: float) -> None:
        self.registry.gauge("rapport_publication_waiting_seconds").set(waiting_s)

    def lost_to_retention(self, stage: str, records: int) -> None:
        self.registry.counter("rapport_lost_to_retention_total").labels(stage).inc(records)

    def partitions(self, count: int) -> None:
        self.registry.gauge("rapport_partitions").set(count)

    def slots(self, stage: str, owned: int, rebuilding: int, lag: Mapping[str, int], lag_seconds: float) -> None:
        gauge = self.registry.gauge
        gauge("rapport_slots_owned").labels(stage).set(owned)
        gauge("rapport_slots_rebuilding").labels(stage).set(rebuilding)
        gauge("rapport_consumer_lag_seconds").labels(stage).set(lag_seconds)
        for topic, records in lag.items():
            gauge("rapport_consumer_lag_records").labels(stage, topic).set(records)


class RefusalCounts:
    """Counts records of keys and of definitions that were refused, as their signature or their age forbids to go by them."""

    def __init__(self, registry: Registry) -> None:
        refused = registry.counter("rapport_key_records_refused_total")
        self._keys_refused = {reason: refused.labels(reason.value) for reason in KeyRefusal}
        refused = registry.counter("rapport_definition_records_refused_total")
        self._definitions_refused = {reason: refused.labels(reason.value) for reason in DefinitionRefusal}

    def key_refused(self, reason: KeyRefusal) -> None:
        """Count a record of the key topic that counts for nothing."""
        self._keys_refused[reason].inc()

    def definition_refused(self, reason: DefinitionRefusal) -> None:
        """Count a record of the definitions' topic that counts for nothing."""
        self._definitions_refused[reason].inc()
