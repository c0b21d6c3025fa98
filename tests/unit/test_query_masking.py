"""Masking and cursors: nothing personal left, nothing made up accepted."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.query.adapters.sealing import Sealer
from services.query.domain.cursors import LogCursor, MemberCursor, RowCursor
from services.query.domain.instants import epoch_ms, instant, rfc3339
from services.query.domain.personal import PERSONAL_TRAITS, masked, masked_profile_id, masked_text
from services.query.domain.reasons import Refused

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["email", "plan", "traits", "name", "x"]), inner, max_size=4)
    ),
    max_leaves=15,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ada@example.com", "a***@example.com"),
        ("+447700900123", "***0123"),
        ("Ada", "***"),
        ("Lovelace", "L***e"),
        ("张三", "***"),
        ("", ""),
    ],
)
def test_a_masked_text_tells_two_apart_and_reaches_nobody(text: str, shown: str) -> None:
    assert masked_text(text) == shown


def test_personal_fields_are_masked_at_any_depth_and_the_rest_stays() -> None:
    event = {
        "plan": "gold",
        "products": [{"name": "Mug", "price": 4.5}],
        "shippingAddress": "1 High Street",
        "Phone_Number": 447700900123,
        "note": "write to ada@example.com",
        "contact": "+44 7700 900123",
        "traits": {"name": "Ada Lovelace", "first-name": "Ada"},
        "address": {"street": "1 High St", "lines": ["a", "b"]},
        "手机号": "13800138000",
    }
    assert masked(event) == {
        "plan": "gold",
        "products": [{"name": "Mug", "price": 4.5}],
        "shippingAddress": "1***t",
        "Phone_Number": "***",
        "note": "w***@example.com",
        "contact": "***0123",
        "traits": {"name": "A***e", "first-name": "***"},
        "address": {"street": "1***t", "lines": ["***", "***"]},
        "手机号": "***8000",
    }


@given(JSON, st.booleans())
def test_masking_keeps_the_shape_and_masking_twice_changes_nothing(value: Any, of_person: bool) -> None:
    names = (PERSONAL_TRAITS,) if of_person else ()
    once = masked(value, *names)
    assert _shape(once) == _shape(value)
    assert msgspec.json.encode(once)


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shape(inner) for name, inner in value.items()}
    return [_shape(inner) for inner in value] if isinstance(value, list) else None


def test_ids_that_are_contact_points_are_masked_and_others_lead_on() -> None:
    assert masked_profile_id("u:ada-17") == "u:ada-17"
    assert masked_profile_id("u:ada@example.com") == "u:a***@example.com"
    assert masked_profile_id("phone:+447700900123") == "phone:***0123"
    assert masked_profile_id("a:d-1") == "a:d-1"


@given(st.text(max_size=40), st.integers(0, 2**53), st.text(max_size=40))
def test_a_cursor_comes_back_as_it_went(segment: str, since: int, name: str) -> None:
    sealer = Sealer(b"x")
    cursor = MemberCursor(segment, since, name)
    text = sealer.seal(cursor)
    assert sealer.open(text, MemberCursor) == cursor
    assert Sealer(b"x").open(text, MemberCursor) == cursor


@pytest.mark.parametrize("text", ["", "A", "AAAA", "====", "é", "not a cursor", "A" * 4000])
def test_a_made_up_cursor_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        Sealer(b"x").open(text, RowCursor)
    assert refused.value.status == 400


def test_a_cursor_of_another_secret_or_kind_is_refused() -> None:
    text = Sealer(b"x").seal(LogCursor("t", {0: 5}))
    for sealer, kind in ((Sealer(b"y"), LogCursor), (Sealer(b"x"), RowCursor)):
        with pytest.raises(Refused):
            sealer.open(text, kind)


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_times_go_out_in_utc_to_the_millisecond_and_come_back(at: int) -> None:
    assert epoch_ms(instant(at)) == at
    assert rfc3339(instant(at)).endswith("Z")
