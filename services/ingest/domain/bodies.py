"""From a request's body to the records it becomes: accepted events, and rejected items with their reason and original bytes."""

from typing import Final, NamedTuple

import msgspec

from services.ingest.domain import wire
from services.ingest.domain.accept import Accepted, Frame, accept
from services.ingest.domain.inflate import inflate, is_gzip
from services.ingest.domain.limits import Limits
from services.ingest.domain.reasons import Reason, Refusal, Refused, Rejection
from services.ingest.domain.strict import is_strict_json, mend_surrogates
from services.ingest.domain.times import parse_time
from services.ingest.domain.wire import ABSENT, Raw
from shared.contracts.events import EventType

_BOM: Final = b"\xef\xbb\xbf"
_NOT_JSON: Final = Rejection(Reason.MALFORMED_JSON, "not valid JSON in UTF-8")
_FAULTS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Taken(NamedTuple):
    """What became of a body. `around`: what its batch said for all items, for a replay. `refusal`: the answer, if it is an error."""

    accepted: list[Accepted]
    rejected: list[tuple[Rejection, bytes]]
    around: dict[str, Raw]
    refusal: Refused | None = None


def plain(body: bytes, content_encoding: bytes | None, limits: Limits) -> bytes:
    """The JSON text of a body, inflated if need be. Raises Refused."""
    if is_gzip(body, content_encoding):
        body = inflate(body, limits)
    return body.removeprefix(_BOM)


def write_key_in(body: bytes) -> str | None:
    """The body's `writeKey`; None if it has none or cannot be read."""
    try:
        key = wire.decode_key(body).write_key
    except _FAULTS:
        return None
    return key.strip() or None if isinstance(key, str) else None


def take_single(body: bytes, frame: Frame, kind: EventType) -> Taken:
    """A call of its own: accepted, or rejected with a 400 that names the field."""
    text = _strict(body)
    outcome = _NOT_JSON if text is None else accept(text, frame, kind)
    if isinstance(outcome, Accepted):
        return Taken([outcome], [], {})
    refusal = Refused(400, outcome.reason, outcome.message, outcome.field)
    return Taken([], [(outcome, body)], {}, refusal)


def take_batch(body: bytes, frame: Frame) -> Taken:
    """A batch: bad items fail alone. Raises Refused where there is nothing to keep or it is too much."""
    text = _strict(body)
    try:
        batch = wire.decode_batch(body if text is None else text)
    except msgspec.ValidationError:
        raise Refused(400, Reason.INVALID_FIELD, "a batch is an object with a list called batch", "batch") from None
    except _FAULTS:
        refusal = Refused(400, Refusal.MALFORMED_JSON, _NOT_JSON.message)
        return Taken([], [(_NOT_JSON, body)], {}, refusal)
    _check_size(batch, frame.limits, len(body))
    around = _around(batch, checked=text is not None)
    inner = msgspec.structs.replace(
        frame,
        context=around.get("context", ABSENT),
        integrations=around.get("integrations", ABSENT),
        sent_at=_sent_at(around.get("sentAt", ABSENT)),
    )
    return _take_items(batch.batch, inner, around, checked=text is not None)


def take_item(original: bytes, around: dict[str, Raw], frame: Frame) -> Taken:
    """One item of a batch again, as it came then."""
    inner = msgspec.structs.replace(
        frame,
        context=around.get("context", ABSENT),
        integrations=around.get("integrations", ABSENT),
        sent_at=_sent_at(around.get("sentAt", ABSENT)),
        sent_at_counts="retried" not in around,
    )
    return _take_items([Raw(original)], inner, around, checked=False)


def _take_items(items: list[Raw], frame: Frame, around: dict[str, Raw], *, checked: bool) -> Taken:
    accepted: list[Accepted] = []
    rejected: list[tuple[Rejection, bytes]] = []
    for behind, item in zip(range(len(items) - 1, -1, -1), items, strict=True):
        raw = bytes(item)
        outcome = accept(raw, frame, behind=behind) if checked or is_strict_json(raw) else _NOT_JSON
        if isinstance(outcome, Accepted):
            accepted.append(outcome)
        else:
            rejected.append((outcome, raw))
    if rejected and not frame.sent_at_counts:
        around = {**around, "retried": Raw(b"true")}
    return Taken(accepted, rejected, around)


def _strict(body: bytes) -> bytes | None:
    """The body, its lone surrogates mended, if it is strict JSON as a whole."""
    if is_strict_json(body):
        return body
    mended = mend_surrogates(body)
    return mended if mended != body and is_strict_json(mended) else None


def _check_size(batch: wire.Batch, limits: Limits, body_bytes: int) -> None:
    count = len(batch.batch)
    if count == 0:
        raise Refused(400, Refusal.EMPTY_BATCH, "the batch is empty", "batch")
    if count > limits.events:
        raise Refused(400, Refusal.TOO_MANY_EVENTS, f"a batch has at most {limits.events} events, this one has {count}", "batch")
    shared = len(memoryview(batch.context)) + len(memoryview(batch.integrations))
    if shared > limits.event_bytes or shared * count + body_bytes > limits.expanded_bytes:
        raise Refused(400, Refusal.BATCH_TOO_LARGE, "the batch's own context is too large", "context")


def _around(batch: wire.Batch, *, checked: bool) -> dict[str, Raw]:
    """The batch's own context, integrations and sentAt; those of an unusable shape count as not sent."""
    around: dict[str, Raw] = {}
    for name, value in (("context", batch.context), ("integrations", batch.integrations)):
        if not wire.is_null(value) and wire.is_object(value) and (checked or is_strict_json(value)):
            around[name] = value
    if batch.sent_at is not ABSENT and (checked or is_strict_json(batch.sent_at)):
        around["sentAt"] = batch.sent_at
    return around


def _sent_at(raw: Raw) -> int | None:
    if raw is ABSENT:
        return None
    try:
        return parse_time(wire.decode_scalar(raw))
    except (ValueError, OverflowError):  # msgspec's errors are ValueErrors
        return None
