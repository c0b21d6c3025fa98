"""The event as ingest publishes it and as every stage reads it.

JSON, UTF-8. Times are epoch milliseconds, UTC. `properties`, `traits`, `context` and `integrations` are the client's own bytes;
what the API does not know stands under `extra`. Nothing re-encodes an event after ingest.
"""

from enum import StrEnum
from typing import Final

import msgspec


class EventType(StrEnum):
    TRACK = "track"
    IDENTIFY = "identify"
    PAGE = "page"
    SCREEN = "screen"
    GROUP = "group"
    ALIAS = "alias"


PAGE_VIEWED: Final = "Page Viewed"
SCREEN_VIEWED: Final = "Screen Viewed"
"""The names of page and screen calls, which have none of their own."""


def event_name(call: str, event: str | None) -> str:
    """The name by which definitions ask for an event of type `call`; empty if they cannot. `event`: a track's own name."""
    match call:
        case EventType.TRACK:
            return event or ""
        case EventType.PAGE:
            return PAGE_VIEWED
        case EventType.SCREEN:
            return SCREEN_VIEWED
        case _:
            return ""


def happened_at(timestamp: int, received_at: int) -> int:
    """When an event happened, epoch ms, as every stage takes it: never before 1970, nor after it was received."""
    return min(max(timestamp, 0), received_at)


class ReceivedEvent(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """One accepted call.

    `anonymous_id`, `user_id`, `previous_id` are as the client sent them (as strings), absent when unusable. `event` is a track's
    name, `name` a page's or screen's, `group_id` a group's. `timestamp` is the corrected time (services/ingest/domain/times.py); the other
    three are what it was made from. `ids` are normalised external ids, kind -> value, from context.externalIds
    or identifying traits.
    `traits` of an identify are already merged from `traits` and `context.traits`.
    """

    type: EventType
    message_id: str
    source_id: str
    timestamp: int
    received_at: int
    original_timestamp: int | None = None
    sent_at: int | None = None
    anonymous_id: str | None = None
    user_id: str | None = None
    previous_id: str | None = None
    group_id: str | None = None
    event: str | None = None
    name: str | None = None
    ids: dict[str, str] = {}
    properties: msgspec.Raw = msgspec.Raw(b"{}")
    traits: msgspec.Raw = msgspec.Raw(b"{}")
    context: msgspec.Raw = msgspec.Raw(b"{}")
    integrations: msgspec.Raw = msgspec.Raw(b"{}")
    extra: dict[str, msgspec.Raw] = {}


class RejectedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One item that was not accepted: why, which field, and the bytes it came as (base64 in JSON).

    `path` is the one it was posted to. `around`: what the batch it came in said for all its items (context, integrations, sentAt,
    `retried`), so that a replay reads it as it was read then. To replay, POST this record to ingest's /internal/v1/replay.
    """

    reason: str
    message: str
    received_at: int
    source_id: str
    path: str
    original: bytes
    field: str | None = None
    around: dict[str, msgspec.Raw] = {}


EVENT_DECODER: Final = msgspec.json.Decoder(ReceivedEvent)
EVENT_ENCODER: Final = msgspec.json.Encoder()
REJECTED_DECODER: Final = msgspec.json.Decoder(RejectedEvent)
