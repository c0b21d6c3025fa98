"""The metrics of workers: name, kind, labels, meaning; other processes have a metrics.py of their own. Prefix `rapport_`; base units; no id
of a person, segment or message is ever a label.

A process registers what it uses by `shared.adapters.prometheus`; a test holds that nothing else is exposed under the prefix.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class MetricKind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Metric:
    """`buckets`: upper bounds of a histogram, in the metric's unit."""

    name: str
    kind: MetricKind
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = ()


BATCH_BYTES: Final = tuple(float(1024 * 4**power) for power in range(9))
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

C, G, H = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.HISTOGRAM

METRICS: Final[tuple[Metric, ...]] = (
    Metric("rapport_build_info", G, ("service", "version"), "1, for the version that runs"),
    Metric(
        "rapport_disk_free_bytes", G, (), "free on the disk that holds the process's working folder; under containers, that of the engine"
    ),
    Metric("rapport_disk_size_bytes", G, (), "size of that disk"),
    Metric("rapport_stage_records_total", C, ("stage", "topic"), "input records folded"),
    Metric(
        "rapport_stage_repeated_total", C, ("stage",), "input records dropped because their cause had been seen, or blobs absorbed before"
    ),
    Metric("rapport_stage_late_total", C, ("stage",), "records forwarded to the winner of a merge"),
    Metric("rapport_stage_absorbed_total", C, ("stage",), "blobs of merged people folded in"),
    Metric(
        "rapport_stage_unmerged_total",
        C,
        ("stage",),
        "merges that are dead letters: the winner goes on without",
    ),
    Metric("rapport_stage_expired_total", C, ("stage",), "states forgotten, of anonymous people who never came back"),
    Metric("rapport_stage_refused_total", C, ("stage",), "parts of a person's state left out by its bound; of journeys: passages"),
    Metric(
        "rapport_stage_ignored_numbers_total",
        C,
        ("stage",),
        "numbers out of range that count as absent: single ones, and sums beyond 64 bits",
    ),
    Metric(
        "rapport_stage_stuck_total",
        C,
        ("stage",),
        "looks at passages that are due and stand still: no set of definitions in the log has the version that they entered",
    ),
    Metric(
        "rapport_stage_seconds", H, ("stage",), "log-append time of a record to its effects being durable: the last of each chunk", SECONDS
    ),
    Metric("rapport_stage_chunk_seconds", H, ("stage",), "one chunk from load to delivery reports", SECONDS),
    Metric("rapport_batch_bytes", H, ("stage",), "outputs and states of one commit; RAPPORT_BATCH_BYTES bounds them", BATCH_BYTES),
    Metric("rapport_outbox_bytes_total", C, ("stage",), "bytes of outputs committed"),
    Metric("rapport_cached_states_bytes", G, ("stage",), "memory that decoded states of the slot that committed last take, about"),
    Metric("rapport_dead_letters_total", C, ("stage", "topic"), "records set aside because they could not be folded"),
    Metric("rapport_slots_braked", G, ("stage",), "owned slots that stand still because records of most keys cannot be folded"),
    Metric("rapport_timers_fired_total", C, ("stage",), "timers fired"),
    Metric("rapport_swept_total", C, ("stage",), "keys looked at because a set of definitions took effect"),
    Metric("rapport_slots_sweeping", G, ("stage",), "owned slots in which such a sweep is under way"),
    Metric("rapport_timer_delay_seconds", G, ("stage",), "wall clock minus the stage's own time when timers last fired"),
    Metric(
        "rapport_partitions", G, (), "partitions of every data topic, so many slots has a stage; 0 until a worker has read it from Kafka"
    ),
    Metric("rapport_slots_owned", G, ("stage",), "slots this process owns"),
    Metric("rapport_slots_rebuilding", G, ("stage",), "owned slots that have not yet passed the end noted at their takeover"),
    Metric("rapport_gap_records_total", C, ("stage",), "records that the consumer skipped and the slot read again itself"),
    Metric("rapport_takeovers_total", C, ("stage",), "slots taken over; grows with each rebalance"),
    Metric("rapport_store_rolled_back_total", C, ("stage",), "times Redis was found to have lost what was committed"),
    Metric("rapport_publication_waiting_seconds", G, (), "how long the oldest publication has been waiting for Kafka's acknowledgement"),
    Metric(
        "rapport_key_records_refused_total",
        C,
        ("reason",),
        "records of the key topic that count for nothing: not signed by this installation, or an older state of a key",
    ),
    Metric(
        "rapport_definition_records_refused_total",
        C,
        ("reason",),
        "records of definition.changed that count for nothing: not signed by this installation, not what their key says, or out of order",
    ),
    Metric("rapport_store_retries_total", C, ("stage",), "chunks that waited because Redis or Kafka did not answer"),
    Metric(
        "rapport_lost_to_retention_total",
        C,
        ("stage",),
        "records that left the log before they were applied, or before what passes them on was published",
    ),
    Metric(
        "rapport_consumer_lag_records",
        G,
        ("stage", "topic"),
        "records between what is applied and the end of the log, all owned partitions; up to the square of the partitions in an idle "
        "system are clock records, which are applied with the next record",
    ),
    Metric("rapport_consumer_lag_seconds", G, ("stage",), "age of the newest applied record while records wait behind it, else 0"),
)
"""The runtime's part; services add theirs in the same form (services/<name>/metrics.py)."""
