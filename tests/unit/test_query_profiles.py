"""Profiles and lookups: merges followed, half-merged people said so, personal fields masked."""

import httpx
import pytest
from structlog.testing import capture_logs

from services.query.adapters.people import IDS_BYTES, MOST_IDS
from shared.contracts.membership_blob import Membership, encode_membership
from shared.contracts.profile_blob import CONSENT, CONTACT, TRAIT, Money, Profile, Said, encode_recent
from shared.contracts.redis_keys import meta_key, side_key, state_key
from shared.contracts.slots import slot
from shared.contracts.versions import stamped
from shared.runtime.envelope import Entry, close_entry
from tests.api_stores import FULL, READ
from tests.query_fakes import World

AT = 1_780_000_000_000


def ada() -> Profile:
    facts = {
        TRAIT + "email": b'"ada@example.com"',
        TRAIT + "name": b'"Ada Lovelace"',
        TRAIT + "plan": b'"gold"',
        CONTACT + "email": b'"ada@example.com"',
        CONSENT + "email": b"true",
    }
    return Profile(
        events=3,
        first_seen=AT,
        last_seen=AT + 5,
        user_ids={"ada": AT},
        anonymous_ids={"d-1": AT},
        external_ids={"email:ada@example.com": AT},
        said=[Said(AT, "m1", "web", facts)],
        counts={"Order Completed": 2},
        money={"EUR": Money(orders=2, ordered=1_234_500, returned=4_500)},
    )


async def test_a_profile_is_shown_with_exact_money_and_utc_times() -> None:
    world = World()
    world.space.profile("u:ada", ada())
    answer = await world.get("profiles/u:ada")
    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["profile_id"], shown["user_id"], shown["events"]) == ("u:ada", "ada", 3)
    assert (shown["revenue"], shown["orders"], shown["currency"]) == ("123.0000", 2, "EUR")
    assert shown["first_seen"] == "2026-05-28T20:26:40.000Z"
    assert shown["traits"]["email"] == {"value": "ada@example.com", "at": "2026-05-28T20:26:40.000Z", "source_id": "web"}
    assert shown["consents"]["email"]["granted"] is True
    assert shown["meta"] == {"rebuilding": False, "merging": False}


async def test_a_profile_that_a_newer_release_wrote_is_a_503_that_says_so() -> None:
    world = World()
    world.space.profile("u:ada", ada())
    world.space.strings[state_key("folder", "u:ada")] = close_entry(Entry[bytes](), stamped(b"\x9d", 2))
    answer = await world.get("profiles/u:ada")
    assert (answer.status_code, answer.json()["code"]) == (503, "live_unavailable")
    assert "written by a newer release than this process" in answer.json()["message"]


async def test_personal_fields_are_masked_without_the_scope() -> None:
    world = World()
    world.space.profile("u:ada", ada())
    answer = await world.get("profiles/u:ada", READ)
    assert "ada@example.com" not in answer.text
    assert "Lovelace" not in answer.text
    shown = answer.json()
    assert shown["traits"]["plan"]["value"] == "gold"
    assert shown["traits"]["email"]["value"] == "a***@example.com"
    assert shown["external_ids"][0]["value"] == "a***@example.com"


async def test_a_chain_of_markers_is_followed_to_the_winner() -> None:
    world = World()
    world.space.marker("folder", "a:1", "email:x@y.z")
    world.space.marker("folder", "email:x@y.z", "u:ada")
    world.space.profile("u:ada", ada(), awaiting={"a:1"})
    shown = (await world.get("profiles/a:1")).json()
    assert shown["profile_id"] == "u:ada"
    assert shown["meta"]["merging"] is True


async def test_history_is_asked_by_the_ids_of_the_person_and_by_no_more_than_a_question_may_hold() -> None:
    world = World()
    world.space.marker("folder", "a:1", "u:ada")
    world.space.profile("u:ada", ada(), absorbed={"a:1", "a:2", "!a:3"})  # a:3's merge could not be carried out
    for path in ("events", "messages"):
        assert (await world.get(f"profiles/a:1/{path}")).status_code == 200
        assert world.history.asked[-1].parameters["ids"] == ["u:ada", "a:1", "a:2"]
    for kiosk, size in (({f"a:{n}" for n in range(3000)}, MOST_IDS), ({"a:" + f"{n:04}" * 200 for n in range(900)}, IDS_BYTES // 802 + 1)):
        world.space.profile("u:ada", ada(), absorbed=kiosk)
        await world.get("profiles/u:ada/events")
        ids = world.history.asked[-1].parameters["ids"]
        assert (ids[0], len(ids)) == ("u:ada", size), "the others are found in ClickHouse"
    await world.get("profiles/u:nobody/events")
    assert world.history.asked[-1].parameters["ids"] == ["u:nobody"]


async def test_a_ring_of_markers_ends_in_an_error_that_is_logged_once_and_not_in_a_loop() -> None:
    world = World()
    world.space.marker("folder", "a:1", "a:2")
    world.space.marker("folder", "a:2", "a:1")
    asgi = httpx.ASGITransport(app=world.app, raise_app_exceptions=True)  # what leaves the application the server logs once more
    with capture_logs() as logged:
        async with httpx.AsyncClient(transport=asgi, base_url="http://query") as client:
            answer = await client.get("/api/v1/profiles/a:1", headers={"authorization": f"Bearer {FULL}"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert [(one["event"], one["log_level"]) for one in logged] == [("internal_error", "error")]


async def test_each_kind_of_id_leads_to_the_profile() -> None:
    world = World()
    world.space.profile("u:ada", ada())
    for typed in ("a:d-1", "email:ada@example.com", "phone:+447700900123", "wecom:wx_1"):
        world.space.link(typed, "u:ada")
    world.space.link("u:ada")
    asked: list[dict[str, str]] = [
        {"user_id": "ada"},
        {"anonymous_id": "d-1"},
        {"email": " ADA@Example.com"},
        {"phone": "+44 7700 900123"},
        {"external_id": "wecom:wx_1"},
    ]
    for query in asked:
        answer = await world.get("profiles:lookup", **query)
        assert (answer.status_code, answer.json()["profile_id"]) == (200, "u:ada"), query


@pytest.mark.parametrize("known_as", ["a:d-1", "email:ada@example.com", "wecom:wx_1"])
async def test_a_path_finds_the_person_by_whatever_only_their_links_know_them_by(known_as: str) -> None:
    world = World()
    world.space.profile("u:ada", ada())
    world.space.link(known_as, "u:ada")
    world.space.state("segmentation", "u:ada", encode_membership(Membership(version=1, members={"big_spenders": AT})))
    world.space.add(side_key("folder", "u:ada"), AT, encode_recent("m1", "track", "Order Completed", 2, 100))
    path = f"profiles/{known_as}"
    assert (await world.get(path)).json()["profile_id"] == "u:ada"
    segments = (await world.get(f"{path}/segments")).json()
    assert (segments["profile_id"], [one["segment"] for one in segments["data"]]) == ("u:ada", ["big_spenders"])
    assert len((await world.get(f"{path}/events:recent")).json()["data"]) == 1
    for history in ("events", "messages"):
        assert (await world.get(f"{path}/{history}")).status_code == 200
        assert "u:ada" in dict(world.history.asked[-1].parameters)["ids"]


@pytest.mark.parametrize("path", ["profiles/a:nobody", "profiles/a:nobody/segments", "profiles/a:nobody/events:recent"])
async def test_a_path_of_an_id_that_is_nobodys_is_not_found(path: str) -> None:
    world = World()
    world.space.link("a:nobody")
    assert (await world.get(path)).status_code == 404


async def test_links_of_links_are_followed() -> None:
    world = World()
    world.space.profile("u:ada", ada())
    world.space.link("a:1", "email:x@y.z")
    world.space.link("email:x@y.z", "u:ada")
    assert (await world.get("profiles:lookup", anonymous_id="1")).json()["profile_id"] == "u:ada"


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({}, 400, "invalid_id"),
        ({"user_id": "a", "email": "a@b.c"}, 400, "invalid_id"),
        ({"user_id": "undefined"}, 400, "invalid_id"),
        ({"email": "nobody"}, 400, "invalid_id"),
        ({"external_id": "plain"}, 400, "invalid_id"),
        ({"user_id": "stranger"}, 404, "unknown_profile"),
        ({"username": "ada"}, 400, "invalid_request"),
    ],
)
async def test_a_lookup_says_what_is_wrong_with_it(query: dict[str, str], status: int, code: str) -> None:
    answer = await World().get("profiles:lookup", **query)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_an_id_that_only_has_claims_and_no_events_is_nobody() -> None:
    world = World()
    world.space.link("email:x@y.z", None, had=False)
    assert (await world.get("profiles:lookup", email="x@y.z")).status_code == 404


async def test_ids_with_slashes_and_percents_reach_the_profile_they_name() -> None:
    world = World()
    for user, path in (("a/b/events", "a%2Fb%2Fevents"), ("50%", "50%25"), ("x%2Fy", "x%252Fy"), ("重要 é", "%E9%87%8D%E8%A6%81%20%C3%A9")):
        world.space.profile(f"u:{user}", ada())
        answer = await world.get(f"profiles/u:{path}")
        assert (answer.status_code, answer.json().get("profile_id")) == (200, f"u:{user}")
        assert (await world.get(f"profiles/u:{path}/events:recent")).status_code == 200


async def test_segments_follow_the_markers_of_their_own_stage() -> None:
    world = World()
    world.space.profile("u:ada", ada())
    world.space.marker("segmentation", "a:1", "u:ada")
    world.space.state("segmentation", "u:ada", encode_membership(Membership(1, members={"big": AT}, left={"new": AT, "big": 1})), {"a:1"})
    shown = (await world.get("profiles/a:1/segments")).json()
    assert shown["profile_id"] == "u:ada"
    assert shown["data"] == [{"segment": "big", "since": "2026-05-28T20:26:40.000Z"}]
    assert [one["segment"] for one in shown["left"]] == ["new"]
    assert shown["meta"] == {"rebuilding": False, "merging": True}


async def test_somebody_whom_no_rule_has_touched_is_in_no_segment() -> None:
    world = World()
    world.space.profile("u:ada", ada())
    assert (await world.get("profiles/u:ada/segments")).json()["data"] == []
    assert (await world.get("profiles/u:nobody/segments")).status_code == 404


async def test_recent_events_come_newest_first() -> None:
    world = World()
    world.space.profile("u:ada", ada())
    for n in range(3):
        world.space.add(side_key("folder", "u:ada"), AT + n, encode_recent(f"m{n}", "track", "Product Viewed", 2, 100 + n))
    shown = (await world.get("profiles/u:ada/events:recent")).json()["data"]
    assert [one["message_id"] for one in shown] == ["m2", "m1", "m0"]
    assert (shown[0]["partition"], shown[0]["offset"], shown[0]["type"]) == (2, 102, "track")


async def test_a_rebuilding_slot_is_said() -> None:
    world = World()
    world.space.profile("u:ada", ada())
    world.space.hash[meta_key("folder", slot("u:ada"))] = {"rb": "1"}
    assert (await world.get("profiles/u:ada")).json()["meta"]["rebuilding"] is True


async def test_without_redis_the_answer_is_503_with_a_time_to_come_back() -> None:
    world = World()
    world.space.away = True
    answer = await world.get("profiles/u:ada")
    assert (answer.status_code, answer.json()["code"]) == (503, "live_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["content-type"] == "application/problem+json"
