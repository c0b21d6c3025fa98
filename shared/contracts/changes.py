"""What the stages say: a profile changed, a segment was entered or left, a message was asked for, a message went further.

JSON, UTF-8; times are epoch milliseconds UTC; money is a decimal string. Each carries its cause in the headers.
"""

from enum import StrEnum

import msgspec


class ProfileChanged(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The latest summary of one profile, said when it becomes known who somebody is, or that they bought; the greatest `version` holds.

    Of somebody anonymous who was forgotten and came back (identity.py, Expiry) it begins anew, and is the greater one.

    Of several changes that are folded together only the last is said, so a reader must not count these records.

    `revenue`: ordered less returned, in `currency`, that of most orders; `revenues`: of each, if there are several. `events` and
    `last_seen` are as of this record: an event that changes nothing else is not said.
    """

    profile_id: str
    version: int
    at: int
    first_seen: int
    last_seen: int
    events: int
    orders: int
    revenue: str
    currency: str | None = None
    revenues: dict[str, str] = {}
    user_id: str | None = None
    anonymous_ids: list[str] = []
    traits: dict[str, msgspec.Raw] = {}
    merged_into: str | None = None


class Transition(StrEnum):
    ENTERED = "entered"
    LEFT = "left"


class ChangeReason(StrEnum):
    """Why somebody entered or left a segment.

    `event`: an event was taken in. `time`: a border passed. `definition`: the segment's rule is another one, or gone. `merge`: two people
    became one. `expired`: they never came back, and were forgotten.
    """

    EVENT = "event"
    TIME = "time"
    DEFINITION = "definition"
    MERGE = "merge"
    EXPIRED = "expired"


class SegmentChanged(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A person entered or left a segment.

    `at` is the instant at which it became true: the event's time, or the bucket border on which a window passed. `decided_at` is the
    stage's `now`. `version` is the definition's. `by_event` is the message id of the event that made it so; absent if
    something else did, or one of many. `reason` is absent in records of before there were reasons, those of `expired` apart.
    """

    profile_id: str
    segment: str
    transition: Transition
    at: int
    decided_at: int
    version: int
    by_event: str | None = None
    reason: ChangeReason | None = None


class MessageRequested(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A journey asks for one message. `dispatch_id` = hash(entry id, step id): the same whatever crashes.

    `endpoint`: which one of the channel it goes to, as the template said when it was asked for; None: the channel has no choice.
    """

    dispatch_id: str
    entry_id: str
    journey: str
    journey_version: int
    step: str
    profile_id: str
    channel: str
    template: str
    message_class: str
    requested_at: int
    expires_at: int
    person: dict[str, msgspec.Raw] = {}
    """Traits that the template may use."""
    segment: str | None = None
    cap_messages: int = 0
    """At most so many messages of this class to this person within `cap_per` ms; 0: no cap."""
    cap_per: int = 0
    endpoint: str | None = None


class MessageStatus(StrEnum):
    CLAIMED = "claimed"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SUPPRESSED = "suppressed"
    EXPIRED = "expired"


class MessageChanged(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A message reached a state. `reason` is an enum's value of messaging (no consent, unreachable, missing value, …).

    `journey_version`: the version that the person went by; messages of earlier releases have none.
    """

    dispatch_id: str
    entry_id: str
    journey: str
    step: str
    profile_id: str
    channel: str
    template: str
    status: MessageStatus
    at: int
    reason: str | None = None
    provider: str | None = None
    provider_message_id: str | None = None
    to_masked: str | None = None
    journey_version: int | None = None


PROFILE_CHANGED_DECODER = msgspec.json.Decoder(ProfileChanged)
SEGMENT_CHANGED_DECODER = msgspec.json.Decoder(SegmentChanged)
MESSAGE_REQUESTED_DECODER = msgspec.json.Decoder(MessageRequested)
MESSAGE_CHANGED_DECODER = msgspec.json.Decoder(MessageChanged)
CHANGE_ENCODER = msgspec.json.Encoder(decimal_format="string")
