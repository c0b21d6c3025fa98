"""Every id of a history leads to its person: from the first event on, while merges are under way, and afterwards."""

from itertools import pairwise
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from services.profile.folder_stage import FolderStage
from services.profile.resolver_stage import ResolverStage
from services.query.adapters.people import MOST_IDS, People
from shared.contracts.digest import root
from shared.contracts.events import ReceivedEvent
from shared.contracts.ids import user
from shared.contracts.link_blob import decode_links
from shared.contracts.profile_blob import decode_profile
from shared.contracts.redis_keys import index_key, state_key
from shared.contracts.slots import slot
from shared.contracts.topics import EVENT_RECEIVED
from shared.runtime.absorbed import index_of
from shared.runtime.envelope import OTHERS, Entry, close_entry
from shared.testing.histories import encoded, event, histories, key_of, people_of, typed_ids
from shared.testing.scene import Scene, finished
from tests.api_stores import MemorySpace


def scene() -> Scene:
    return Scene(ResolverStage(), FolderStage())


def send(to: Scene, one: ReceivedEvent) -> None:
    to.log.append(EVENT_RECEIVED, key_of(one), encoded(one))


def looking_at(of: Scene) -> People:
    """The lookups of a query process that reads what the stages of `of` have stored until now."""
    space = MemorySpace()
    for stage in ("resolver", "folder"):
        space.strings |= {state_key(stage, key): raw for key, raw in of.redis.states(stage).items()}
    return People(space)


def found(people: People, typed: str) -> str | None:
    """The id of the profile that a lookup shows."""
    shown = finished(people.known_by(typed))
    return None if shown is None else shown[0].profile_id


def ids_of(events: list[ReceivedEvent]) -> set[str]:
    """The ids that events came with. What only an alias names as `previous_id` is somebody's once it has a forward."""
    return {typed for one in events for typed in typed_ids(msgspec.structs.replace(one, previous_id=None))}


@settings(max_examples=25, deadline=None)
@given(histories(people=2, most=5))
def test_after_each_event_every_id_that_came_leads_to_its_person(events: list[ReceivedEvent]) -> None:
    told = scene()
    for place, one in enumerate(events, 1):
        send(told, one)
        told.settle()
        people = looking_at(told)
        links = {key: decode_links(blob).forward for stage, key, blob, _ in told.stored() if stage == "resolver"}
        forwards = {key: forward for key, forward in links.items() if forward is not None}
        for typed in ids_of(events[:place]) | forwards.keys():
            assert found(people, typed) == root(typed, forwards), typed
    whose = people_of(events)
    counted = {whose(one): sum(whose(one) == whose(other) for other in events) for one in events}
    for one in events:
        for typed in ids_of([one]):
            held = finished(people.known_by(typed))
            assert held is not None
            assert held[1].events == counted[whose(one)]


@settings(max_examples=25, deadline=None)
@given(histories(people=2, most=5), st.integers(0, 2**32))
def test_who_was_found_once_is_found_at_every_moment_of_a_merge(events: list[ReceivedEvent], seed: int) -> None:
    told, random = scene(), Random(seed)
    once: set[str] = set()
    for one in events:
        send(told, one)
        for _ in range(random.randint(0, 4)):
            if pending := told.pending():
                told.work(random.choice(pending), random.randint(1, 3))
            people = looking_at(told)
            now = {typed for typed in ids_of(events) if found(people, typed) is not None}
            assert once <= now, "somebody who was known is known"
            once |= now
    told.settle(random)
    people = looking_at(told)
    assert all(found(people, typed) is not None for typed in ids_of(events))


def test_a_browser_that_logs_in_with_its_first_event_is_found_by_user_id() -> None:
    told = scene()
    send(told, event("track", "m1", anonymous_id="d", user_id="ada"))
    told.settle()
    people = looking_at(told)
    assert (found(people, user("ada")), found(people, "a:d"), found(people, user("bob"))) == ("u:ada", "u:ada", None)


def test_a_chain_of_a_thousand_aliases_is_one_person_by_each_of_its_ids() -> None:
    told = scene()
    names = [f"u{number:04}" for number in range(1000, -1, -1)]
    for number, (old, new) in enumerate(pairwise(names)):
        send(told, event("alias", f"m{number}", previous_id=old, user_id=new))
        told.settle()
    people = looking_at(told)
    for name in (names[0], names[500], names[-1]):
        held = finished(people.known_by(user(name)))
        assert held is not None
        assert (held[0].profile_id, held[1].events) == ("u:u0000", 1000)
        assert finished(people.profile(user(name))) is not None
        assert decode_profile(held[0].blob) == held[1]


async def test_the_ids_of_somebody_with_very_many_merges_come_from_the_index_too() -> None:
    space = MemorySpace()
    entry: Entry[bytes] = Entry()
    entry.absorbed = {OTHERS, "a:0"}
    space.strings[state_key("folder", "u:kiosk")] = close_entry(entry, b"blob")
    index = index_key("folder", slot("u:kiosk"), index_of("u:kiosk"))
    for number in range(1, 3000):
        space.add(index, 0.0, f"a:{number:04}".encode())
    ids = await People(space).ids_of("u:kiosk")
    assert ids[:2] == ["u:kiosk", "a:0"]
    assert len(ids) == len(set(ids)) == MOST_IDS
    assert "" not in ids
