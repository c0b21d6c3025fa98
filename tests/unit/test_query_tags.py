"""The tags of a person over HTTP: those that hold, by name, after merges, and masked where a key may not see words about people."""

from shared.contracts.membership_blob import Membership, encode_membership
from shared.contracts.profile_blob import Profile
from shared.contracts.tag_blob import TAGS, TagFact, encode_tags
from tests.api_stores import READ
from tests.query_fakes import World

AT = 1_780_000_000_000


def tagged(world: World, **tags: TagFact) -> None:
    world.now_ms = AT + 1000
    world.space.state("segmentation", "u:ada", encode_membership(Membership(version=1, kept={TAGS: encode_tags(tags)})))


def given(until: int = 0) -> TagFact:
    return TagFact(AT, "m", "crm", True, reason="won at the fair", by="tim@desk", until=until)


async def test_tags_that_hold_are_listed_by_name_with_who_gave_them_and_why() -> None:
    world = World()
    tagged(world, vip=given(), fair=given(until=AT + 1001))
    answer = (await world.get("profiles/u:ada/tags")).json()
    since = "2026-05-28T20:26:40.000Z"
    same = {"since": since, "reason": "won at the fair", "by": "tim@desk", "source": "crm"}
    assert answer["data"] == [{"tag": "fair", "until": "2026-05-28T20:26:41.001Z", **same}, {"tag": "vip", "until": None, **same}]
    assert answer["meta"] == {"rebuilding": False, "merging": False}


async def test_removed_tags_and_those_that_have_ended_are_not_listed() -> None:
    world = World()
    tagged(world, gone=TagFact(AT, "m", "crm", False), ended=given(until=AT + 1000), vip=given())
    assert [one["tag"] for one in (await world.get("profiles/u:ada/tags")).json()["data"]] == ["vip"]


async def test_whatever_a_person_was_known_by_leads_to_their_tags() -> None:
    world = World()
    tagged(world, vip=given())
    world.space.profile("u:ada", Profile(events=1, first_seen=AT, last_seen=AT))
    world.space.marker("segmentation", "a:1", "u:ada")
    world.space.link("email:ada@example.com", "u:ada")
    for known_as in ("a:1", "email:ada@example.com"):
        answer = (await world.get(f"profiles/{known_as}/tags")).json()
        assert (answer["profile_id"], [one["tag"] for one in answer["data"]]) == ("u:ada", ["vip"])


async def test_somebody_without_tags_has_none_and_nobody_is_not_found() -> None:
    world = World()
    world.space.profile("u:ada", Profile(events=1, first_seen=AT, last_seen=AT))
    assert (await world.get("profiles/u:ada/tags")).json()["data"] == []
    answer = await world.get("profiles/u:nobody/tags")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_profile")


async def test_reason_and_giver_are_masked_without_the_scope_personal() -> None:
    world = World()
    tagged(world, vip=given())
    (shown,) = (await world.get("profiles/u:ada/tags", READ)).json()["data"]
    assert (shown["tag"], shown["reason"], shown["by"], shown["source"]) == ("vip", "w***r", "t***@desk", "crm")
