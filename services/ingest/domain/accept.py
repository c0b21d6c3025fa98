"""From one call as a client sent it to the record that the log keeps, or to the reason why not. Pure; never raises.

The caller has made sure that `raw` is strict JSON (strict.py). Budget: 10 us an event of 700 bytes.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from services.ingest.domain import external_ids, wire
from services.ingest.domain.limits import Limits
from services.ingest.domain.reasons import Reason, Rejection
from services.ingest.domain.strict import is_deeper
from services.ingest.domain.times import event_time, parse_time
from services.ingest.domain.wire import ABSENT, Call, Raw, Scalar, is_null, is_object
from shared.contracts import ids
from shared.contracts.events import EVENT_ENCODER, EventType, ReceivedEvent

_TYPES: Final = {kind.value: kind for kind in EventType}
_FROZEN_SENT_AT: Final = ("analytics-kotlin", "analytics-swift", "analytics-go")
"""Libraries whose sentAt is not the moment of sending: stamped when the batch closes, or frozen across retries."""
_WORTH_A_LOOK: Final = re.compile(rb'"externalIds?"|"analytics-(?:kotlin|swift|go)"').search
"""Decoding context costs a microsecond; most of them hold nothing that ingest needs."""
_PATH: Final = re.compile(r" - at `\$\.?([^`]*)`")
_EXTRA: Final = (("channel", "channel"), ("category", "category"), ("rudder_id", "rudderId"), ("metadata", "_metadata"))
_NOTHING: Final = msgspec.Raw(b"{}")
_encode_event: Final = EVENT_ENCODER.encode


class Frame(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What holds for all calls of one request. `context` and `integrations` are the batch's own, each an object or ABSENT.

    `sent_at_counts`: false for a retry. `new_id` makes a message id where the client sent none.
    """

    source_id: str
    received_at: int
    new_id: Callable[[], str]
    limits: Limits
    sent_at: int | None = None
    sent_at_counts: bool = True
    context: Raw = ABSENT
    integrations: Raw = ABSENT
    external_kinds: tuple[str, ...] = ids.DEFAULT_EXTERNAL_KINDS
    phone_region: str | None = None
    unusable: dict[str, int] = msgspec.field(default_factory=dict)
    """Counts ids that stand for nobody, by field."""


class Accepted(NamedTuple):
    """The record for event.received."""

    type: EventType
    key: bytes
    value: bytes


class _Unfit(Exception):
    """Carries a Rejection out of the steps below."""

    def __init__(self, reason: Reason, message: str, field: str | None = None):
        self.rejection = Rejection(reason, message, field)


def accept(raw: bytes, frame: Frame, kind: EventType | None = None, behind: int = 0) -> Accepted | Rejection:
    """One call. `kind` is given by the path of a single call, else it is the call's own `type`; `behind`: calls after it in its request."""
    if len(raw) > frame.limits.event_bytes:
        return Rejection(Reason.EVENT_TOO_LARGE, f"an event has at most {frame.limits.event_bytes} bytes, this one has {len(raw)}")
    if is_deeper(raw, frame.limits.depth):
        return Rejection(Reason.TOO_DEEP, f"objects and lists nest at most {frame.limits.depth} deep")
    try:
        call, extra = _decode(raw)
        return _accept(call, extra, frame, kind, behind)
    except _Unfit as unfit:
        return unfit.rejection


def _decode(raw: bytes) -> tuple[Call, dict[str, Raw]]:
    try:
        call = wire.decode_call(raw)
    except msgspec.ValidationError:  # a field that Call does not name, or one of a wrong type
        try:
            call = wire.decode_loose_call(raw)
        except msgspec.ValidationError as error:
            raise _unfit(str(error)) from None
        extra = {name: value for name, value in wire.decode_fields(raw).items() if name not in wire.NOT_KEPT}
    else:
        extra = {}
    for attribute, name in _EXTRA:
        value = getattr(call, attribute)
        if value is not ABSENT:
            extra[name] = value
    return call, extra


def _unfit(message: str) -> _Unfit:
    at = _PATH.search(message)
    if at is None or not at.group(1):
        return _Unfit(Reason.NOT_AN_OBJECT, "an event is a JSON object")
    return _Unfit(Reason.INVALID_FIELD, f"{at.group(1)}: {message[: at.start()]}", at.group(1))


def _accept(call: Call, extra: dict[str, Raw], frame: Frame, kind: EventType | None, behind: int) -> Accepted:
    if kind is None:
        kind = _TYPES.get(call.type) if isinstance(call.type, str) else None
        if kind is None:
            raise _Unfit(Reason.UNKNOWN_TYPE, f"type is one of {', '.join(_TYPES)}", "type")
    anonymous_id = _id(call.anonymous_id, "anonymousId", frame)
    user_id = _id(call.user_id, "userId", frame)
    original, sent_at = _times(call, frame)
    properties = _object(call.properties, "properties")
    traits = _object(call.traits, "traits")
    integrations = _together(frame.integrations, _object(call.integrations, "integrations"))
    context = _together(frame.context, _object(call.context, "context"))
    found: dict[str, str] = {}
    sent_at_counts = frame.sent_at_counts
    if context is not ABSENT and (kind is EventType.IDENTIFY or _WORTH_A_LOOK(context)):
        view = wire.decode_context(context)
        if isinstance(view.library, dict) and view.library.get("name") in _FROZEN_SENT_AT:
            sent_at_counts = False
        found = external_ids.normalised(external_ids.from_context(view), frame.external_kinds, frame.phone_region)
        if kind is EventType.IDENTIFY and not is_null(view.traits) and is_object(view.traits):
            traits = _together(view.traits, traits)
    if kind is EventType.IDENTIFY and traits is not ABSENT:
        by_trait = external_ids.normalised(external_ids.from_traits(traits, frame.external_kinds), frame.external_kinds, frame.phone_region)
        found = by_trait | found
    previous_id, group_id, event = _of_kind(call, kind, user_id, frame)
    key = _key(kind, anonymous_id, user_id, previous_id, found, frame)
    received = ReceivedEvent(
        type=kind,
        message_id=_message_id(call.message_id, frame),
        source_id=frame.source_id,
        timestamp=event_time(frame.received_at - (behind if original is None else 0), original, sent_at, sent_at_counts),
        received_at=frame.received_at,
        original_timestamp=original,
        sent_at=sent_at,
        anonymous_id=anonymous_id,
        user_id=user_id,
        previous_id=previous_id,
        group_id=group_id,
        event=event,
        name=None if call.name is None else _text(call.name),
        ids=found,
        properties=_NOTHING if properties is ABSENT else properties,
        traits=_NOTHING if traits is ABSENT else traits,
        context=_NOTHING if context is ABSENT else context,
        integrations=_NOTHING if integrations is ABSENT else integrations,
        extra=extra,
    )
    return Accepted(kind, key, _encode_event(received))


def _text(value: str | int | float | bool) -> str:
    """A scalar as text, as JavaScript would write it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)


def _id(value: Scalar, name: str, frame: Frame) -> str | None:
    """An id as text; None if it is absent or stands for nobody. Raises _Unfit if it is too long."""
    if value is None:
        return None
    text = _text(value)
    if not ids.is_usable(text):
        frame.unusable[name] = frame.unusable.get(name, 0) + 1
        return None
    if len(text) > frame.limits.id_chars:
        raise _Unfit(Reason.INVALID_FIELD, f"{name} has at most {frame.limits.id_chars} characters", name)
    return text


def _message_id(value: Scalar, frame: Frame) -> str:
    """The client's, or a new one. It is no person's id: `0` or `test` is as good as any other."""
    text = "" if value is None else _text(value)
    if not text.strip():
        return frame.new_id()
    if len(text) > frame.limits.message_id_chars:
        raise _Unfit(Reason.INVALID_FIELD, f"messageId has at most {frame.limits.message_id_chars} characters", "messageId")
    return text


def _times(call: Call, frame: Frame) -> tuple[int | None, int | None]:
    """(original, sent at). A sentAt that cannot be read counts as not sent: it only corrects."""
    name, value = ("originalTimestamp", call.original_timestamp) if call.original_timestamp else ("timestamp", call.timestamp)
    try:
        original = parse_time(value)
    except (ValueError, OverflowError):
        raise _Unfit(Reason.INVALID_FIELD, f"{name} is an ISO 8601 time", name) from None
    if call.sent_at is None:
        return original, frame.sent_at
    try:
        return original, parse_time(call.sent_at)
    except (ValueError, OverflowError):
        return original, frame.sent_at


def _object(value: Raw, name: str) -> Raw:
    if is_null(value):
        return ABSENT
    if not is_object(value):
        raise _Unfit(Reason.INVALID_FIELD, f"{name} is an object", name)
    return value


def _together(base: Raw, over: Raw) -> Raw:
    if base is ABSENT:
        return over
    return base if over is ABSENT else wire.merged(base, over)


def _of_kind(call: Call, kind: EventType, user_id: str | None, frame: Frame) -> tuple[str | None, str | None, str | None]:
    """(previous id, group id, event name) as far as this kind of call has them. Raises _Unfit if it must have one and has not."""
    event = None if call.event is None else _text(call.event)
    previous_id = _id(call.previous_id, "previousId", frame)
    group_id = _id(call.group_id, "groupId", frame)
    if kind is EventType.TRACK and not (event and event.strip()):
        raise _Unfit(Reason.MISSING_FIELD, "a track call needs an event name", "event")
    if kind is EventType.GROUP and group_id is None:
        raise _Unfit(Reason.MISSING_FIELD, "a group call needs a groupId", "groupId")
    if kind is EventType.ALIAS and user_id is None:
        raise _Unfit(Reason.MISSING_FIELD, "an alias call needs a userId", "userId")
    if kind is EventType.ALIAS and previous_id is None:
        raise _Unfit(Reason.MISSING_FIELD, "an alias call needs a previousId", "previousId")
    return previous_id, group_id, event


def _key(
    kind: EventType, anonymous_id: str | None, user_id: str | None, previous_id: str | None, found: dict[str, str], frame: Frame
) -> bytes:
    """The typed id under which the event enters the log: the one whose slot decides where it goes."""
    if kind is EventType.ALIAS and previous_id is not None:
        key = ids.anonymous(previous_id) if anonymous_id == previous_id else ids.user(previous_id)
    elif anonymous_id is not None:
        key = ids.anonymous(anonymous_id)
    elif user_id is not None:
        key = ids.user(user_id)
    else:
        for external_kind in frame.external_kinds:
            if external_kind in found:
                key = ids.external(external_kind, found[external_kind])
                break
        else:
            raise _Unfit(Reason.MISSING_IDENTITY, "an event needs a userId or an anonymousId that stands for one person", "userId")
    return key.encode()
