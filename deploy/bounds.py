"""Everything that can grow, and where it ends: the part "Bounds" of REFERENCE.md. Figures come out of the code that keeps them."""

from typing import Any, Final, NamedTuple

from pydantic_settings import BaseSettings

from deploy.local.proxy.services import PLACES as UNDER_WAY
from deploy.local.proxy.settings import ProxySettings as Proxy
from services.control.adapters.http.failures import MAX_FAILURES, MAX_REPLAYS
from services.control.adapters.http.rebuilds import MOST_LISTED
from services.ingest.domain.limits import Limits
from services.ingest.settings import Settings as Ingest
from services.messaging.adapters.outbound import MOST_REPLY_BYTES
from services.messaging.channels.endpoints import MOST_ENDPOINTS
from services.messaging.channels.socket import ENDPOINT_HAND, ENDPOINT_PUT_OFF
from services.messaging.channels.webhook import LONGEST_RETRY_AFTER_S, MOST_BODY_BYTES
from services.messaging.dispatch.class_queue import Bounds as ClassBounds
from services.messaging.domain.facts import MAX_TRAIT_BYTES
from services.messaging.domain.passages import MOST_A_MONTH, MOST_ENDED, MOST_PASSAGES
from services.messaging.domain.rendering import MOST_BYTES, MOST_SECONDS
from services.messaging.domain.settled import REMEMBERED_DAYS
from services.messaging.settings import Settings as Messaging
from services.profile.domain.bounded import MAX_IDS, MAX_NAMES
from services.profile.domain.dedup import MAX_SEEN
from services.profile.domain.facts import MAX_TRAITS, MAX_VALUE_BYTES
from services.profile.domain.node import MAX_ASKED
from services.profile.sweep import ASKED_A_SECOND
from services.query.adapters.message_list import MOST_ROUNDS, PLACES
from services.query.adapters.people import IDS_BYTES, MOST_IDS
from services.query.domain.timeseries import MOST_BUCKETS, MOST_POINTS
from services.query.settings import Settings as Query
from shared.adapters.forwards import REMEMBERED_HOPS
from shared.adapters.kafka_log import QUEUED_KILOBYTES
from shared.adapters.row_archive import PAGE_BYTES, PAGE_ROWS
from shared.contracts.bodies import MAX_BODY, MAX_DEFINITIONS_BODY, MAX_FILES, MAX_FOLDER_BYTES, MOST_LARGE
from shared.contracts.definitions import KEPT_MS
from shared.contracts.ledger import LEDGER_MS
from shared.contracts.slots import MOST_PARTITIONS
from shared.contracts.topics import DAY_MS, RETENTION_DAYS
from shared.definitions.files import MAX_ENTRIES, MAX_FILE_BYTES, MAX_FOLDERS_DEEP, MAX_TEMPLATE_BYTES
from shared.definitions.journey import LONGEST_CAP, LONGEST_EXPIRY, LONGEST_GUARD, LONGEST_WAIT, MAX_STEPS
from shared.definitions.liquid_text import MAX_TAG
from shared.definitions.numbers import MAX_AMOUNT, SCALE
from shared.definitions.rules import MAX_TEXT, MAX_VALUES
from shared.definitions.segment import MAX_TESTS
from shared.definitions.sets import MAX_HISTORY_BYTES, MAX_SETS, MOST_SETS
from shared.definitions.yaml_text import MAX_DEPTH, MAX_NODES, MAX_NODES_TOGETHER
from shared.http.idempotency import KEPT, KEPT_SECONDS
from shared.http.sealing import MAX_CURSOR
from shared.http.shapes import MAX_LIMIT
from shared.reading.live import CALLS, WAITING
from shared.reading.pools import GLANCE_SECONDS
from shared.rules.pairs import MAX_TOTAL
from shared.rules.rule import MAX_LEAVES
from shared.runtime.absorbed import INLINE, MOST_ABSORBED
from shared.runtime.brake import LONGEST_PAUSE_S
from shared.runtime.replayed import BLOCK, KNOWN_DAYS, MOST_BLOCKS
from shared.runtime.stage import MAX_OUTPUT_BYTES
from shared.worker.settings import RuntimeSettings as Runtime
from shared.worker.stage_worker import QUEUED_CHUNKS

CONSTANT: Final = ""
"""In place of a setting: the bound is a part of a promise, so it is the same everywhere."""
CLASS_QUEUE: Final = ClassBounds()
LIMITS: Final = Limits()


class Bound(NamedTuple):
    """`setting`: the name behind RAPPORT_, or CONSTANT. `metric`: where it shows; empty where an answer or a state says so."""

    what: str
    most: str
    setting: str
    metric: str
    beyond: str


def _kb(size: int) -> str:
    return f"{size // 1024} KB"


def _mb(size: int) -> str:
    return f"{size / (1024 * 1024):g} MB"


def _set(model: type[BaseSettings], name: str) -> Any:
    """What a setting is without being set."""
    return model.model_fields[name].default


def _days(length_ms: int) -> str:
    return f"{length_ms // DAY_MS} days"


INGEST: Final = (
    Bound(
        "connections of one process",
        f"{_set(Ingest, 'max_connections'):,}",
        "MAX_CONNECTIONS",
        "rapport_ingest_connections",
        "the one that waits longest is closed",
    ),
    Bound(
        "a head of a request",
        f"{_kb(_set(Ingest, 'max_head_bytes'))}, within {_set(Ingest, 'head_timeout_seconds'):g} s",
        "MAX_HEAD_BYTES",
        "rapport_ingest_hung_up_total",
        "400, closed",
    ),
    Bound(
        "a body, and what it inflates to",
        f"{_mb(_set(Ingest, 'max_body_bytes'))}, within {_set(Ingest, 'body_timeout_seconds'):g} s",
        "MAX_BODY_BYTES",
        "rapport_ingest_requests_refused_total",
        "400",
    ),
    Bound(
        "an event", _kb(_set(Ingest, "max_event_bytes")), "MAX_EVENT_BYTES", "rapport_ingest_events_rejected_total", "rejected, kept whole"
    ),
    Bound(
        "events of a batch",
        f"{_set(Ingest, 'max_batch_events'):,}",
        "MAX_BATCH_EVENTS",
        "rapport_ingest_requests_refused_total",
        "400, kept whole",
    ),
    Bound(
        "events a second of one write key",
        f"{_set(Ingest, 'rate_per_key'):,}",
        "RATE_PER_KEY",
        "rapport_ingest_requests_refused_total",
        "429",
    ),
    Bound(
        "how many times its size a body may inflate to",
        f"{LIMITS.ratio}, beyond {_mb(LIMITS.ratio_free_bytes)}",
        CONSTANT,
        "rapport_ingest_requests_refused_total",
        "400",
    ),
    Bound(
        "what a batch makes of a context that its events share",
        _mb(LIMITS.expanded_bytes),
        CONSTANT,
        "rapport_ingest_requests_refused_total",
        "400, kept whole",
    ),
    Bound("how deep JSON may nest", f"{LIMITS.depth} levels", CONSTANT, "rapport_ingest_events_rejected_total", "rejected, kept whole"),
    Bound(
        "an id of a person; a message id",
        f"{LIMITS.id_chars}; {LIMITS.message_id_chars} characters",
        CONSTANT,
        "rapport_ingest_events_rejected_total",
        "rejected, kept whole",
    ),
    Bound("what waits for Kafka", _mb(_set(Ingest, "max_queued_bytes")), "MAX_QUEUED_BYTES", "rapport_ingest_events_in_flight", "429"),
)
RUNTIME: Final = (
    Bound(
        "what a slot reads of ClickHouse at once, where the log has lost its beginning",
        f"{_mb(PAGE_BYTES)} and one record, {PAGE_ROWS:,} rows; one slot of a process at a time",
        CONSTANT,
        "rapport_stage_records_total",
        "the next page",
    ),
    Bound(
        "outputs and states of one batch",
        f"{_mb(_set(Runtime, 'batch_bytes'))} and one record",
        "BATCH_BYTES",
        "rapport_batch_bytes",
        "the rest of the chunk is the next batch",
    ),
    Bound(
        "records of one fetch",
        f"{_set(Runtime, 'chunk_records'):,}",
        "CHUNK_RECORDS",
        "rapport_consumer_lag_records",
        "the rest comes with the next",
    ),
    Bound(
        "decoded states of a slot",
        f"{_set(Runtime, 'cached_states_per_slot'):,}, twice as many at most",
        "CACHED_STATES_PER_SLOT",
        "",
        "read again from Redis",
    ),
    Bound(
        "their bytes",
        f"{_mb(_set(Runtime, 'cached_bytes_per_slot'))}, about",
        "CACHED_BYTES_PER_SLOT",
        "rapport_cached_states_bytes",
        "read again from Redis",
    ),
    Bound("chunks of a slot in hand", str(QUEUED_CHUNKS + 1), CONSTANT, "", "Faust fetches no more"),
    Bound("an output", _mb(MAX_OUTPUT_BYTES), CONSTANT, "rapport_dead_letters_total", "the record is a dead letter"),
    Bound(
        "what waits in one process for Kafka", _mb(QUEUED_KILOBYTES * 1024), CONSTANT, "rapport_publication_waiting_seconds", "slots wait"
    ),
    Bound(
        "how long a slot of a bad deploy stands still",
        f"{_set(Runtime, 'dead_letter_pause_seconds'):g} to {LONGEST_PAUSE_S:g} s",
        "DEAD_LETTER_PAUSE_SECONDS",
        "rapport_slots_braked",
        "set aside, goes on",
    ),
    Bound(
        "replays remembered by a slot",
        f"{MOST_BLOCKS:,} blocks of {BLOCK:,} letters",
        CONSTANT,
        "rapport_dead_letters_total",
        f"forgotten after {KNOWN_DAYS} days; else a dead letter",
    ),
    Bound("partitions of an installation", str(MOST_PARTITIONS), "PARTITIONS", "", "the topics are not made"),
    Bound(
        "records in the log",
        f"{RETENTION_DAYS} days",
        "RETENTION_DAYS",
        "rapport_lost_to_retention_total",
        "gone from the log, kept in ClickHouse",
    ),
)
PEOPLE: Final = (
    Bound("traits of a person", f"{MAX_TRAITS} of {MAX_VALUE_BYTES} bytes", CONSTANT, "", "the first names by order keep their place"),
    Bound("ids of a kind, devices", str(MAX_IDS), CONSTANT, "", "the last seen are kept"),
    Bound(
        "people merged into one", f"{MOST_ABSORBED:,} that move on", CONSTANT, "rapport_dead_letters_total", "not merged on: a dead letter"
    ),
    Bound("of those, in the state itself", str(INLINE), CONSTANT, "", "the others stand in an index of the slot"),
    Bound("where the long chain of a merged id goes on", "1 word a merged id and stage", CONSTANT, "", "the last one told takes its place"),
    Bound("event names counted apart", str(MAX_NAMES), CONSTANT, "", "others are one count"),
    Bound("event message ids of one typed id remembered a day", f"{MAX_SEEN:,}", CONSTANT, "", "the last half at least is remembered"),
    Bound("requests of one id to other slots", str(MAX_ASKED), CONSTANT, "", "asked again, which does no harm"),
    Bound(
        "days for which an anonymous person who does not come back is kept in Redis",
        "400",
        "ANONYMOUS_DAYS",
        "rapport_stage_expired_total",
        "gone from Redis, kept in ClickHouse",
    ),
    Bound("anonymous people asked for by the sweep", f"{ASKED_A_SECOND} a second of each process", CONSTANT, "", "they wait"),
    Bound(
        "one amount, in segments, profiles and ClickHouse",
        f"10^{len(str(MAX_AMOUNT // SCALE)) - 1}",
        CONSTANT,
        "rapport_stage_ignored_numbers_total",
        "counts as absent; within it anything is an amount",
    ),
    Bound(
        "the sum of a bucket",
        f"{MAX_TOTAL / SCALE / 10**14:.1f} * 10^14",
        CONSTANT,
        "rapport_stage_ignored_numbers_total",
        "absent while it is; kept exactly",
    ),
)
_HAND: Final = f"{CLASS_QUEUE.hand} or {_mb(CLASS_QUEUE.hand_bytes)}"
_RENDERING: Final = f"{MOST_SECONDS * 1000:g} ms of processor time"
MESSAGING: Final = (
    Bound(
        "passages of a person in a journey",
        f"{MOST_A_MONTH} that begin in the same 30 days, {MOST_PASSAGES} in all",
        CONSTANT,
        "rapport_stage_refused_total",
        "the later ones are not entered",
    ),
    Bound("of those, once the earliest has ended", str(MOST_ENDED), CONSTANT, "", "the earliest that have ended go"),
    Bound("a trait that templates speak of", f"{MAX_TRAIT_BYTES} bytes", CONSTANT, "", "not kept"),
    Bound("how long a message may wait", _days(LONGEST_EXPIRY.ms), CONSTANT, "", "`rapport check` refuses more"),
    Bound("how far `once_per` looks back", _days(LONGEST_GUARD.ms), CONSTANT, "", "`rapport check` refuses more"),
    Bound("how long a wait may take", _days(LONGEST_WAIT.ms), CONSTANT, "", "`rapport check` refuses more"),
    Bound("how far a cap looks back", _days(LONGEST_CAP.ms), CONSTANT, "", "`rapport check` refuses more"),
    Bound(
        "messages of a slot looked at at once",
        str(_set(Messaging, "dispatch_batch")),
        "DISPATCH_BATCH",
        "rapport_dispatcher_waiting",
        "the rest stays in the log",
    ),
    Bound(
        "messages of a slot, channel and class put off",
        f"{_set(Messaging, 'dispatch_put_off'):,}",
        "DISPATCH_PUT_OFF",
        "rapport_dispatcher_put_off",
        "no new one of the class is begun",
    ),
    Bound(
        "messages on their way to the mail server",
        str(_set(Messaging, "smtp_connections")),
        "SMTP_CONNECTIONS",
        "rapport_provider_places_used",
        "no further one is begun",
    ),
    Bound("requests in hand of a slot, channel and class", _HAND, CONSTANT, "rapport_dispatcher_waiting", "the rest stays in the log"),
    Bound("endpoints of webhooks and robots", str(MOST_ENDPOINTS), CONSTANT, "", "messaging does not start"),
    Bound("of them for one endpoint", str(ENDPOINT_HAND), CONSTANT, "rapport_dispatcher_waiting", "the rest stays in the log"),
    Bound("messages of a slot, endpoint and class put off", f"{ENDPOINT_PUT_OFF:,}", CONSTANT, "", "no new one is begun"),
    Bound("the body of a webhook", f"{MOST_BODY_BYTES // 1024} KB", CONSTANT, "rapport_messages_total", "suppressed: `template_failed`"),
    Bound("what is read of an endpoint's answer", f"{MOST_REPLY_BYTES // 1024} KB", CONSTANT, "", "a robot's is `unknown`"),
    Bound("how long an endpoint may ask to be left alone", f"{LONGEST_RETRY_AFTER_S / 3600:g} hour", CONSTANT, "", "it is called then"),
    Bound("rendering a message", _RENDERING, CONSTANT, "rapport_messages_total", "suppressed: `template_failed`"),
    Bound("e-mails a second of one process", "no bound", "SMTP_PER_SECOND", "rapport_dispatcher_unread", "they wait"),
    Bound(
        "messages a slot remembers",
        f"until {REMEMBERED_DAYS} day after their day of expiry, about 30 bytes each",
        CONSTANT,
        "rapport_dispatcher_ledger_messages",
        "an expired request that is read again is dropped by its cause, and counted",
    ),
    Bound(
        "what whoever takes a slot over reads beside checkpoints",
        f"{_set(Messaging, 'dispatch_checkpoint_seconds') / 60:g} minutes",
        "DISPATCH_CHECKPOINT_SECONDS",
        "rapport_dispatcher_checkpoint_timestamp_seconds",
        "read from the ledger, which takes longer",
    ),
    Bound("entries of the ledger in the log", _days(LEDGER_MS), CONSTANT, "", "gone from the log, kept in ClickHouse"),
    Bound("a rendered message", f"{MOST_BYTES:,} bytes", CONSTANT, "rapport_messages_total", "suppressed: `template_failed`"),
)
API: Final = (
    Bound("a body", _mb(MAX_BODY), CONSTANT, "", "413"),
    Bound("a body of definitions; large ones at a time", f"{_mb(MAX_DEFINITIONS_BODY)}; {MOST_LARGE}", CONSTANT, "", "413; 429 `too_busy`"),
    Bound("items of a page; of a page of failures", f"{MAX_LIMIT:,}; {MAX_FAILURES}", CONSTANT, "", "400"),
    Bound("replays of one request", str(MAX_REPLAYS), CONSTANT, "", "400"),
    Bound("a cursor", f"{MAX_CURSOR:,} characters", CONSTANT, "", "400"),
    Bound(
        "answers kept for an Idempotency-Key",
        f"{KEPT:,} of one process, {KEPT_SECONDS / 60:g} minutes",
        CONSTANT,
        "",
        "the oldest is forgotten: its request would be carried out again",
    ),
    Bound("orders to rebuild in a list", str(MOST_LISTED), CONSTANT, "", "the newest are shown"),
    Bound("buckets and points of a time series", f"{MOST_BUCKETS:,}; {MOST_POINTS:,}", CONSTANT, "", "400 `query_too_large`"),
    Bound("a question to ClickHouse", f"{_set(Query, 'query_seconds')} s", "QUERY_SECONDS", "", "400 `query_too_large`"),
    Bound(
        "pages asked of ClickHouse at a time",
        str(_set(Query, "query_page_threads")),
        "QUERY_PAGE_THREADS",
        "rapport_api_busy_total",
        "they wait",
    ),
    Bound(
        "time series asked of ClickHouse at a time",
        str(_set(Query, "query_series_threads")),
        "QUERY_SERIES_THREADS",
        "rapport_api_busy_total",
        "they wait",
    ),
    Bound(
        "what waits for ClickHouse or Kafka, of each kind",
        str(_set(Query, "query_waiting")),
        "QUERY_WAITING",
        "rapport_api_busy_total",
        "429 `too_busy`",
    ),
    Bound(
        "threads and places to wait of one query key, of each kind",
        "half, rounded up",
        CONSTANT,
        "rapport_api_busy_total",
        "429 `too_busy`",
    ),
    Bound("calls to Redis at a time; that wait", f"{CALLS}; {WAITING}", CONSTANT, "rapport_api_busy_total", "429 `too_busy`"),
    Bound("a look at a store for readiness and status", f"{GLANCE_SECONDS:g} s", CONSTANT, "", "named as not answering"),
    Bound("requests of one service under way in the proxy", str(UNDER_WAY), CONSTANT, "rapport_proxy_failures_total", "429 `too_busy`"),
    Bound("until the body of a request is there", f"{_set(Proxy, 'proxy_body_seconds'):g} s", "PROXY_BODY_SECONDS", "", "408"),
    Bound(
        "until a service begins its answer, and goes on",
        f"{_set(Proxy, 'proxy_answer_seconds'):g} s",
        "PROXY_ANSWER_SECONDS",
        "rapport_proxy_failures_total",
        "503 `service_unavailable`; in mid-answer the connection is closed",
    ),
    Bound("ids of a person in one question", f"{MOST_IDS:,}, {IDS_BYTES // 1024} KB", CONSTANT, "", "ClickHouse finds the others"),
    Bound("hops between merged ids that are remembered", f"{REMEMBERED_HOPS:,}", CONSTANT, "", "read again, a round trip each"),
    Bound("states of messages looked at for one page", f"{MOST_ROUNDS * PLACES:,}", CONSTANT, "", "the page is short and leads on"),
)
DEFINITIONS: Final = (
    Bound("a file; a folder", f"{_mb(MAX_FILE_BYTES)}; {_mb(MAX_FOLDER_BYTES)}, {MAX_FILES:,} files", CONSTANT, "", "refused by name"),
    Bound("kept sets of definitions", f"{MAX_SETS:,}, and all of {KEPT_MS // DAY_MS} days", CONSTANT, "", "older ones are deleted"),
    Bound("sets of those days; texts of all kept sets", f"{MOST_SETS:,}; {_mb(MAX_HISTORY_BYTES)}", CONSTANT, "", "409 `history_full`"),
    Bound("files and folders in the folder", f"{MAX_ENTRIES:,}, {MAX_FOLDERS_DEEP} deep", CONSTANT, "", "refused by name"),
    Bound("levels that a file may nest", str(MAX_DEPTH), CONSTANT, "", "refused, with file and line"),
    Bound("values of `in`; a text", f"{MAX_VALUES:,}; {MAX_TEXT} characters", CONSTANT, "", "refused, with file and line"),
    Bound("tests of a segment", str(MAX_TESTS), CONSTANT, "", "refused, with file and line"),
    Bound(
        "keys, values and entries of a file; of all", f"{MAX_NODES:,}; {MAX_NODES_TOGETHER:,}", CONSTANT, "", "refused, with file and line"
    ),
    Bound("leaves of a segment", str(MAX_LEAVES), CONSTANT, "", "refused, with file and line"),
    Bound("a template; a tag in it", f"{MAX_TEMPLATE_BYTES:,} bytes; {MAX_TAG:,} characters", CONSTANT, "", "refused, with file and line"),
    Bound("steps of a journey", str(MAX_STEPS), CONSTANT, "", "refused, with file and line"),
)
BOUNDS: Final = {
    "ingest": INGEST,
    "every worker": RUNTIME,
    "a person": PEOPLE,
    "messaging": MESSAGING,
    "the API": API,
    "definitions": DEFINITIONS,
}
