"""Segments and their members: every member exactly once, whatever leaves between two pages."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from services.query.adapters import members
from services.query.adapters.members import Member
from services.query.app import build
from shared.contracts.definitions import SegmentState
from shared.contracts.membership_blob import members_index
from shared.contracts.redis_keys import index_key, meta_key
from shared.contracts.slots import slot
from shared.testing.installation import partitions
from tests.api_stores import READ, MemorySpace
from tests.query_fakes import SEGMENTS, World

PEOPLE = st.dictionaries(st.text("abcü:/", min_size=1, max_size=6), st.integers(0, 3), max_size=60)


@given(PEOPLE, st.integers(1, 7), st.sampled_from([3, 8, 24]))
async def test_pages_give_every_member_once_in_order(people: dict[str, int], limit: int, count: int) -> None:
    space = MemorySpace()
    found: list[Member] = []
    after = None
    with partitions(count):
        for name, since in people.items():
            space.member("s", name, since)
        assert await members.sizes(space, ["s", "none"]) == [len(people), 0]
        while page := await members.page(space, "s", after, limit):
            found += page
            after = page[-1]
    assert found == sorted(Member(since, name.encode()) for name, since in people.items())


@given(PEOPLE, st.data())
async def test_who_stays_is_not_missed_when_others_leave_between_pages(people: dict[str, int], data: st.DataObject) -> None:
    space = MemorySpace()
    for name, since in people.items():
        space.member("s", name, since)
    first = await members.page(space, "s", None, 5)
    leaving = data.draw(st.sets(st.sampled_from(sorted(people)))) if people else set()
    for name in leaving:
        space.remove(index_key("segmentation", slot(name), members_index("s")), name.encode())
    rest = await members.page(space, "s", first[-1], 1000) if first else []
    staying = sorted(Member(since, name.encode()) for name, since in people.items() if name not in leaving)
    assert rest == [one for one in staying if one > first[-1]] if first else True


async def test_a_cursor_leads_on_and_hides_who_was_last() -> None:
    world = World()
    for n in range(25):
        world.space.member("big_spenders", f"email:p{n:02}@x.org", 1_780_000_000_000)
    found, cursor, pages = [], None, 0
    while True:
        follow: dict[str, str] = {} if cursor is None else {"cursor": cursor}
        page = (await world.get("segments/big_spenders/members", limit=10, **follow)).json()
        found += [one["profile_id"] for one in page["data"]]
        cursor, pages = page["next_cursor"], pages + 1
        if cursor is None:
            break
        assert "@" not in cursor
    assert (sorted(found), pages) == ([f"email:p{n:02}@x.org" for n in range(25)], 3)


async def test_a_cursor_of_another_list_is_refused() -> None:
    world = World()
    for n in range(3):
        world.space.member("big_spenders", f"u:{n}", 5)
    cursor = (await world.get("segments/big_spenders/members", limit=1)).json()["next_cursor"]
    for path in ("segments/new_customer/members", "segments", "messages"):
        answer = await world.get(path, cursor=cursor)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")
    forged = ("A" if cursor[0] != "A" else "B") + cursor[1:]
    assert (await world.get("segments/big_spenders/members", cursor=forged)).status_code == 400


async def test_members_known_by_a_contact_point_only_are_masked() -> None:
    world = World()
    world.space.member("big_spenders", "email:ada@example.com", 5)
    answer = await world.get("segments/big_spenders/members", READ)
    assert answer.json()["data"][0]["profile_id"] == "email:a***@example.com"


async def test_segments_tell_size_and_state() -> None:
    world = World()
    for n in range(12):
        world.space.member("big_spenders", f"u:{n}", n)
    page = (await world.get("segments")).json()
    assert [(one["key"], one["size"], one["state"]) for one in page["data"]] == [("big_spenders", 12, "live"), ("new_customer", 0, "live")]
    filling, young = (replace(one, state=state) for one, state in zip(SEGMENTS, (SegmentState.FILLING, SegmentState.FROM_NOW), strict=True))
    world.app = build(replace(world.parts, segments=lambda: (filling, young)))
    assert [one["state"] for one in (await world.get("segments")).json()["data"]] == ["filling", "from_now"]
    world.app = build(world.parts)
    world.space.hash[meta_key("segmentation", 3)] = {"rb": "1"}
    one = (await world.get("segments/big_spenders")).json()
    assert (one["state"], one["meta"]["rebuilding"], one["rule"]) == ("rebuilding", True, {"count": 5})
    first = (await world.get("segments", limit=1)).json()
    assert [one["key"] for one in (await world.get("segments", cursor=first["next_cursor"])).json()["data"]] == ["new_customer"]
