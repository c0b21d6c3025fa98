"""Rows of the dashboard: whether all is well, ingest, and the stages."""

from typing import Final

from deploy.grafana.shapes import RANGE, Chart, Figure, Query, Row, per_second, quantiles

WELL: Final = Row(
    "Is it well?",
    (
        Figure(
            "Processes that answer",
            "percentunit",
            "Share of Rapport's processes that answer their scrape.",
            Query('avg(up{job="rapport"})', "up"),
            bad=0.999,
            low_is_bad=True,
        ),
        Figure(
            "Events accepted",
            "cps",
            "Events a second that callers were told are safe in Kafka.",
            Query(f"sum(rate(rapport_ingest_events_received_total[{RANGE}]))", "events"),
            bad=-1,
            low_is_bad=True,
        ),
        Figure(
            "Calls that fail",
            "percentunit",
            "Share of tracking calls answered with 5xx. SDKs try them again.",
            Query(
                f'(sum(rate(rapport_ingest_requests_total{{code=~"5.."}}[{RANGE}])) or vector(0))'
                f" / sum(rate(rapport_ingest_requests_total[{RANGE}]))",
                "5xx",
            ),
            bad=0.01,
        ),
        Figure(
            "Furthest behind",
            "s",
            "Age of the newest record that the slowest stage has applied while others wait behind it.",
            Query("max(rapport_consumer_lag_seconds)", "lag"),
            bad=60,
        ),
        Figure(
            "Slots without an owner",
            "short",
            "People of these slots stand still; a stage has as many slots as topics have partitions.",
            Query("sum(scalar(max(rapport_partitions)) - sum by (stage) (rapport_slots_owned))", "slots"),
            bad=1,
        ),
        Figure(
            "Slots rebuilding",
            "short",
            "Slots that fold the log again; no message is sent meanwhile.",
            Query("sum(rapport_slots_rebuilding)", "slots"),
            bad=1,
        ),
        Figure(
            "Set aside in an hour",
            "short",
            "Records that could not be folded; replay them once the cause is mended.",
            Query("sum(increase(rapport_dead_letters_total[1h]))", "records"),
            bad=1,
        ),
        Figure(
            "Disk free",
            "percentunit",
            "Of the fullest disk.",
            Query("min(rapport_disk_free_bytes / rapport_disk_size_bytes)", "free"),
            bad=0.2,
            low_is_bad=True,
        ),
    ),
)

INGEST: Final = Row(
    "Ingest",
    (
        Chart(
            "Requests by status",
            "reqps",
            "Tracking calls answered a second.",
            (per_second("rapport_ingest_requests_total", "code"),),
            stacked=True,
        ),
        Chart(
            "Events accepted by type",
            "cps",
            "Events that Kafka has acknowledged.",
            (per_second("rapport_ingest_events_received_total", "type"),),
            stacked=True,
        ),
        Chart(
            "Time to answer",
            "s",
            "From the head of the request to the answer, Kafka's acknowledgement included.",
            quantiles("rapport_ingest_request_seconds"),
        ),
        Chart(
            "Events rejected by reason",
            "cps",
            "Kept with their bytes; `rejected` in the query API lists and replays them.",
            (per_second("rapport_ingest_events_rejected_total", "reason"),),
            stacked=True,
        ),
        Chart(
            "Calls refused by reason",
            "reqps",
            "Calls answered with an error, by its code.",
            (per_second("rapport_ingest_requests_refused_total", "reason"),),
            stacked=True,
        ),
        Chart(
            "Waiting for Kafka",
            "short",
            "Records that wait for an acknowledgement, and those that did not get one.",
            (
                Query("sum(rapport_ingest_events_in_flight)", "in flight"),
                Query(f"sum(increase(rapport_ingest_produce_errors_total[{RANGE}]))", "not acknowledged"),
            ),
        ),
        Chart(
            "Body bytes",
            "Bps",
            "As they came, compressed or not.",
            (Query(f"sum(rate(rapport_ingest_body_bytes_total[{RANGE}]))", "bytes"),),
        ),
        Chart(
            "Ids that stand for nobody",
            "cps",
            "Such as null, undefined or a zero UUID: they count as absent.",
            (per_second("rapport_ingest_unusable_ids_total", "field"),),
        ),
    ),
)

STAGES: Final = Row(
    "Stages",
    (
        Chart(
            "Records folded",
            "cps",
            "Input records each stage has applied.",
            (per_second("rapport_stage_records_total", "stage"),),
        ),
        Chart(
            "Behind, in seconds",
            "s",
            "Age of the newest applied record while records wait behind it.",
            (Query("max by (stage) (rapport_consumer_lag_seconds)", "{{stage}}"),),
        ),
        Chart(
            "Behind, in records",
            "short",
            "Between what is applied and the end of the log. In an idle system: clock records, which go with the next record.",
            (Query("sum by (stage, topic) (rapport_consumer_lag_records)", "{{stage}} {{topic}}"),),
        ),
        Chart(
            "Log to effect",
            "s",
            "From a record's append to its effects being durable; the last record of each chunk.",
            quantiles("rapport_stage_seconds", "stage"),
        ),
        Chart(
            "One chunk",
            "s",
            "From loading states to the delivery reports of what follows.",
            quantiles("rapport_stage_chunk_seconds", "stage"),
        ),
        Chart(
            "One batch",
            "bytes",
            "Outputs and states of one commit: what a worker's memory goes to. RAPPORT_BATCH_BYTES bounds it.",
            quantiles("rapport_batch_bytes", "stage"),
        ),
        Chart(
            "Slots",
            "short",
            "Owned and rebuilding; takeovers grow with each rebalance.",
            (
                Query("sum by (stage) (rapport_slots_owned)", "{{stage}} owned"),
                Query("sum by (stage) (rapport_slots_rebuilding)", "{{stage}} rebuilding"),
                Query(f"sum by (stage) (increase(rapport_takeovers_total[{RANGE}]))", "{{stage}} taken over"),
            ),
        ),
        Chart(
            "Repeated, late, absorbed, expired",
            "cps",
            "Records dropped as seen, forwarded to the winner of a merge, blobs folded in; anonymous people forgotten who never came back.",
            (
                Query(f"sum by (stage) (rate(rapport_stage_repeated_total[{RANGE}]))", "{{stage}} repeated"),
                Query(f"sum by (stage) (rate(rapport_stage_late_total[{RANGE}]))", "{{stage}} late"),
                Query(f"sum by (stage) (rate(rapport_stage_absorbed_total[{RANGE}]))", "{{stage}} absorbed"),
                Query(f"sum by (stage) (rate(rapport_stage_expired_total[{RANGE}]))", "{{stage}} expired"),
            ),
        ),
        Chart(
            "Timers",
            "cps",
            "Timers fired a second.",
            (per_second("rapport_timers_fired_total", "stage"),),
        ),
        Chart(
            "Decided anew under a set",
            "cps",
            "People looked at because a set of definitions took effect, and slots in which that goes on.",
            (
                Query(f"sum by (stage) (rate(rapport_swept_total[{RANGE}]))", "{{stage}} people"),
                Query("sum by (stage) (rapport_slots_sweeping)", "{{stage}} slots"),
            ),
        ),
        Chart(
            "Timers late by",
            "s",
            "Wall clock minus the stage's own time when timers last fired.",
            (Query("max by (stage) (rapport_timer_delay_seconds)", "{{stage}}"),),
        ),
        Chart(
            "Trouble",
            "short",
            "Each of these should be flat at zero.",
            (
                Query(f"sum by (stage) (increase(rapport_dead_letters_total[{RANGE}]))", "{{stage}} set aside"),
                Query("sum by (stage) (rapport_slots_braked)", "{{stage}} slots that stand still"),
                Query(f"sum by (stage) (increase(rapport_store_rolled_back_total[{RANGE}]))", "{{stage}} store rolled back"),
                Query(f"sum by (stage) (increase(rapport_store_retries_total[{RANGE}]))", "{{stage}} waited for a server"),
                Query(f"sum by (stage) (increase(rapport_gap_records_total[{RANGE}]))", "{{stage}} read again"),
                Query(f"sum by (stage) (increase(rapport_lost_to_retention_total[{RANGE}]))", "{{stage}} lost to retention"),
            ),
        ),
    ),
)
