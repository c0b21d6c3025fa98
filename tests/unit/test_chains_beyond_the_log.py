"""Chains of merges on their way while slots lose their store and the log has lost its beginning: nobody is lost between log and archive."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.profile.folder_stage import FolderStage
from services.profile.resolver_stage import ResolverStage
from shared.contracts.events import ReceivedEvent
from shared.contracts.headers import VIA, header
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import EVENT_RECEIVED, PROFILE_MOVED
from shared.runtime import archived, farther
from shared.testing.archive import FakeArchive
from shared.testing.histories import encoded, event, key_of
from shared.testing.scene import Input, Scene

HOUR = archived.HOUR_MS
KEPT_HOURS = 72


def said(told: Scene, *events: ReceivedEvent) -> list[ReceivedEvent]:
    for one in events:
        told.log.append(EVENT_RECEIVED, key_of(one), encoded(one))
    return list(events)


def everybody(number: int) -> list[ReceivedEvent]:
    """One event of somebody in each slot."""
    people = {slot(f"u:p{n}"): f"p{n}" for n in range(200)}
    return [event("track", f"e{number}-{one}", user_id=one) for one in people.values()]


def read_of(told: Scene, stage: str) -> None:
    """One stage reads all that it has."""
    while pending := [where for where in told.pending() if where.stage == stage]:
        told.work(pending[0])


def old_installation(random: Random) -> tuple[Scene, list[ReceivedEvent]]:
    """Five days of everybody's events, hour after hour, the first two of which the log has lost."""
    told = Scene(ResolverStage(), FolderStage())
    sent: list[ReceivedEvent] = []
    for number in range(15):
        sent += said(told, *everybody(number))
        told.tick(told.log.now)
        told.settle(random)
        told.log.now += 8 * HOUR
    return told, sent


def shortened(told: Scene) -> None:
    """Retention takes what is older than three days."""
    for where, records in told.log.partitions.items():
        if where[0] != EVENT_RECEIVED:
            kept = (one.offset for one in records if one.timestamp >= told.log.now - KEPT_HOURS * HOUR)
            told.log.starts[where] = next(kept, len(records))
    told.archive = FakeArchive(told.log, 50)


def emptied(told: Scene, slots: list[int]) -> None:
    """These slots of the folder lose their store, and die."""
    for partition in slots:
        told.redis.slots.pop(("folder", partition), None)
    told.stop("folder")


def drawn(told: Scene) -> int:
    """How many slots fold from the archive."""
    return sum("cut" in data.fields for data in told.redis.slots.values())


def told_in_order(events: list[ReceivedEvent]) -> Scene:
    told = Scene(ResolverStage(), FolderStage())
    for one in events:
        said(told, one)
        told.settle()
    return told


def caught_on_its_way(seed: int) -> tuple[Scene, list[ReceivedEvent]]:
    """Blobs of a chain jump, somebody dies in the middle of what it says, and its store is lost before an heir could say the rest."""
    random = Random(seed)
    told, sent = old_installation(random)
    names = [f"z{n}" for n in range(random.randint(5, 14))]
    aliases = [event("alias", f"a{one}", user_id=one, previous_id=two) for one, two in pairwise(names)]
    random.shuffle(aliases)
    for one in [*(event("track", f"t{name}", user_id=name) for name in names), *aliases]:
        sent += said(told, one)
        told.log.now += random.choice((1, 60_000))
    read_of(told, "resolver")
    for work in range(random.randint(0, 150)):
        if pending := told.pending():
            if work % 40 == 39:
                told.crash(random.choice(pending), 6, random.randint(0, 4))
            else:
                told.work(random.choice(pending), random.randint(1, 6))
    if pending := told.pending():
        told.crash(random.choice(pending), 6, random.randint(0, 4))
    shortened(told)
    emptied(told, random.sample(range(partition_count()), random.randint(1, partition_count())))
    for partition in range(partition_count()):
        told.take_over(partition)
    told.settle(random)
    return told, sent


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_slots_emptied_while_a_chain_is_on_its_way_lose_nobody(seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(farther, "LONG", 0)
        told, sent = caught_on_its_way(seed)
    assert drawn(told) > 0
    assert told.waiting("folder") == []
    assert told.lines() == told_in_order(sent).lines()


def test_in_those_chains_markers_are_told_where_they_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farther, "LONG", 0)
    told, _ = caught_on_its_way(3)
    assert sum(header(one.headers, VIA) is not None for one in told.log.records(PROFILE_MOVED)) > 5
    assert any("farther" in name for data in told.redis.slots.values() for name in data.indexes)


def test_a_cut_lies_below_all_that_the_slot_has_still_to_read() -> None:
    """A blob has waited for three hours to be passed on when the slot of the marker loses its store; its winner's slot does not."""
    told, sent = old_installation(Random(1))
    one, two, three = (next(f"x{n}" for n in range(1_000) if slot(f"u:x{n}") == partition) for partition in range(3))
    one, two, three = sorted((one, two, three))
    sent += said(told, *(event("track", f"t{name}", user_id=name) for name in (one, two, three)))
    told.settle()
    sent += said(told, event("alias", "a2", user_id=one, previous_id=two), event("alias", "a3", user_id=two, previous_id=three))
    read_of(told, "resolver")
    moved = Input("folder", PROFILE_MOVED, slot(f"u:{two}"))
    for hour in range(4):
        while pending := [where for where in told.pending() if where != moved]:
            told.work(pending[0])
        told.log.now += HOUR
        told.tick(told.log.now)
        sent += said(told, *everybody(100 + hour))
    assert moved in told.pending()
    shortened(told)
    emptied(told, [slot(f"u:{two}")])
    told.settle()
    assert drawn(told) == 1
    assert told.lines() == told_in_order(sent).lines()
