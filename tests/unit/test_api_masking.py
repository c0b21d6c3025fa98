"""Masking and cursors: nothing personal left, nothing made up accepted."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.domain.limits import Limits
from shared.contracts.slots import MOST_PARTITIONS
from shared.definitions.catalogue import Catalogue
from shared.http.cursors import LogCursor, MemberCursor, RowCursor
from shared.http.instants import epoch_ms, instant, rfc3339
from shared.http.personal import View, masked_profile_id, masked_text
from shared.http.reasons import Refused
from shared.http.sealing import MAX_CURSOR, Sealer
from tests.api_fakes import World
from tests.api_stores import ADMIN

CATALOGUE = Catalogue(
    catalogue="tests",
    traits={"plan": "public", "company.industry": "public"},
    properties={"url": "public", "total": "public", "order_id": "public", "products.sku": "public", "paid": "public"},
    context={"campaign.*": "public", "campaign.term": "masked", "page.url": "public"},
)
READER = View(catalogue=CATALOGUE)
NAMES = st.sampled_from(["email", "plan", "traits", "name", "company", "industry", "total", "products", "sku", "campaign", "term"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
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


def test_what_the_catalogue_does_not_name_is_masked_whatever_it_is_called() -> None:
    properties = {
        "total": 4.5,
        "order_id": "A-17",
        "products": [{"sku": "M1", "name": "Mug", "收件人": "张三"}],
        "given_name": "Augusta",
        "dob": "1815-12-10",
        "qq": 10001234,
        "pregnant": True,
        "nothing": None,
        "note": "call Ada on Monday",
        "address": {"lines": ["1 High Street", "Leeds"]},
    }
    assert READER.contents("properties", properties) == {
        "total": 4.5,
        "order_id": "A-17",
        "products": [{"sku": "M1", "name": "***", "收件人": "***"}],
        "given_name": "A***a",
        "dob": "1***0",
        "qq": "***",
        "pregnant": "***",
        "nothing": None,
        "note": "c***y",
        "address": {"lines": ["1***t", "***"]},
    }


def test_the_path_that_names_more_of_a_field_holds() -> None:
    context = {"campaign": {"name": "spring", "term": "ada lovelace", "of": {"id": 3}}, "page": {"title": "Orders of Ada"}}
    assert READER.contents("context", context) == {
        "campaign": {"name": "spring", "term": "a***e", "of": {"id": 3}},
        "page": {"title": "O***a"},
    }


def test_traits_in_a_context_are_traits() -> None:
    assert READER.contents("context", {"traits": {"plan": "gold", "surname": "King"}}) == {"traits": {"plan": "gold", "surname": "***"}}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://shop.example/orders/17?token=secret#top", "https://shop.example/orders/17?***#***"),
        ("https://ada:pw@shop.example/a", "https://shop.example/a"),
        ("https://shop.example/u/ada%40example.com/orders", "https://shop.example/u/***/orders"),
        ("/u/ada@example.com?x=1", "/u/***?***"),
        ("/orders", "/orders"),
        ("http://[", "***"),
        ("mailto:ada@example.com", "m***@example.com"),
        ("Order Completed", "Order Completed"),
        ("Really?", "Really?"),
        ("call +44 7700 900123", "c***3"),
        ("13800138000", "***8000"),
        ("11010519491231002X", "1***X"),
        ("2026-05-28T20:26:40.000+0800", "2026-05-28T20:26:40.000+0800"),
        ("write to ada@example.com", "***"),
        ("6222021234567890123", "***0123"),
        ("6222 0212 3456 7890 123", "*** 123"),
        ("card 4111-1111-1111-1111", "c***1"),
        ("1 3 8 0 0 1 3 8 0 0 0", "*** 0 0"),
        ("138-0013-8000", "***8000"),
        ("https://shop.example/pay/6222021234567890/done", "https://shop.example/pay/***/done"),
        ("550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-41d4-a716-446655440000"),
        ("2026-11-30 18:42:39", "2026-11-30 18:42:39"),
        ("A-17-2026-00012345", "A***5"),
        ("20261130-01", "20261130-01"),
    ],
)
def test_a_public_text_shows_nothing_that_reaches_a_person(text: str, shown: str) -> None:
    assert READER.contents("properties", {"url": text}) == {"url": shown}


def test_a_public_number_that_is_a_phone_number_is_masked() -> None:
    assert READER.contents("properties", {"order_id": 13800138000, "total": 1380013.5, "paid": True}) == {
        "order_id": "***",
        "total": 1380013.5,
        "paid": True,
    }


def test_an_id_that_the_customer_gave_leads_on_though_it_is_a_long_number() -> None:
    assert READER.id("6222021234567890123") == "6222021234567890123"
    assert READER.profile_id("u:6222021234567890123") == "u:6222021234567890123"


def test_a_name_of_a_field_can_be_an_address_too() -> None:
    assert READER.contents("properties", {"ada@example.com": 1}) == {"a***@example.com": "***"}


@given(JSON, st.sampled_from(["traits", "properties", "context"]))
def test_masking_keeps_the_shape_and_the_scope_personal_shows_all(value: Any, section: str) -> None:
    shown = READER.contents(section, value)
    assert _shape(shown) == _shape(value)
    assert msgspec.json.encode(shown)
    assert View(clear=True).contents(section, value) == value


@given(JSON, st.sampled_from(["traits", "properties", "context"]))
def test_without_a_catalogue_no_leaf_is_shown(value: Any, section: str) -> None:
    shown = list(_leaves(View().contents(section, value)))
    assert all(leaf is None or leaf == "" or (isinstance(leaf, str) and "***" in leaf) for leaf in shown)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    else:
        yield value


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shape(inner) for name, inner in value.items()}
    return [_shape(inner) for inner in value] if isinstance(value, list) else None


def test_ids_that_are_contact_points_are_masked_and_others_lead_on() -> None:
    assert masked_profile_id("u:ada-17") == "u:ada-17"
    assert masked_profile_id("u:ada@example.com") == "u:a***@example.com"
    assert masked_profile_id("phone:+447700900123") == "phone:***0123"
    assert masked_profile_id("a:d-1") == "a:d-1"
    assert masked_profile_id("u:13800138000") == "u:***8000"
    assert masked_profile_id("u:https://id.example/17?x=1") == "u:https://id.example/17?x=1"


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


def test_a_cursor_that_a_list_gives_is_one_that_it_takes() -> None:
    longest = "u:" + "\N{CJK UNIFIED IDEOGRAPH-20000}" * Limits().id_chars
    offsets = dict.fromkeys(range(MOST_PARTITIONS), 2**40)
    cursors = (RowCursor("conflicts", (2**50, longest, longest)), MemberCursor("s" * 63, 2**50, longest), LogCursor("t" * 300, offsets))
    for cursor in cursors:
        assert len(Sealer(b"x").seal(cursor)) <= MAX_CURSOR


async def test_a_longer_cursor_is_refused_before_it_is_looked_at() -> None:
    assert (await World().get("dead-letters", cursor="A" * (MAX_CURSOR + 1), key=ADMIN)).json()["field"] == "cursor"
