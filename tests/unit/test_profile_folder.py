"""What a profile makes of events: each fold, bad values, bounds, and what is said of it."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.profile.domain.bounded import MAX_IDS, MAX_NAMES, count, meet
from services.profile.domain.facts import MAX_TRAITS, MAX_VALUE_BYTES
from services.profile.domain.money import add
from services.profile.domain.person import unite
from services.profile.folder_stage import FolderStage
from shared.contracts.changes import PROFILE_CHANGED_DECODER, ProfileChanged
from shared.contracts.events import ReceivedEvent
from shared.contracts.profile_blob import (
    CONSENT,
    CONTACT,
    OVERFLOWED,
    TRAIT,
    Profile,
    decode_profile,
    decode_recent,
    encode_profile,
    encode_recent,
)
from shared.contracts.topics import EVENT_RESOLVED, PROFILE_CHANGED
from shared.runtime.stage import Step
from shared.testing.fakes import FakeRecord
from shared.testing.histories import EPOCH, Ids, calls, encoded, event

STAGE = FolderStage()


def folded(events: Sequence[ReceivedEvent], step: Step | None = None) -> Profile:
    """The profile of one person after these events."""
    step = step or Step("folder", EVENT_RESOLVED, 0)
    step.key = "u:ann"
    state = STAGE.empty(step.key)
    for offset, one in enumerate(events):
        step.offset, step.index = offset, 0
        record = FakeRecord(EVENT_RESOLVED, 0, offset, EPOCH, b"u:ann", encoded(one))
        state = STAGE.fold(state, STAGE.decode(record), step)
    return state


def changes(step: Step) -> list[ProfileChanged]:
    return [PROFILE_CHANGED_DECODER.decode(output.value or b"") for output in step.published() if output.topic == PROFILE_CHANGED]


def said_by_each(events: Sequence[ReceivedEvent]) -> list[list[ProfileChanged]]:
    """What each of these events makes the profile say, were each a batch of its own."""
    state = STAGE.empty("u:ann")
    said = []
    for offset, one in enumerate(events):
        step = Step("folder", EVENT_RESOLVED, 0)
        step.key, step.offset = "u:ann", offset
        record = FakeRecord(EVENT_RESOLVED, 0, offset, EPOCH, b"u:ann", encoded(one))
        state = STAGE.fold(state, STAGE.decode(record), step)
        said.append(changes(step))
    return said


def traits(profile: Profile) -> dict[str, bytes]:
    return {name: value for name, (value, _) in profile.facts(TRAIT).items()}


def order(number: int, name: str = "Order Completed", **properties: Any) -> ReceivedEvent:
    return event("track", f"m{number}", event=name, user_id="ann", properties=properties)


histories_of_one = st.integers(0, 10).flatmap(
    lambda n: st.tuples(*(calls(Ids(("ann", "bob"), ("d1", "d2"), ("m@x.org", "n@x.org")), f"m{i}") for i in range(n)))
)


@given(histories_of_one, st.randoms(use_true_random=False), st.integers(0, 10))
def test_any_order_and_any_split_gives_the_same_profile(events: Sequence[ReceivedEvent], random: Any, split: int) -> None:
    whole = encode_profile(folded(events))
    shuffled = list(events)
    random.shuffle(shuffled)
    assert encode_profile(folded(shuffled)) == whole
    one, two = shuffled[:split], shuffled[split:]
    assert encode_profile(unite(folded(one), folded(two))) == whole
    assert encode_profile(unite(folded(two), folded(one))) == whole


@given(histories_of_one, histories_of_one, histories_of_one)
def test_merging_is_associative(one: Sequence[ReceivedEvent], two: Sequence[ReceivedEvent], three: Sequence[ReceivedEvent]) -> None:
    left = unite(unite(folded(one), folded(two)), folded(three))
    right = unite(folded(one), unite(folded(two), folded(three)))
    assert encode_profile(left) == encode_profile(right)


@given(histories_of_one)
def test_a_profile_survives_its_blob(events: Sequence[ReceivedEvent]) -> None:
    profile = folded(events)
    assert decode_profile(encode_profile(profile)) == profile


def test_the_last_said_trait_holds_whenever_it_arrives_and_null_takes_it_back() -> None:
    late = event("identify", "m2", EPOCH + 2, user_id="ann", traits={"city": "Oslo", "plan": None})
    early = event("identify", "m1", EPOCH + 1, user_id="ann", traits={"city": "Rome", "plan": "free", "age": 30})
    for events in ([early, late], [late, early]):
        profile = folded(events)
        assert traits(profile) == {"city": b'"Oslo"', "age": b"30"}
        assert profile.facts(TRAIT)["city"][1].at == EPOCH + 2
        assert profile.facts(TRAIT)["age"][1].source_id == "s1"


def test_of_two_traits_said_at_once_the_greater_message_id_holds() -> None:
    one = event("identify", "m1", user_id="ann", traits={"city": "Oslo"})
    two = event("identify", "m2", user_id="ann", traits={"city": "Bonn"})
    assert traits(folded([one, two])) == traits(folded([two, one])) == {"city": b'"Bonn"'}


def test_an_event_from_the_future_counts_as_of_its_receipt() -> None:
    skewed = event("identify", "m1", EPOCH + 10**12, user_id="ann", traits={"city": "Oslo"})
    assert folded([skewed]).last_seen == skewed.received_at


def test_contact_points_are_the_last_said_and_can_be_taken_back() -> None:
    said = event("identify", "m1", EPOCH, user_id="ann", ids={"email": "a@x.org", "phone": "+4712345678"}, traits={"email": "A@x.org"})
    gone = event("identify", "m2", EPOCH + 1, user_id="ann", traits={"email": None})
    profile = folded([gone, said])
    assert {kind: value for kind, (value, _) in profile.facts(CONTACT).items()} == {"phone": b'"+4712345678"'}
    assert set(profile.external_ids) == {"email:a@x.org", "phone:+4712345678"}, "it still identifies"


def test_consents_come_from_preferences_and_from_unsubscribing() -> None:
    yes = event("identify", "m1", EPOCH, user_id="ann", context={"consent": {"categoryPreferences": {"email": True, "sms": True}}})
    no = event("track", "m2", EPOCH + 1, user_id="ann", event="Unsubscribed")
    said = folded([no, yes]).facts(CONSENT)
    assert {channel: value for channel, (value, _) in said.items()} == {"email": b"false", "sms": b"true"}


@pytest.mark.parametrize(("first", "second"), [("m1", "m2"), ("m2", "m1")])
def test_of_a_consent_and_a_refusal_at_one_instant_the_refusal_holds(first: str, second: str) -> None:
    def said(message_id: str, granted: bool) -> ReceivedEvent:
        return event("identify", message_id, EPOCH, user_id="ann", context={"consent": {"categoryPreferences": {"email": granted}}})

    events = [said(first, True), said(second, False)]
    for order in (events, events[::-1]):
        assert folded(order).facts(CONSENT)["email"][0] == b"false"
    later = event("identify", "m0", EPOCH + 1, user_id="ann", context={"consent": {"categoryPreferences": {"email": True}}})
    assert folded([*events, later]).facts(CONSENT)["email"][0] == b"true"


def test_the_shown_user_id_is_the_last_aliased_to() -> None:
    events = [
        event("track", "m1", user_id="zoe"),
        event("alias", "m3", EPOCH + 3, user_id="zoe", previous_id="bob"),
        event("alias", "m2", EPOCH + 2, user_id="bob", previous_id="zoe"),
    ]
    assert folded(events).user_id == "zoe"
    assert folded(events[:1]).user_id == "zoe"
    assert folded([]).user_id is None


def test_money_is_exact_and_what_goes_back_is_taken_off() -> None:
    profile = folded(
        [
            order(1, revenue=0.1, total=5, currency="eur"),
            order(2, revenue=0.2, currency="EUR"),
            order(3, "Completed Order", total="19.99", currency="EUR"),
            order(4, "Order Refunded", revenue=-0.3, currency="EUR"),
            order(5, "Order Cancelled", total=1, currency="EUR"),
            order(6, revenue=3, currency="NOK"),
            order(7, revenue=1, currency="seashells"),
        ]
    )
    assert {code: money.net for code, money in profile.money.items()} == {
        "EUR": Decimal("18.99"),
        "NOK": Decimal(3),
        "": Decimal(1),
    }
    euros = profile.money["EUR"]
    assert (euros.orders, euros.refunds, euros.cancellations) == (3, 1, 1)
    assert profile.currency == "EUR"


@pytest.mark.parametrize("amount", ["abc", "NaN", "Infinity", "1e999", 1e300, True, [], {}, "", "12 EUR", "9" * 300])
def test_an_amount_that_is_none_counts_as_absent_and_is_counted(amount: object) -> None:
    profile = folded([order(1, revenue=amount), order(2, total=2, revenue=amount)])
    assert profile.money[""].orders == 2
    assert profile.money[""].net == Decimal(2)
    assert profile.ignored == {"amount": 1}


def test_properties_and_contexts_of_any_shape_raise_nothing() -> None:
    odd: list[Any] = [[], "text", 1, None, {"page": []}, {"campaign": "x", "device": 3}, {"consent": {"categoryPreferences": []}}]
    events = [event("track", f"m{n}", event="Order Completed", user_id="ann", properties=one, context=one) for n, one in enumerate(odd)]
    events += [event("identify", f"i{n}", user_id="ann", traits=one) for n, one in enumerate(odd[:4])]
    assert folded(events).events == len(events)


@given(st.lists(st.integers(-(10**18), 10**18), max_size=40))
def test_sums_stay_exact_beyond_64_bits(amounts: list[int]) -> None:
    total: int | str = 2**63 - 1
    for amount in amounts:
        total = add(total, amount)
    assert int(total) == 2**63 - 1 + sum(amounts)
    profile = folded([order(1, revenue=1)])
    profile.money[""].ordered = total
    assert decode_profile(encode_profile(profile)).money[""].ordered == total


def test_first_and_last_touch_are_campaigns_and_foreign_referrers_by_event_time() -> None:
    def came(number: int, **context: object) -> ReceivedEvent:
        return event("page", f"m{number}", EPOCH + number, anonymous_id="d", context=context)

    events = [
        came(3, page={"url": "https://shop.example/b", "referrer": "https://shop.example/a"}),
        came(2, campaign={"source": "news", "name": "may"}),
        came(1, page={"url": "https://shop.example/", "referrer": "https://search.example/?q=x"}),
        came(4, page={"url": "https://shop.example/", "referrer": "$direct"}, campaign={}),
    ]
    profile = folded(events)
    assert profile.first_touch is not None
    assert profile.first_touch.referrer == "https://search.example/?q=x"
    assert profile.last_touch is not None
    assert (profile.last_touch.source, profile.last_touch.campaign) == ("news", "may")


def test_devices_are_as_last_seen() -> None:
    old = {"device": {"id": "x", "type": "ios", "model": "iPhone 1"}, "os": {"name": "iOS", "version": 16}}
    new = {"device": {"id": "x", "type": "ios", "model": "iPhone 1"}, "os": {"name": "iOS", "version": "17.1"}}
    events = [event("track", "m2", EPOCH + 1, user_id="ann", context=new), event("track", "m1", EPOCH, user_id="ann", context=old)]
    assert folded(events).devices["x"].system == "iOS 17.1"


@given(st.lists(st.integers(0, 200), max_size=400), st.randoms(use_true_random=False))
def test_names_beyond_the_bound_go_to_one_count_whatever_the_order(names: list[int], random: Any) -> None:
    counts: dict[str, int] = {}
    for number in names:
        count(counts, f"event {number}")
    other: dict[str, int] = {}
    random.shuffle(names)
    for number in names:
        count(other, f"event {number}")
    assert counts == other
    assert sum(counts.values()) == len(names)
    assert len(counts) <= MAX_NAMES + 1
    assert all(counts[name] == names.count(int(name.split()[1])) for name in counts if name != OVERFLOWED)


@given(st.lists(st.tuples(st.integers(0, 80), st.integers(0, 30)), max_size=300), st.randoms(use_true_random=False))
def test_the_ids_last_seen_are_kept_whatever_the_order(seen: list[tuple[int, int]], random: Any) -> None:
    one: dict[str, int] = {}
    two: dict[str, int] = {}
    for number, at in seen:
        meet(one, str(number), at)
    random.shuffle(seen)
    for number, at in seen:
        meet(two, str(number), at)
    assert one == two
    assert len(one) <= MAX_IDS


def test_traits_have_an_end_in_number_and_size_and_the_order_does_not_show() -> None:
    many = [event("identify", f"m{n}", EPOCH + n, user_id="ann", traits={f"t{n % 300}": n, "email": "a"}) for n in range(400)]
    profile = folded(many)
    assert encode_profile(folded(many[::-1])) == encode_profile(profile)
    assert len(traits(profile)) == MAX_TRAITS
    assert "email" in traits(profile)
    large = folded([event("identify", "m", user_id="ann", traits={"bio": "x" * MAX_VALUE_BYTES, "y": 1})])
    assert traits(large) == {"y": b"1"}
    assert large.ignored == {"trait_too_large": 1}


def test_a_change_is_said_when_somebody_becomes_known_or_buys_and_not_else() -> None:
    view = [event("track", f"v{n}", EPOCH + n, anonymous_id="d") for n in range(3)]
    named = event("identify", "i", EPOCH + 4, anonymous_id="d", user_id="ann", traits={"city": "Oslo"})
    same = event("identify", "j", EPOCH + 5, anonymous_id="d", user_id="ann", traits={"city": "Oslo"})
    said = said_by_each([*view, named, same, order(9, revenue=5, currency="EUR")])
    assert [[change.version for change in each] for each in said] == [[1], [], [], [4], [], [6]]
    (last,) = said[-1]
    assert (last.orders, last.revenue, last.currency, last.user_id) == (1, "5.0000", "EUR", "ann")
    assert {name: bytes(value) for name, value in last.traits.items()} == {"city": b'"Oslo"'}


def test_nothing_is_said_while_a_blob_is_on_its_way_and_all_of_it_once_it_is_in() -> None:
    step = Step("folder", EVENT_RESOLVED, 0)
    step.held = True
    state = folded([order(1, revenue=5)], step)
    assert changes(step) == []
    step.held = False
    STAGE.settled(state, step)
    assert [change.orders for change in changes(step)] == [1]


def test_a_loser_says_into_whom_it_went() -> None:
    step = Step("folder", EVENT_RESOLVED, 0)
    state = folded([order(1, revenue=5)], step)
    (first,) = changes(step)
    STAGE.leave(state, "u:zoe", step)
    (last,) = changes(step)
    assert last.merged_into == "u:zoe"
    assert last.version > first.version


def test_of_what_one_batch_changes_of_a_profile_only_the_last_is_said_under_its_own_cause() -> None:
    step = Step("folder", EVENT_RESOLVED, 0)
    folded([event("identify", f"m{n}", EPOCH + n, user_id="ann", traits={"city": str(n)}) for n in range(50)], step)
    (last,) = step.published()
    assert dict(last.headers)["cause"] == f"folder|{EVENT_RESOLVED}|0|49|0".encode()
    assert (last.value or b"").count(b'"city":"49"') == 1
    assert step.size < 2 * len(last.value or b"") + 50 * 500  # what was replaced weighs nothing: only its second blob's members do


def test_a_trait_without_a_place_changes_nothing_and_one_that_takes_a_place_does() -> None:
    full = event("identify", "m0", EPOCH, user_id="ann", traits={f"t{n}": n for n in range(300)})
    kept = traits(folded([full]))
    lost = next(f"t{n}" for n in range(300) if f"t{n}" not in kept)
    again = [event("identify", f"m{n}", EPOCH + n, user_id="ann", traits={lost: f"other {n}"}) for n in (1, 2)]
    reserved = event("identify", "m3", EPOCH + 3, user_id="ann", traits={"firstName": "Ann"})
    assert [len(each) for each in said_by_each([full, *again, reserved, again[0]])] == [1, 0, 0, 1, 0]


@given(
    st.one_of(st.uuids().map(str), st.text(max_size=99), st.just("123E4567-E89B-12D3-A456-426614174000")),
    st.sampled_from(("track", "identify", "page", "screen", "group", "alias")),
    st.text(max_size=60),
    st.integers(0, 7),
    st.integers(-1, 2**62),
)
def test_a_recent_event_survives_its_packing(message_id: str, type_: str, name: str, partition: int, offset: int) -> None:
    found = decode_recent(encode_recent(message_id, type_, name, partition, offset))
    assert found == (message_id, type_, name[:32], partition, offset)


def test_a_usual_recent_event_fits_where_redis_packs_tight() -> None:
    assert len(encode_recent("123e4567-e89b-12d3-a456-426614174000", "track", "Product List Viewed", 7, 10**9)) <= 64


def test_recent_events_name_their_place_in_the_log_even_when_they_came_late() -> None:
    step = Step("folder", EVENT_RESOLVED, 3)
    step.origin = (EVENT_RESOLVED, 5, 77)
    folded([order(1, revenue=5)], step)
    ((score, member),) = step.sides[step.key]
    assert score == EPOCH
    assert decode_recent(member)[3:] == (5, 77)
