"""One call: what becomes of its fields, when it is rejected, and under which key it enters the log."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.ingest.domain.accept import Accepted, Frame, accept
from services.ingest.domain.limits import Limits
from services.ingest.domain.reasons import Reason, Rejection
from services.ingest.domain.strict import is_strict_json
from shared.contracts.events import EVENT_DECODER, EventType, ReceivedEvent

NOW = 1_800_000_000_000


def frame(**changes: Any) -> Frame:
    given: dict[str, Any] = {"source_id": "shop", "received_at": NOW, "new_id": lambda: "made", "limits": Limits()}
    return Frame(**given | changes)


def taken(call: dict[str, Any] | str, **changes: Any) -> ReceivedEvent:
    outcome = outcome_of(call, **changes)
    assert isinstance(outcome, Accepted), outcome
    return EVENT_DECODER.decode(outcome.value)


def outcome_of(call: Any, **changes: Any) -> Accepted | Rejection:
    text = call if isinstance(call, str) else json.dumps(call)
    return accept(text.encode(), frame(**changes))


def rejected(call: Any, **changes: Any) -> tuple[Reason, str | None]:
    outcome = outcome_of(call, **changes)
    assert isinstance(outcome, Rejection), outcome
    return outcome.reason, outcome.field


def key(call: dict[str, Any]) -> str:
    outcome = outcome_of(call)
    assert isinstance(outcome, Accepted), outcome
    return outcome.key.decode()


def track(**fields: Any) -> dict[str, Any]:
    return {"type": "track", "event": "E", "userId": "u1"} | fields


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (track(anonymousId="d1"), "a:d1"),
        (track(), "u:u1"),
        (track(anonymousId=None), "u:u1"),
        (track(anonymousId="undefined"), "u:u1"),
        (track(userId=42), "u:42"),
        ({"type": "identify", "traits": {"email": " Ann@Example.COM "}}, "email:ann@example.com"),
        ({"type": "identify", "traits": {"email": "a@b.c", "phone": "+8613812345678"}}, "phone:+8613812345678"),
        ({"type": "identify", "traits": {"external_userid": "wmX", "phone": "+8613812345678"}}, "wecom:wmX"),
        ({"type": "track", "event": "E", "context": {"externalIds": [{"type": "email", "id": "A@b.c"}]}}, "email:a@b.c"),
        (
            {"type": "track", "event": "E", "context": {"externalId": [{"type": "phone", "id": "+86 138 1234 5678"}]}},
            "phone:+8613812345678",
        ),
        ({"type": "alias", "previousId": "old", "userId": "new"}, "u:old"),
        ({"type": "alias", "previousId": "old", "userId": "new", "anonymousId": "other"}, "u:old"),
        ({"type": "alias", "previousId": "old", "userId": "new", "anonymousId": "old"}, "a:old"),
    ],
)
def test_an_event_enters_under_the_id_whose_slot_decides(call: dict[str, Any], expected: str) -> None:
    assert key(call) == expected


@pytest.mark.parametrize("kind", list(EventType))
def test_the_path_gives_a_single_call_its_kind(kind: EventType) -> None:
    call = {"userId": "u", "previousId": "p", "groupId": "g", "event": "e"}
    outcome = accept(json.dumps(call).encode(), frame(), kind)
    assert isinstance(outcome, Accepted)
    assert EVENT_DECODER.decode(outcome.value).type is kind


@pytest.mark.parametrize(
    ("call", "reason", "field"),
    [
        (track(type="trak"), Reason.UNKNOWN_TYPE, "type"),
        (track(type=None), Reason.UNKNOWN_TYPE, "type"),
        (track(type=3), Reason.UNKNOWN_TYPE, "type"),
        (track(event=""), Reason.MISSING_FIELD, "event"),
        (track(event=None), Reason.MISSING_FIELD, "event"),
        (track(event={}), Reason.INVALID_FIELD, "event"),
        (track(userId="0"), Reason.MISSING_IDENTITY, "userId"),
        (track(userId=None), Reason.MISSING_IDENTITY, "userId"),
        (track(userId=["u1"]), Reason.INVALID_FIELD, "userId"),
        (track(userId="u" * 513), Reason.INVALID_FIELD, "userId"),
        (track(messageId="m" * 101), Reason.INVALID_FIELD, "messageId"),
        (track(properties=[]), Reason.INVALID_FIELD, "properties"),
        (track(traits="x"), Reason.INVALID_FIELD, "traits"),
        (track(context=3), Reason.INVALID_FIELD, "context"),
        (track(timestamp="soon"), Reason.INVALID_FIELD, "timestamp"),
        (track(originalTimestamp="soon"), Reason.INVALID_FIELD, "originalTimestamp"),
        ({"type": "group", "userId": "u1"}, Reason.MISSING_FIELD, "groupId"),
        ({"type": "alias", "userId": "u1"}, Reason.MISSING_FIELD, "previousId"),
        ({"type": "alias", "previousId": "u1"}, Reason.MISSING_FIELD, "userId"),
        ({"type": "alias", "previousId": "null", "userId": "u1"}, Reason.MISSING_FIELD, "previousId"),
        ([1, 2], Reason.NOT_AN_OBJECT, None),
        ("7", Reason.NOT_AN_OBJECT, None),
        (track(properties={"long": "x" * 40_000}), Reason.EVENT_TOO_LARGE, None),
        (track(properties={"deep": json.loads("[" * 70 + "]" * 70)}), Reason.TOO_DEEP, None),
    ],
)
def test_a_bad_call_is_rejected_with_the_field_that_is_wrong(call: Any, reason: Reason, field: str | None) -> None:
    assert rejected(call) == (reason, field)


def test_everything_a_client_sends_is_kept() -> None:
    call = track(
        anonymousId="d1",
        messageId="m1",
        name="n",
        groupId=7,
        timestamp="2026-11-22T10:00:00Z",
        sentAt="2026-11-22T10:00:01Z",
        properties={"a": [1, {"b": None}]},
        traits={"t": 1},
        context={"ip": "1.2.3.4"},
        integrations={"All": True},
        channel="server",
        category="c",
        rudderId="r",
        _metadata={"jsRuntime": "node"},
        somethingNew={"x": 1},
        writeKey="secret",
    )
    event = taken(call)
    assert (event.anonymous_id, event.user_id, event.group_id, event.message_id) == ("d1", "u1", "7", "m1")
    assert (event.original_timestamp, event.sent_at) == (1_795_341_600_000, 1_795_341_601_000)
    assert event.timestamp == NOW - 1000
    assert {name: json.loads(bytes(value)) for name, value in event.extra.items()} == {
        "channel": "server",
        "category": "c",
        "rudderId": "r",
        "_metadata": {"jsRuntime": "node"},
        "somethingNew": {"x": 1},
    }
    assert json.loads(bytes(event.properties)) == call["properties"]
    assert json.loads(bytes(event.integrations)) == call["integrations"]
    assert b"secret" not in msgspec.json.encode(event)


def test_inner_objects_stay_byte_for_byte() -> None:
    event = taken('{"type":"track","event":"E","userId":"u","properties":{ "price" : 1.50,\t"n":1e2 ,"s":"\\u00e9"}}')
    assert bytes(event.properties) == b'{ "price" : 1.50,\t"n":1e2 ,"s":"\\u00e9"}'


@pytest.mark.parametrize(
    ("sent", "kept"),
    [(42, "42"), (4.0, "4"), (1.5, "1.5"), (12345678901234567890, "12345678901234567890"), ("  x ", "  x "), (False, None), ({}, None)],
)
def test_ids_become_text(sent: Any, kept: str | None) -> None:
    outcome = outcome_of(track(anonymousId=sent))
    if isinstance(sent, dict):
        assert isinstance(outcome, Rejection)
    else:
        assert isinstance(outcome, Accepted)
        assert EVENT_DECODER.decode(outcome.value).anonymous_id == kept


def test_unusable_ids_count_as_absent_and_are_counted() -> None:
    counts: dict[str, int] = {}
    event = taken(track(anonymousId="[object Object]"), unusable=counts)
    assert event.anonymous_id is None
    assert counts == {"anonymousId": 1}


def test_a_missing_message_id_is_made() -> None:
    assert taken(track()).message_id == "made"
    assert taken(track(messageId="")).message_id == "made"
    assert taken(track(messageId=7)).message_id == "7"


def test_traits_in_context_join_an_identifys_own_which_win() -> None:
    call = {"type": "identify", "userId": "u", "context": {"traits": {"email": "a@b.c", "age": 3}}, "traits": {"age": 4}}
    event = taken(call)
    assert json.loads(bytes(event.traits)) == {"email": "a@b.c", "age": 4}
    assert event.ids == {"email": "a@b.c"}


def test_traits_of_anything_but_an_identify_make_no_claim() -> None:
    call = {
        "type": "group",
        "userId": "u",
        "groupId": "g",
        "traits": {"email": "office@b.c"},
        "context": {"traits": {"phone": "+8613812345678"}},
    }
    assert taken(call).ids == {}
    assert json.loads(bytes(taken(call).traits)) == {"email": "office@b.c"}


def test_external_ids_of_the_context_go_before_traits_and_only_identifying_kinds_count() -> None:
    listed = [{"type": "email", "id": "ctx@b.c"}, {"type": "ios.idfa", "id": "AAA"}, "junk", {"type": "phone"}, {"id": 3}]
    call = {"type": "identify", "userId": "u", "traits": {"email": "trait@b.c"}, "context": {"externalIds": listed}}
    assert taken(call).ids == {"email": "ctx@b.c"}


@pytest.mark.parametrize("traits", [{"email": 7}, {"email": ["a@b.c"]}, {"email": "no address"}, {"phone": "abc"}, {"phone": True}])
def test_an_unusable_trait_is_kept_but_identifies_nobody(traits: dict[str, Any]) -> None:
    event = taken({"type": "identify", "userId": "u", "traits": traits})
    assert event.ids == {}
    assert json.loads(bytes(event.traits)) == traits


def test_a_kind_of_the_installations_own_identifies_by_its_name() -> None:
    call = {"type": "identify", "traits": {"loyalty_card": 4711, "email": "a@b.c"}}
    event = taken(call, external_kinds=("loyalty_card", "phone"))
    assert event.ids == {"loyalty_card": "4711"}


def test_the_phone_region_of_the_installation_completes_a_number() -> None:
    call = {"type": "identify", "userId": "u", "traits": {"phone": "138 1234 5678"}}
    assert taken(call).ids == {}
    assert taken(call, phone_region="CN").ids == {"phone": "+8613812345678"}


def test_what_the_batch_says_merges_into_each_item() -> None:
    event = taken(
        track(context={"ip": "1.1.1.1"}, integrations={"X": False}),
        context=msgspec.Raw(b'{"ip":"9.9.9.9","library":{"name":"l"}}'),
        integrations=msgspec.Raw(b'{"All":true}'),
    )
    assert json.loads(bytes(event.context)) == {"ip": "1.1.1.1", "library": {"name": "l"}}
    assert json.loads(bytes(event.integrations)) == {"All": True, "X": False}


@pytest.mark.parametrize("library", ["analytics-kotlin", "analytics-swift", "analytics-go"])
def test_libraries_that_freeze_sent_at_keep_the_original_time(library: str) -> None:
    call = track(timestamp="2026-11-22T10:00:00Z", sentAt="2026-11-22T10:00:01Z", context={"library": {"name": library}})
    assert taken(call).timestamp == 1_795_341_600_000


def test_an_items_sent_at_goes_before_the_batchs() -> None:
    call = track(timestamp="2026-11-22T10:00:00Z")
    assert taken(call, sent_at=1_795_341_602_000).timestamp == NOW - 2000
    assert taken(call | {"sentAt": "2026-11-22T10:00:01Z"}, sent_at=1_795_341_602_000).timestamp == NOW - 1000
    assert taken(call | {"sentAt": "junk"}, sent_at=1_795_341_602_000).timestamp == NOW - 2000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["type", "userId", "anonymousId", "messageId", "previousId", "groupId", "event", "name", "timestamp", "originalTimestamp", "sentAt",
     "properties", "traits", "context", "integrations", "channel", "x"]
)  # fmt: skip


@given(
    call=st.dictionaries(FIELDS, JSON | st.sampled_from([k.value for k in EventType])), kind=st.none() | st.sampled_from(list(EventType))
)
def test_any_json_is_accepted_or_rejected_and_what_is_accepted_can_be_read(call: dict[str, Any], kind: EventType | None) -> None:
    raw = json.dumps(call).encode()
    assume(is_strict_json(raw))
    outcome = accept(raw, frame(), kind)
    match outcome:
        case Accepted():
            readable(outcome)
        case Rejection(reason=reason, message=message):
            assert reason in Reason
            assert message
    known = kind or call.get("type")
    if known not in list(EventType):
        assert isinstance(outcome, Rejection)


@given(
    extra=JSON,
    properties=st.dictionaries(st.text(max_size=8), JSON, max_size=4),
    who=st.sampled_from(["userId", "anonymousId"]),
)
def test_a_call_that_says_who_and_what_is_accepted_whatever_it_carries_besides(extra: Any, properties: dict[str, Any], who: str) -> None:
    call = {"type": "track", "event": "E", who: "u1", "messageId": "m1", "properties": properties} | {"extra": extra}
    raw = json.dumps(call).encode()
    assume(is_strict_json(raw))
    outcome = accept(raw, frame())
    assert isinstance(outcome, Accepted), outcome
    event = readable(outcome)
    assert (event.event, event.message_id, outcome.key) == ("E", "m1", f"{who[0]}:u1".encode())
    assert msgspec.json.decode(event.properties) == msgspec.json.decode(json.dumps(properties).encode())


def readable(outcome: Accepted) -> ReceivedEvent:
    """What is accepted, as whoever comes after reads it."""
    event = EVENT_DECODER.decode(outcome.value)
    assert outcome.key
    assert event.timestamp <= NOW
    assert event.type is outcome.type
    assert msgspec.json.decode(outcome.value)
    return event
