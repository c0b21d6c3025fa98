"""Who is who, whatever the order: the resolver and the folder on the real slots, over fakes."""

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.profile.folder_stage import FolderStage
from services.profile.resolver_stage import ResolverStage
from shared.contracts.digest import root
from shared.contracts.events import ReceivedEvent
from shared.contracts.ids import user
from shared.contracts.link_blob import decode_links
from shared.contracts.profile_blob import Profile, decode_profile
from shared.contracts.slots import partition_count
from shared.contracts.topics import EVENT_RECEIVED, EVENT_RESOLVED
from shared.runtime import farther
from shared.testing.histories import alias_classes, encoded, histories, key_of, people_of, shared_calls
from shared.testing.scene import Scene


@pytest.fixture(scope="module", autouse=True, params=[farther.LONG, 0], ids=["", "blobs jump"])
def _long(request: pytest.FixtureRequest) -> Iterator[None]:
    """Chains of these tests are short: blobs jump in them only if they need not have come a long way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(farther, "LONG", request.param)
        yield


def scene() -> Scene:
    return Scene(ResolverStage(), FolderStage())


def send(to: Scene, event: ReceivedEvent) -> None:
    to.log.append(EVENT_RECEIVED, key_of(event), encoded(event))


def profiles(of: Scene) -> dict[str, Profile]:
    return {key: decode_profile(blob) for stage, key, blob, _ in of.stored() if stage == "folder" and blob}


def forwards(of: Scene) -> dict[str, str]:
    links = {key: decode_links(blob).forward for stage, key, blob, _ in of.stored() if stage == "resolver"}
    return {key: forward for key, forward in links.items() if forward is not None}


def told_in_order(events: list[ReceivedEvent]) -> Scene:
    told = scene()
    for event in events:
        send(told, event)
        told.settle()
    return told


def told_anyhow(events: list[ReceivedEvent], random: Random) -> Scene:
    """In another order, some twice, while slots work in between, die and are taken over."""
    told = scene()
    shuffled = events + random.choices(events, k=len(events) // 3)
    random.shuffle(shuffled)
    for event in shuffled:
        send(told, event)
        for _ in range(random.randint(0, 3)):
            if pending := told.pending():
                where, records = random.choice(pending), random.randint(1, 4)
                if random.random() < 0.1:
                    told.crash(where, records, random.randint(0, 2))
                else:
                    told.work(where, records)
        if random.random() < 0.05:
            told.restart()
    told.settle(random)
    return told


def check_nothing_lost(told: Scene, events: list[ReceivedEvent]) -> None:
    """Each event counts once in all, the profiles are the roots, and nobody waits for anything."""
    people = profiles(told)
    assert sum(profile.events for profile in people.values()) == len(events)
    assert all(sum(profile.counts.values()) == profile.events for profile in people.values())
    links, markers = forwards(told), told.markers("folder")
    assert all(root(key, links) == root(key, markers) for key in markers), "links and markers end at the same root"
    assert not people.keys() & markers.keys()
    assert told.waiting("folder") == []


@settings(max_examples=100, deadline=None)
@given(histories(), st.integers(0, 2**32))
def test_any_order_of_arrival_gives_one_digest(events: list[ReceivedEvent], seed: int) -> None:
    first, second = told_in_order(events), told_anyhow(events, Random(seed))
    assert first.lines() == second.lines()
    assert first.digest() == second.digest()
    check_nothing_lost(first, events)
    check_nothing_lost(second, events)


@settings(max_examples=60, deadline=None)
@given(histories(), st.integers(0, 2**32))
def test_what_stands_together_becomes_one_person_and_nothing_else_does(events: list[ReceivedEvent], seed: int) -> None:
    told = told_anyhow(events, Random(seed))
    person_of = people_of(events)
    counted: dict[str, int] = {}
    for event in events:
        counted[person_of(event)] = counted.get(person_of(event), 0) + 1
    assert sorted(profile.events for profile in profiles(told).values()) == sorted(counted.values())


@settings(max_examples=40, deadline=None)
@given(histories(), st.integers(0, 2**32))
def test_a_rebuild_from_an_empty_store_gives_the_same_state_and_does_not_double_the_log(events: list[ReceivedEvent], seed: int) -> None:
    told = told_anyhow(events, Random(seed))
    before = told.lines()
    log = {topic: len(told.log.records(topic)) for topic in (EVENT_RECEIVED, EVENT_RESOLVED)}
    told.redis.flush()
    told.restart()
    told.log.commits.clear()
    told.settle(Random(seed + 1))
    assert told.lines() == before
    assert {topic: len(told.log.records(topic)) for topic in log} == log


@settings(max_examples=40, deadline=None)
@given(histories(), st.integers(0, 2**32))
def test_a_store_rolled_back_at_any_time_ends_in_the_same_state(events: list[ReceivedEvent], seed: int) -> None:
    random = Random(seed)
    told = scene()
    backup = told.redis.snapshot()
    for event in random.sample(events, len(events)):
        send(told, event)
        for _ in range(random.randint(0, 4)):
            if pending := told.pending():
                told.work(random.choice(pending), random.randint(1, 4))
        if random.random() < 0.2:
            backup = told.redis.snapshot()
        if random.random() < 0.1:
            told.redis.restore(backup)
            told.restart()
            if random.random() < 0.5:
                told.log.commits.clear()  # Kafka's commits may lag behind by any number of records
    told.redis.restore(backup)
    told.restart()
    for partition in random.sample(range(partition_count()), partition_count()):
        told.take_over(partition)
    told.settle(random)
    assert told.lines() == told_in_order(events).lines()


shared_histories = st.integers(1, 25).flatmap(lambda count: st.tuples(*(shared_calls(f"m{n}") for n in range(count)))).map(list)


@settings(max_examples=100, deadline=None)
@given(shared_histories, st.integers(0, 2**32))
def test_where_devices_are_shared_no_event_of_a_user_lands_on_another(events: list[ReceivedEvent], seed: int) -> None:
    told = told_anyhow(events, Random(seed))
    check_nothing_lost(told, events)
    class_of = alias_classes(events)
    people, links = profiles(told), forwards(told)
    for profile in people.values():
        assert len({class_of(one) for one in profile.user_ids}) <= 1, "joined without an alias"
    for event in events:
        if event.user_id is not None:
            assert event.user_id in people[root(user(event.user_id), links)].user_ids
