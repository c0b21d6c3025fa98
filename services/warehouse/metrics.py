"""Every metric of the warehouse. Labels are closed sets."""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

from services.warehouse.domain.rows import Table
from shared.adapters.prometheus import Registry
from shared.contracts.metrics import Metric, MetricKind

C, G, H = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.HISTOGRAM
STAGE: Final = "warehouse"
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

METRICS: Final = (
    Metric("rapport_warehouse_rows_total", C, ("table",), "rows written"),
    Metric(
        "rapport_warehouse_flush_seconds", H, ("table",), "one insert, from its first attempt to ClickHouse's acknowledgement", _SECONDS
    ),
    Metric("rapport_warehouse_last_success_timestamp_seconds", G, (), "when rows were last acknowledged, seconds since 1970"),
    Metric(
        "rapport_warehouse_visible_seconds",
        H,
        ("table",),
        "log-append time of the newest row of an insert to its acknowledgement",
        _SECONDS,
    ),
    Metric("rapport_warehouse_repeated_total", C, ("topic",), "records dropped because their cause had been seen"),
    Metric(
        "rapport_warehouse_bad_values_total",
        C,
        ("reason",),
        "values that no column can hold, and amounts out of range; the row is kept, the column is NULL",
    ),
    Metric("rapport_warehouse_blocked", G, (), "1 while what is in hand cannot be written"),
    Metric(
        "rapport_warehouse_lost",
        G,
        (),
        "1 while ClickHouse lacks rows that were written to it: nothing is written until they are loaded again",
    ),
    Metric("rapport_warehouse_rebuild_left_records", G, (), "records that an ordered rebuild still has to read"),
    Metric("rapport_warehouse_retries_total", C, (), "inserts and commits that had to be tried again"),
)


class WarehouseMetrics:
    """Counts what the loader tells, and knows whether it is held up."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._newest_ms = 0
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._gap: str | None = None
        for table in Table:
            registry.counter("rapport_warehouse_rows_total").labels(table.label)

    @property
    def reason(self) -> str | None:
        """Why nothing can be written now, None if it can."""
        with self._lock:
            return self._reason

    def written(self, table: Table, rows: int, seconds: float, newest_ms: int) -> None:
        now = time.time()
        self._registry.counter("rapport_warehouse_rows_total").labels(table.label).inc(rows)
        self._registry.histogram("rapport_warehouse_flush_seconds").labels(table.label).observe(seconds)
        self._registry.histogram("rapport_warehouse_visible_seconds").labels(table.label).observe(max(0.0, now - newest_ms / 1000))
        self._registry.gauge("rapport_warehouse_last_success_timestamp_seconds").set(now)
        self._newest_ms = max(self._newest_ms, newest_ms)

    def done(self, topic: str, repeated: int, faults: Sequence[str]) -> None:
        if repeated:
            self._registry.counter("rapport_warehouse_repeated_total").labels(topic).inc(repeated)
        for fault in faults:
            self._registry.counter("rapport_warehouse_bad_values_total").labels(fault).inc()

    def held_up(self, reason: str | None) -> None:
        with self._lock:
            self._reason = reason
        self._registry.gauge("rapport_warehouse_blocked").set(0 if reason is None else 1)

    def missing(self, lost: bool) -> None:
        self._registry.gauge("rapport_warehouse_lost").set(lost)

    def rebuilding(self, left: int, gap: bool) -> None:
        """`gap`: rows are missing until all of them are read."""
        with self._lock:
            self._gap = f"{left} records of a rebuild are still to be loaded" if left and gap else None
        self._registry.gauge("rapport_warehouse_rebuild_left_records").set(left)

    @property
    def gap(self) -> str | None:
        """Why the tables are not whole, though they are written; None if they are."""
        with self._lock:
            return self._gap

    def retried(self) -> None:
        self._registry.counter("rapport_warehouse_retries_total").inc()

    def lost(self, records: int) -> None:
        self._registry.counter("rapport_lost_to_retention_total").labels(STAGE).inc(records)

    def standing(self, waiting: Mapping[str, int]) -> None:
        for topic, records in waiting.items():
            self._registry.gauge("rapport_consumer_lag_records").labels(STAGE, topic).set(records)
        behind = sum(waiting.values()) > 0 and self._newest_ms > 0
        self._registry.gauge("rapport_consumer_lag_seconds").labels(STAGE).set(
            max(0.0, time.time() - self._newest_ms / 1000) if behind else 0
        )
