"""Bodies: gzip, batches, junk. Whatever comes, the answer is a value or a refusal, never another exception."""

import base64
import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_from_bytes

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.ingest.domain.accept import Frame
from services.ingest.domain.bodies import Taken, plain, take_batch, take_item, take_single, write_key_in
from services.ingest.domain.limits import Limits
from services.ingest.domain.pixels import from_data, from_parameters
from services.ingest.domain.reasons import Reason, Refusal, Refused
from services.ingest.domain.strict import is_deeper, is_strict_json, mend_surrogates
from services.ingest.domain.writekeys import from_basic, from_bearer, from_query
from shared.contracts.events import EVENT_DECODER, EventType

SMALL = Limits(body_bytes=10_000, inflated_bytes=10_000, ratio=20, ratio_free_bytes=2_000, event_bytes=2_000, events=5, depth=8)

MEANS_NOTHING = {*range(4, 10)}
"""Bytes of a gzip head that say nothing of the content: when it was made, how hard, on which system."""


def frame(limits: Limits = SMALL) -> Frame:
    return Frame(source_id="shop", received_at=1_800_000_000_000, new_id=lambda: "made", limits=limits)


def good(n: int = 0) -> str:
    return json.dumps({"type": "track", "event": "E", "userId": f"u{n}", "messageId": f"m{n}"})


def batch(*items: str, rest: str = "") -> bytes:
    return ('{"batch":[' + ",".join(items) + "]" + rest + "}").encode()


def refusal(body: bytes) -> Refused:
    with pytest.raises(Refused) as refused:
        take_batch(plain(body, None, SMALL), frame())
    return refused.value


def test_calls_of_a_batch_without_a_time_of_their_own_keep_their_order() -> None:
    timed = good(2).replace('"type"', '"timestamp":"2026-01-01T00:00:00Z","type"', 1)
    taken = take_batch(batch(good(1), timed, good(3)), frame())
    times = [EVENT_DECODER.decode(one.value).timestamp for one in taken.accepted]
    now = frame().received_at
    assert times == [now - 2, 1_767_225_600_000, now]


def test_gzip_is_known_by_its_first_bytes_whatever_the_headers_say() -> None:
    packed = gzip.compress(b'{"a":1}')
    assert plain(packed, None, SMALL) == plain(packed, b"gzip", SMALL) == plain(b'{"a":1}', b"gzip", SMALL) == b'{"a":1}'


def test_several_gzip_members_are_one_body() -> None:
    assert plain(gzip.compress(b'{"a":') + gzip.compress(b"1}") + b"\0\0", None, SMALL) == b'{"a":1}'


@given(st.binary(max_size=3000), st.integers(1, 9))
def test_gzip_round_trips(body: bytes, level: int) -> None:
    wide = Limits(ratio=2000)
    assert plain(gzip.compress(body, level), b"gzip", wide) == body.removeprefix(b"\xef\xbb\xbf")


@given(st.binary(min_size=1, max_size=400), st.integers(0, 400))
def test_gzip_that_is_cut_off_is_refused(body: bytes, at: int) -> None:
    packed = gzip.compress(body)
    with pytest.raises(Refused) as refused:
        plain(packed[: 2 + at % (len(packed) - 2)], None, SMALL)  # two bytes are enough to be known as gzip
    assert refused.value.code is Refusal.MALFORMED_GZIP


@given(st.binary(min_size=1, max_size=400), st.integers(0, 400))
def test_gzip_with_a_changed_byte_is_refused_or_gives_the_same_body(body: bytes, at: int) -> None:
    """Everything but the time, effort and system of its head is covered by a length or a checksum."""
    packed = bytearray(gzip.compress(body, mtime=0))
    place = 2 + at % (len(packed) - 2)
    packed[place] ^= 0x55
    outcome: bytes | Refusal | Reason
    try:
        outcome = plain(bytes(packed), None, SMALL)
    except Refused as refused:
        outcome = refused.code
    if outcome != body.removeprefix(b"\xef\xbb\xbf"):
        assert outcome in {Refusal.MALFORMED_GZIP, Refusal.RATIO_TOO_HIGH, Refusal.INFLATED_TOO_LARGE}
    assert isinstance(outcome, bytes) == (place in MEANS_NOTHING)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(gzip.compress(b"0" * 5_000), Refusal.RATIO_TOO_HIGH, id="a bomb"),
        pytest.param(gzip.compress(bytes(range(256)) * 40), Refusal.INFLATED_TOO_LARGE, id="too large inflated"),
        pytest.param(gzip.compress(b'{"a":1}')[:-9], Refusal.MALFORMED_GZIP, id="cut off"),
        pytest.param(b"\x1f\x8bjunk", Refusal.MALFORMED_GZIP, id="junk"),
        pytest.param(zlib.compress(b"{}"), Refusal.MALFORMED_GZIP, id="zlib"),
    ],
)
def test_bombs_and_broken_gzip_are_refused(body: bytes, code: Refusal) -> None:
    with pytest.raises(Refused) as refused:
        plain(body, b"gzip", Limits(body_bytes=10_000, inflated_bytes=10_000, ratio=20, ratio_free_bytes=2_000))
    assert refused.value.code is code


def test_a_bomb_costs_no_more_than_the_cap() -> None:
    """200 MB in 200 KB: what is held while it is refused is a small multiple of what may be inflated."""
    bomb, limits = gzip.compress(b"0" * 200_000_000), Limits(ratio=2000)
    tracemalloc.start()
    try:
        with pytest.raises(Refused) as refused:
            plain(bomb, b"gzip", limits)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.code is Refusal.INFLATED_TOO_LARGE
    assert most < 3 * limits.inflated_bytes


def test_one_bad_item_fails_alone() -> None:
    taken = take_batch(batch(good(1), '{"type":"track"}', good(2)), frame())
    assert [EVENT_DECODER.decode(event.value).message_id for event in taken.accepted] == ["m1", "m2"]
    assert [(rejection.reason, original) for rejection, original in taken.rejected] == [(Reason.MISSING_FIELD, b'{"type":"track"}')]
    assert taken.refusal is None


@pytest.mark.parametrize(
    "poison",
    [
        pytest.param(b'{"type":"track","event":"E","userId":"u","properties":{"x":"\xff"}}', id="no UTF-8"),
        pytest.param(b'{"type":"track","event":"E","userId":"u","properties":{"x":1e999}}', id="number out of range"),
        pytest.param(b'{"type":"track","event":"E","userId":"u","properties":{"\xc3\x28":1}}', id="no UTF-8 in a name"),
    ],
)
def test_an_item_that_readers_could_not_decode_fails_alone(poison: bytes) -> None:
    body = b'{"batch":[' + good(1).encode() + b"," + poison + b"," + good(2).encode() + b"]}"
    taken = take_batch(body, frame())
    assert len(taken.accepted) == 2
    assert [(rejection.reason, original) for rejection, original in taken.rejected] == [(Reason.MALFORMED_JSON, poison)]


def test_half_an_emoji_becomes_a_replacement_character_and_the_event_stays() -> None:
    taken = take_batch(batch('{"type":"track","event":"E","userId":"u","properties":{"x":"cut \\ud83d"}}'), frame())
    assert b"cut \\ufffd" in taken.accepted[0].value


@given(st.lists(st.sampled_from([r"\ud83d", r"\ude00", r"\\", r"\"", r"\u0041", "u", "d83d", "\\n", "é"]), max_size=12))
def test_mended_text_decodes_and_whole_text_stays(parts: list[str]) -> None:
    text = ('"' + "".join(parts) + '"').encode()
    mended = mend_surrogates(text)
    assert is_strict_json(mended)
    if is_strict_json(text):
        assert mended == text


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"batch":[]}', Refusal.EMPTY_BATCH),
        (b"{}", Reason.INVALID_FIELD),
        (b"[]", Reason.INVALID_FIELD),
        (b'{"batch":{}}', Reason.INVALID_FIELD),
        (b'{"batch":null}', Reason.INVALID_FIELD),
        (batch(*[good()] * 6), Refusal.TOO_MANY_EVENTS),
        (batch(good(), rest=',"context":{"x":"' + "y" * 2100 + '"}'), Refusal.BATCH_TOO_LARGE),
    ],
)
def test_a_batch_with_nothing_to_take_is_refused(body: bytes, code: Refusal | Reason) -> None:
    assert refusal(body).code is code


@pytest.mark.parametrize("body", [b"", b"nonsense", b'{"batch":[', b'{"batch":[{]}', b"\xff\xfe", b'{"batch":' + b"[" * 9000])
def test_malformed_json_is_kept_and_answered_400(body: bytes) -> None:
    taken = take_batch(body, frame())
    assert taken.refusal is not None
    assert (taken.refusal.status, taken.refusal.code) == (400, Refusal.MALFORMED_JSON)
    assert [original for _, original in taken.rejected] == [body]


def test_a_batchs_own_fields_of_a_wrong_shape_fail_no_event() -> None:
    taken = take_batch(batch(good(), rest=',"context":[],"integrations":3,"sentAt":{}'), frame())
    assert len(taken.accepted) == 1


def test_a_rejected_item_is_read_again_as_it_was_read_then() -> None:
    rest = ',"context":{"ip":"9.9.9.9"},"sentAt":"2027-01-15T08:00:00Z"'
    wide = Limits(event_bytes=4_000)
    large = json.dumps({"type": "track", "event": "E", "userId": "u", "properties": {"x": "y" * 2_500}})
    first = take_batch(batch(large, rest=rest), frame())
    assert first.rejected[0][0].reason is Reason.EVENT_TOO_LARGE
    again = take_item(first.rejected[0][1], first.around, frame(wide))
    assert again.accepted == take_batch(batch(large, rest=rest), frame(wide)).accepted


JUNK = (
    st.binary(max_size=200) | st.text(max_size=100).map(str.encode) | st.sampled_from([b'{"batch":[1,"x",null,{}]}', batch(good()), b"{}"])
)


@given(JUNK, st.sampled_from([None, b"gzip", b"identity", b"br"]), st.none() | st.sampled_from(list(EventType)))
@example(b"\x1f\x8b", None, None)
def test_junk_is_taken_or_refused(body: bytes, encoding: bytes | None, kind: EventType | None) -> None:
    try:
        text = plain(body, encoding, SMALL)
        write_key_in(text)
        taken = take_batch(text, frame()) if kind is None else take_single(text, frame(), kind)
    except Refused:
        return
    assert isinstance(taken, Taken)
    assert all(is_strict_json(event.value) for event in taken.accepted)


NESTED = st.recursive(
    st.just("1") | st.just('"[{\\""'), lambda inner: inner.map(lambda x: f"[{x}]") | inner.map(lambda x: f'{{"a":{x},"b":[]}}')
)


@given(NESTED, st.integers(1, 12))
def test_depth_is_counted_as_a_parser_counts_it(text: str, limit: int) -> None:
    assert is_deeper(text.encode(), limit) == (_depth(json.loads(text)) > limit)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((_depth(inner) for inner in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((_depth(inner) for inner in value), default=0)
    return 0


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (b"Basic d2s6", "wk"),
        (b"basic d2s=", "wk"),
        (b"Basic d2s", "wk"),
        (b"Basic d2s6cGFzcw==", "wk"),
        (b"Basic Og==", None),
        (b"Basic ???", None),
        (b"Basic /////w==", None),
        (b"Bearer wk", None),
        (b"", None),
        (None, None),
    ],
)
def test_basic_gives_the_user_name(header: bytes | None, key: str | None) -> None:
    assert from_basic(header) == key


def test_the_other_places_of_a_write_key() -> None:
    assert from_bearer(b"Bearer wk") == "wk"
    assert from_bearer(b"Basic wk") is None
    assert from_query(b"a=1&writeKey=wk%20") == "wk"
    assert from_query(b"writeKey=") is None
    assert write_key_in(b'{"writeKey":"wk"}') == "wk"
    assert write_key_in(b'{"writeKey":7}') is write_key_in(b"junk") is write_key_in(b"[]") is None


@given(st.binary())
def test_no_header_or_query_breaks_the_search_for_a_key(junk: bytes) -> None:
    for found in (from_basic(b"Basic " + junk), from_bearer(b"Bearer " + junk), from_query(b"writeKey=" + junk)):
        assert found is None or found.strip()


@given(st.binary(min_size=1, max_size=100), st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]), st.booleans())
def test_whatever_a_pixel_carries_in_base64_comes_out(content: bytes, encode: Callable[[bytes], bytes], padded: bool) -> None:
    packed = encode(content) if padded else encode(content).rstrip(b"=")
    assert from_data(b"data=" + quote_from_bytes(packed).encode()) == content


@given(st.binary(max_size=100))
def test_any_pixel_address_gives_bytes_or_is_refused(query: bytes) -> None:
    outcomes: list[bytes | Refusal | Reason] = []
    for read in (from_data, lambda query_string: from_parameters(query_string, SMALL)):
        try:
            outcomes.append(read(b"data=" + query))
        except Refused as refused:
            outcomes.append(refused.code)
    data, parameters = outcomes
    assert data is Refusal.INVALID_DATA or (isinstance(data, bytes) and data)
    assert not isinstance(parameters, bytes) or is_strict_json(parameters)
    if query.isascii() and query.isalnum():
        assert parameters == msgspec.json.encode({"data": query.decode()})


def test_dotted_parameters_become_objects() -> None:
    made = from_parameters(b"context.page.url=http%3A%2F%2Fx&context.page.title=T&userId=u&context.page=no", SMALL)
    assert msgspec.json.decode(made) == {"context": {"page": "no"}, "userId": "u"}
