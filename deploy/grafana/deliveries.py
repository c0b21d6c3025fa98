"""Rows of the dashboard: what leaves the stages (messages, ClickHouse, the query API), and the machine."""

from typing import Final

from deploy.grafana.shapes import RANGE, Chart, Query, Row, per_second, quantiles

MESSAGES: Final = Row(
    "Messages",
    (
        Chart(
            "Messages by state",
            "cps",
            "Messages that reached a state of the ledger, a second.",
            (per_second("rapport_messages_total", "channel, status"),),
        ),
        Chart(
            "Not sent, by reason",
            "cps",
            "Suppressed: a rule forbids it. Deferred: it had to wait.",
            (
                Query(f"sum by (channel, reason) (rate(rapport_messages_suppressed_total[{RANGE}]))", "{{channel}} suppressed {{reason}}"),
                Query(f"sum by (channel, reason) (rate(rapport_messages_deferred_total[{RANGE}]))", "{{channel}} deferred {{reason}}"),
            ),
        ),
        Chart(
            "Waiting for a provider",
            "short",
            "Requests without a place at their provider, in hand or still in the log, and messages put off for another try.",
            (
                Query(
                    "sum by (channel, class) (rapport_dispatcher_waiting) + sum by (channel, class) (rapport_dispatcher_unread)",
                    "{{channel}} {{class}}",
                ),
                Query("sum by (channel, class) (rapport_dispatcher_put_off)", "{{channel}} {{class}} put off"),
            ),
        ),
        Chart(
            "Places at a provider",
            "short",
            "Messages on their way at once, and how many may be. All in use while messages wait: the provider is slower than the campaign.",
            (
                Query("sum by (provider) (rapport_provider_places_used)", "{{provider}} used"),
                Query("sum by (provider) (rapport_provider_places)", "{{provider}}"),
            ),
        ),
        Chart(
            "Dispatcher",
            "short",
            "Slots that send nothing for now, requests seen twice, requests that cannot be read.",
            (
                Query("sum(rapport_dispatcher_gate_closed)", "slots held"),
                Query(f"sum(increase(rapport_dispatcher_repeated_total[{RANGE}]))", "repeated"),
                Query(f"sum(increase(rapport_dispatcher_undecodable_total[{RANGE}]))", "set aside"),
                Query(f"sum(increase(rapport_dispatcher_takeovers_total[{RANGE}]))", "slots taken over"),
            ),
        ),
        Chart(
            "The ledger",
            "short",
            "Messages that the dispatcher knows: settled until a day after they expire, or under way. Dropped: seen again later.",
            (
                Query("sum(rapport_dispatcher_ledger_messages)", "messages"),
                Query("sum(rapport_dispatcher_ledger_bytes)", "bytes of ids"),
                Query(
                    "time() - min(max by (slot) (rapport_dispatcher_checkpoint_timestamp_seconds))", "seconds since the oldest checkpoint"
                ),
                Query(f"sum(increase(rapport_dispatcher_dropped_repeats_total[{RANGE}]))", "dropped"),
            ),
        ),
        Chart(
            "Handing over to a provider",
            "s",
            "From connection to answer.",
            quantiles("rapport_provider_seconds", "provider"),
        ),
        Chart(
            "Providers left alone",
            "short",
            "1 while a provider is not tried because it takes no messages, or once it has said that it is gone.",
            (
                Query("max by (provider) (rapport_provider_away)", "{{provider}}"),
                Query("max by (provider) (rapport_provider_off)", "{{provider}} gone"),
            ),
        ),
    ),
)

WAREHOUSE: Final = Row(
    "Warehouse",
    (
        Chart(
            "Rows written",
            "cps",
            "Rows that ClickHouse has acknowledged, by table.",
            (per_second("rapport_warehouse_rows_total", "table"),),
        ),
        Chart(
            "One insert",
            "s",
            "From its first attempt to ClickHouse's acknowledgement.",
            quantiles("rapport_warehouse_flush_seconds", "table"),
        ),
        Chart(
            "Log to row",
            "s",
            "From the append of an insert's newest record to its acknowledgement.",
            quantiles("rapport_warehouse_visible_seconds", "table"),
        ),
        Chart(
            "Since rows were last taken",
            "s",
            "Grows while there is nothing to write, too: it matters while the sink is blocked.",
            (Query("time() - max(rapport_warehouse_last_success_timestamp_seconds)", "age"),),
        ),
        Chart(
            "Trouble of the sink",
            "short",
            "Blocked: what is in hand cannot be written. Repeated: records dropped as seen. Bad values: became NULL.",
            (
                Query("max(rapport_warehouse_blocked)", "blocked"),
                Query(f"sum(increase(rapport_warehouse_retries_total[{RANGE}]))", "tried again"),
                Query(f"sum by (topic) (increase(rapport_warehouse_repeated_total[{RANGE}]))", "{{topic}} repeated"),
                Query(f"sum by (reason) (increase(rapport_warehouse_bad_values_total[{RANGE}]))", "bad value {{reason}}"),
            ),
        ),
    ),
)

QUERY: Final = Row(
    "API",
    (
        Chart(
            "Requests by status",
            "reqps",
            "Questions answered a second.",
            (per_second("rapport_api_requests_total", "code"),),
            stacked=True,
        ),
        Chart(
            "Time to answer",
            "s",
            "By operation.",
            quantiles("rapport_api_request_seconds", "operation"),
        ),
        Chart(
            "Replayed",
            "cps",
            "Dead letters and rejected events sent in again.",
            (per_second("rapport_control_replayed_total", "kind"),),
        ),
    ),
)

MACHINE: Final = Row(
    "Machine",
    (
        Chart(
            "Disk free",
            "bytes",
            "On the disk that holds each process's working folder.",
            (Query("min by (service) (rapport_disk_free_bytes)", "{{service}}"),),
        ),
        Chart(
            "Versions",
            "short",
            "Processes by service and version.",
            (Query("count by (service, version) (rapport_build_info)", "{{service}} {{version}}"),),
        ),
    ),
)
