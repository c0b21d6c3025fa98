"""Every topic: its name, who writes and reads it, its key, what it carries, and how the broker keeps it.

Created explicitly by `deploy/local/topics.py`; nothing relies on auto-creation.
"""

from dataclasses import dataclass, field
from typing import Final

from shared.contracts.days import DAY_MS as DAY_MS
from shared.contracts.ledger import LEDGER_MS
from shared.contracts.personal import Personal

LARGE_RECORD_BYTES: Final = 8 * 1024 * 1024
RETENTION_DAYS: Final = 28
RETENTION_MS: Final = RETENTION_DAYS * DAY_MS
"""Default age at which data leaves the log (personal data must); a rebuild from zero needs what is still in it."""
LETTER_DAYS: Final = 365
"""A dead letter stays so long at most, whatever the retention: a slot knows a replay until the letter is gone (runtime/replayed.py)."""
SEGMENT_MS: Final = DAY_MS
"""Kafka deletes whole segments, by their newest record: a record is gone a segment after its time at the latest."""


@dataclass(frozen=True)
class Topic:
    """One topic. `config`: broker settings beside the defaults of `settings()`. `partitions`: None where it is the installation's count.

    `most_days`: records go by then, however long the installation keeps its log.
    """

    name: str
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    key: str
    content: str
    personal: Personal = field(kw_only=True)
    compacted: bool = False
    partitions: int | None = None
    most_days: int | None = None
    config: dict[str, str] = field(default_factory=dict)

    def settings(self, retention_ms: int = RETENTION_MS) -> dict[str, str]:
        """Broker settings: log-append time; compacted (`config` may end it by age too), or gone `retention_ms` and a segment later."""
        kept_ms = retention_ms if self.most_days is None else min(retention_ms, self.most_days * DAY_MS)
        aged = {"cleanup.policy": "delete", "retention.ms": str(kept_ms), "segment.ms": str(SEGMENT_MS)}
        return {"message.timestamp.type": "LogAppendTime", **({"cleanup.policy": "compact"} if self.compacted else aged), **self.config}


_LEDGER = {"cleanup.policy": "compact,delete", "retention.ms": str(LEDGER_MS), "segment.ms": str(SEGMENT_MS)}
_LARGE = {"max.message.bytes": str(LARGE_RECORD_BYTES)}

EVENT_RECEIVED: Final = "rapport.event.received.v1"
EVENT_REJECTED: Final = "rapport.event.rejected.v1"
EVENT_RESOLVED: Final = "rapport.event.resolved.v1"
IDENTITY_CONFLICTED: Final = "rapport.identity.conflicted.v1"
PROFILE_CHANGED: Final = "rapport.profile.changed.v1"
PROFILE_MOVED: Final = "rapport.profile.moved.v1"
SEGMENT_CHANGED: Final = "rapport.segment.changed.v1"
MEMBERSHIP_MOVED: Final = "rapport.membership.moved.v1"
MESSAGE_REQUESTED: Final = "rapport.message.requested.v1"
MESSAGE_CHANGED: Final = "rapport.message.changed.v1"
JOURNEY_MOVED: Final = "rapport.journey.moved.v1"
DISPATCH_RECORDED: Final = "rapport.dispatch.recorded.v1"
DISPATCH_CHECKPOINTED: Final = "rapport.dispatch.checkpointed.v1"
RECORD_FAILED: Final = "rapport.record.failed.v1"
TURN_RECORDED: Final = "rapport.turn.recorded.v1"
RESOLVER_REPLAYED: Final = "rapport.resolver.replayed.v1"
FOLDER_REPLAYED: Final = "rapport.folder.replayed.v1"
SEGMENTATION_REPLAYED: Final = "rapport.segmentation.replayed.v1"
JOURNEYS_REPLAYED: Final = "rapport.journeys.replayed.v1"
KEY_CHANGED: Final = "rapport.key.changed.v1"
REBUILD_CHANGED: Final = "rapport.rebuild.changed.v1"
DEFINITION_CHANGED: Final = "rapport.definition.changed.v1"
DEFINITION_ACTIVATED: Final = "rapport.definition.activated.v1"

TOPICS: Final[tuple[Topic, ...]] = (
    Topic(
        EVENT_RECEIVED,
        ("ingest", "resolver"),
        ("resolver",),
        "typed id the event came under (ids.py)",
        "ReceivedEvent JSON (events.py); LinkRequest of the resolver itself, kind=link; Expiry of its sweep, kind=expired (identity.py)",
        config=_LARGE,
        personal=Personal.CLEAR,
    ),
    Topic(
        EVENT_REJECTED,
        ("ingest",),
        ("control",),
        "source id",
        "RejectedEvent JSON with the original bytes (events.py)",
        config=_LARGE,
        personal=Personal.CLEAR,
    ),
    Topic(
        EVENT_RESOLVED,
        ("resolver",),
        ("folder", "segmentation", "journeys", "warehouse"),
        "profile id",
        "ReceivedEvent JSON, byte for byte as received; kind=merge: MergeRecord; kind=expired: Expiry; kind=clock: ClockRecord "
        "(identity.py, clock.py)",
        config=_LARGE,
        personal=Personal.CLEAR,
    ),
    Topic(
        IDENTITY_CONFLICTED,
        ("resolver",),
        ("warehouse",),
        "profile id",
        "ConflictRecord JSON (identity.py)",
        personal=Personal.IDS,
    ),
    Topic(
        PROFILE_CHANGED,
        ("folder",),
        ("warehouse",),
        "profile id",
        "ProfileChanged JSON (changes.py)",
        config=_LARGE,
        personal=Personal.CLEAR,
    ),
    Topic(
        PROFILE_MOVED,
        ("folder",),
        ("folder",),
        "winner's profile id",
        "kind=moved: the loser's blob; kind=late: a record that came after the move; kind=merge: to whom a marker may send blobs",
        config=_LARGE,
        personal=Personal.CLEAR,
    ),
    Topic(
        SEGMENT_CHANGED,
        ("segmentation",),
        ("journeys", "warehouse"),
        "profile id",
        "SegmentChanged JSON (changes.py)",
        personal=Personal.IDS,
    ),
    Topic(
        MEMBERSHIP_MOVED,
        ("segmentation",),
        ("segmentation",),
        "winner's profile id",
        "as profile.moved",
        config=_LARGE,
        personal=Personal.CLEAR,
    ),
    Topic(
        MESSAGE_REQUESTED,
        ("journeys",),
        ("dispatcher",),
        "profile id",
        "MessageRequested JSON (changes.py)",
        config=_LARGE,
        personal=Personal.CLEAR,
    ),
    Topic(
        MESSAGE_CHANGED,
        ("dispatcher",),
        ("warehouse",),
        "profile id",
        "MessageChanged JSON (changes.py)",
        personal=Personal.CLEAR,
    ),
    Topic(
        JOURNEY_MOVED,
        ("journeys",),
        ("journeys",),
        "winner's profile id",
        "as profile.moved",
        config=_LARGE,
        personal=Personal.CLEAR,
    ),
    Topic(
        DISPATCH_RECORDED,
        ("dispatcher",),
        ("dispatcher",),
        "dispatch id",
        "LedgerEntry JSON: the last state of one message, in the partition of its request (ledger.py)",
        compacted=True,
        config=_LEDGER,
        personal=Personal.IDS,
    ),
    Topic(
        DISPATCH_CHECKPOINTED,
        ("dispatcher",),
        ("dispatcher",),
        "number of the checkpoint",
        "Checkpoint msgpack: ids of settled messages that no checkpoint before held, packed (ledger.py)",
        compacted=True,
        config=_LEDGER,
        personal=Personal.IDS,
    ),
    Topic(
        RECORD_FAILED,
        ("resolver", "folder", "segmentation", "journeys", "dispatcher"),
        ("control",),
        "key of the failed record",
        "FailedRecord msgpack (failed.py)",
        config=_LARGE,
        most_days=LETTER_DAYS,
        personal=Personal.CLEAR,
    ),
    Topic(
        TURN_RECORDED,
        ("runtime",),
        ("runtime",),
        "stage",
        "Turn msgpack: how far a slot had read its inputs when it turned to another; its refold reads them in this order",
        personal=Personal.NONE,
    ),
    Topic(
        RESOLVER_REPLAYED,
        ("control",),
        ("resolver",),
        "key of the failed record",
        "the failed record again",
        config=_LARGE,
        personal=Personal.CLEAR,
    ),
    Topic(
        FOLDER_REPLAYED,
        ("control",),
        ("folder",),
        "key of the failed record",
        "the failed record again",
        config=_LARGE,
        personal=Personal.CLEAR,
    ),
    Topic(
        SEGMENTATION_REPLAYED,
        ("control",),
        ("segmentation",),
        "key of the failed record",
        "the failed record again",
        config=_LARGE,
        personal=Personal.CLEAR,
    ),
    Topic(
        JOURNEYS_REPLAYED,
        ("control",),
        ("journeys",),
        "key of the failed record",
        "the failed record again",
        config=_LARGE,
        personal=Personal.CLEAR,
    ),
    Topic(
        KEY_CHANGED,
        ("control", "cli"),
        ("ingest", "query", "control", "cli"),
        "`kind:hash` of the key",
        "KeyChanged JSON (control.py), signed (key_signature.py)",
        partitions=1,
        personal=Personal.NONE,
        # Every record stays: were the log compacted, an old grant written again would drive a revocation out of it.
        config={"retention.ms": "-1", "retention.bytes": "-1"},
    ),
    Topic(
        REBUILD_CHANGED,
        ("control",),
        ("resolver", "folder", "segmentation", "journeys", "warehouse", "control"),
        "id of the order",
        "RebuildChanged JSON (rebuilds.py): an order to rebuild a view, or its cancellation",
        compacted=True,
        partitions=1,
        personal=Personal.NONE,
    ),
    Topic(
        DEFINITION_CHANGED,
        ("control",),
        ("ingest", "resolver", "segmentation", "journeys", "dispatcher", "query", "control"),
        "`text:sha256` of a file, `set:number` of a set",
        "the text of a file; DefinitionSet JSON, signed (definitions.py): which files stood together, since when, by whom and why",
        compacted=True,
        partitions=1,
        config=_LARGE,
        personal=Personal.NONE,
    ),
    Topic(
        DEFINITION_ACTIVATED,
        ("control",),
        ("resolver", "segmentation", "journeys", "control"),
        "`set`",
        "DefinitionActivated JSON (definitions.py): from here on a set holds in this partition; written to every partition",
        personal=Personal.NONE,
    ),
)

REPLAYED_BY_STAGE: Final = {
    "resolver": RESOLVER_REPLAYED,
    "folder": FOLDER_REPLAYED,
    "segmentation": SEGMENTATION_REPLAYED,
    "journeys": JOURNEYS_REPLAYED,
}
