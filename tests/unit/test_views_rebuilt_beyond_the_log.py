"""Live views rebuilt where the log has lost its beginning, over all stages on fakes: with the archive they are what they were."""

import asyncio
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.profile.folder_stage import FolderStage
from services.segmentation.stage import SeenEvent, SegmentationStage
from shared.contracts.changes import MESSAGE_REQUESTED_DECODER
from shared.contracts.digest import lines
from shared.contracts.events import ReceivedEvent
from shared.contracts.headers import CAUSE, header
from shared.contracts.membership_blob import Membership
from shared.contracts.rebuilds import Ordered
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import EVENT_RECEIVED, EVENT_RESOLVED, MESSAGE_REQUESTED, PROFILE_CHANGED, RECORD_FAILED, SEGMENT_CHANGED
from shared.rules.compiler import compiled
from shared.runtime import archived
from shared.runtime.observer import Observer
from shared.runtime.slot import Slot
from shared.runtime.stage import Step
from shared.testing.archive import FakeArchive
from shared.testing.fakes import Crash, FakeLog, FakeRedis
from shared.testing.histories import encoded, event, histories, key_of
from shared.testing.scene import Input, Scene
from tests.unit import test_views_rebuilt
from tests.unit.test_views_rebuilt import HOUR, SEGMENTS, destroy, lived, scene, written

STAGES = ("folder", "segmentation", "journeys")


def age(told: Scene, random: Random) -> None:
    """Retention takes what is old of every partition: about up to the same instant, as segments end where they do."""
    for data in told.redis.slots.values():  # a slot that has been idle for seconds keeps no outbox, and what is gone is days old
        data.outbox = b""
        if "kept" in data.fields:
            data.fields["kept"] = data.fields["kept"].rpartition("|")[0] + "|0"
    times = sorted({one.timestamp for records in told.log.partitions.values() for one in records})
    until = random.choice(times)
    for where, records in told.log.partitions.items():
        limit = until - random.choice((0, 0, random.randint(0, 3 * HOUR)))
        first = next((one.offset for one in records if one.timestamp >= limit), len(records))
        told.log.starts[where] = first


def indexed(told: Scene) -> dict[tuple[str, int, str], set[str]]:
    """Who is in each index. Since when is a matter of when a clock came, which an hour's lag of these fakes decides: not compared."""
    return {where: set(members) for where, members in test_views_rebuilt.indexed(told).items()}


def rebuilt(told: Scene, stage: str, random: Random, deaths: int = 0) -> None:
    """`deaths`: so often somebody dies in the middle of the archive."""
    assert told.archive is not None
    told.restart()
    for generation in range(1, deaths + 2):
        told.archive.page_limit = random.randint(0, 4) if generation <= deaths else None
        try:
            told.rebuild(stage, 1)
        except Crash:
            told.restart()
    told.settle(random)


def requested(told: Scene) -> set[str]:
    """Ids of all messages that were asked for: one that is asked for again under its id is not sent again."""
    return {MESSAGE_REQUESTED_DECODER.decode(one.value or b"").dispatch_id for one in told.log.records(MESSAGE_REQUESTED)}


@pytest.mark.parametrize("stage", STAGES)
@settings(max_examples=40, deadline=None)
@given(histories(), st.integers(0, 2**32))
def test_a_view_rebuilt_from_log_and_archive_is_what_it_was_and_says_nothing_again(
    stage: str, events: list[ReceivedEvent], seed: int
) -> None:
    """Nobody is forgotten here: ClickHouse has no row of an expiry, so who had expired is there until the next sweep."""
    random = Random(seed)
    told = lived(events, random, forgetful=False)
    told.archive = FakeArchive(told.log, random.randint(1, 5))
    before, records, members, markers, messages = told.lines(), written(told), indexed(told), told.markers(stage), requested(told)
    age(told, random)
    destroy(told, stage, random)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archived, "MARGIN_MS", random.choice((0, HOUR, 100 * HOUR)))
        rebuilt(told, stage, random, random.choice((0, 0, 2)))
    assert told.lines() == before
    assert indexed(told) == members
    assert told.markers(stage) == markers
    assert not told.waiting(stage)
    assert requested(told) == messages
    if stage != "journeys":  # a journey's clock may be late by what segmentation was; its ids are the same
        assert written(told) == records


def waited() -> Scene:
    """A device becomes u1's, whose slot waits for the blob when u1 orders: what the order decides is said when the blob is in.

    The last hours alone are in the log. What came of the device lies below a cut, the order above it.
    """
    told = scene()
    device = slot("a:d1")
    assert device != slot("u:u1")

    def said(one: ReceivedEvent, *, blob: bool = False) -> None:
        told.log.append(EVENT_RECEIVED, key_of(one), encoded(one))
        told.tick(told.log.now)
        while pending := [where for where in told.pending() if blob or (where.stage, where.partition) != ("segmentation", device)]:
            told.work(pending[0])
        told.log.now += 2 * HOUR
        told.tick(told.log.now)
        told.log.now += HOUR

    said(event("track", "m1", anonymous_id="d1"), blob=True)
    said(event("identify", "m2", anonymous_id="d1", user_id="u1"))
    until = told.log.now - HOUR
    said(event("track", "m3", user_id="u1"))
    said(event("track", "m4", user_id="u1", event="Order Completed", properties={"revenue": 5, "currency": "EUR"}))
    assert not told.log.records(SEGMENT_CHANGED), "it waits"
    told.settle()
    for _ in range(2):
        said(event("track", "m5", user_id="u1"), blob=True)
    for where, records in told.log.partitions.items():
        told.log.starts[where] = next((one.offset for one in records if one.timestamp >= until), len(records))
    told.archive = FakeArchive(told.log)
    return told


def test_what_was_said_when_a_blob_was_in_is_not_said_again_by_a_rebuild_that_has_the_blob_from_the_archive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archived, "MARGIN_MS", 0)
    told = waited()
    before, records, messages = told.lines(), written(told), requested(told)
    (entered,) = told.log.records(SEGMENT_CHANGED)
    assert b"membership.moved" in (header(entered.headers, CAUSE) or b"")
    assert messages
    told.stop("segmentation")
    told.rebuild("segmentation", 1)
    told.settle()
    assert "cut" in told.redis.slots["segmentation", slot("u:u1")].fields
    assert written(told) == records
    assert requested(told) == messages
    assert told.lines() == before


def test_what_had_not_been_acked_above_a_cut_is_said_by_the_heir_if_nobody_said_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archived, "MARGIN_MS", 0)
    told = waited()
    order = event("track", "m6", user_id="u2", event="Order Completed", properties={"revenue": 5, "currency": "EUR"})
    partition = slot("u:u2")
    told.log.append(EVENT_RECEIVED, key_of(order), encoded(order))
    while pending := [where for where in told.pending() if where.stage == "resolver"]:
        told.work(pending[0])
    told.tick(told.log.now)
    told.crash(Input("segmentation", EVENT_RESOLVED, partition), 100, 0)
    assert not told.log.partitions[SEGMENT_CHANGED, partition]
    del told.redis.slots["segmentation", partition]
    told.stop("segmentation")
    told.settle()
    assert "cut" in told.redis.slots["segmentation", partition].fields
    assert [one.key for one in told.log.partitions[SEGMENT_CHANGED, partition]] == [b"u:u2"]


class Stricter(SegmentationStage):
    """A release that cannot fold the order."""

    def fold(self, state: Membership, item: SeenEvent, step: Step) -> Membership:
        if item.message_id == "m4":
            raise ValueError("no orders")
        return super().fold(state, item, step)


def test_a_record_above_a_cut_that_a_newer_release_cannot_fold_is_a_dead_letter_though_it_had_been_acked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archived, "MARGIN_MS", 0)
    told = waited()
    told.redefine(Stricter(compiled(SEGMENTS, "UTC")))
    told.rebuild("segmentation", 1, slot("u:u1"))
    assert [one.key for one in told.log.records(RECORD_FAILED)] == [b"u:u1"]


def grown() -> Scene:
    """One person on two devices, whose first half has left the log."""
    told = scene()
    for number in range(20):
        one = event("track", f"m{number}", user_id="u1" if number % 3 else None, anonymous_id=f"d{number % 2}")
        told.log.append(EVENT_RECEIVED, key_of(one), encoded(one))
        told.log.now += HOUR
        told.tick(told.log.now)
        told.settle()
    until = told.log.now - 10 * HOUR
    for where, records in told.log.partitions.items():
        told.log.starts[where] = next((one.offset for one in records if one.timestamp >= until), len(records))
    told.archive = FakeArchive(told.log)
    told.restart()
    return told


def test_where_only_what_was_said_has_left_the_log_it_is_not_said_again() -> None:
    """The topics of a stage lose their segments at different times: the first profile.changed is gone, its cause is not."""
    told = grown()
    for where in told.log.partitions:
        told.log.starts[where] = 0
    told.log.starts[PROFILE_CHANGED, slot("u:u1")] = 1
    before, records = told.lines(), written(told)
    told.rebuild("folder", 1)
    told.settle()
    assert written(told) == records
    assert told.lines() == before


def test_without_an_archive_a_slot_keeps_what_the_log_has_lost_until_the_loss_is_accepted() -> None:
    """What follows the last order also shows that the claims above say something."""
    told = grown()
    before, told.archive = told.lines(), None
    told.rebuild("folder", 1)
    told.settle()
    assert told.lines() == before
    assert {data.fields["g"] for (stage, _), data in told.redis.slots.items() if stage == "folder" and data.states} == {"1"}
    told.rebuild("folder", 2, accept_loss=True)
    told.settle()
    assert told.lines() != before


def test_links_older_than_the_log_stay_and_the_order_is_carried_out() -> None:
    told = grown()
    records = told.log.partitions[EVENT_RECEIVED, slot("a:d0")]
    told.log.starts[EVENT_RECEIVED, slot("a:d0")] = len(records) - 1
    before = told.lines()
    told.rebuild("resolver", 1)
    told.settle()
    assert told.lines() == before
    assert told.redis.slots["resolver", slot("a:d0")].fields["g"] == "1"


def test_a_slot_says_how_many_rows_it_has_folded_while_it_does_and_counts_none_twice_however_often_it_dies() -> None:
    told = grown()
    assert told.archive is not None
    partition, seen = slot("u:u1"), []
    for _ in range(5):
        told.archive.page_limit = 1
        with pytest.raises(Crash):
            told.rebuild("folder", 1, partition)
        told.restart()
        seen.append(told.redis.slots["folder", partition].fields.get("ar", "0|0"))
    told.archive.page_limit = None
    told.rebuild("folder", 1, partition)
    folded, about = map(int, told.redis.slots["folder", partition].fields["ar"].split("|"))
    assert folded == about > 10
    assert [int(one.split("|")[0]) for one in seen] == [3, 6, 9, 12, 15]


def profiles(told: Scene) -> list[bytes]:
    return list(lines([one for one in told.stored() if one.stage == "folder"]))


def test_what_is_left_of_a_slot_is_forgotten_for_any_order_if_the_archive_has_it_and_links_for_one_that_accepts_loss() -> None:
    told = grown()
    before = profiles(told)
    folder, resolver = slot("u:u1"), slot("a:d0")
    told.log.starts[EVENT_RECEIVED, resolver] = len(told.log.partitions[EVENT_RECEIVED, resolver]) - 1
    for where in (("folder", folder), ("resolver", resolver)):
        told.redis.slots[where].fields.clear()
    for partition in (folder, resolver):
        with pytest.raises(RuntimeError, match="loop"):  # it waits for an order
            told.take_over(partition)
    links = dict(told.redis.slots["resolver", resolver].states)
    told.restart()
    told.ordered = Ordered(5)
    told.rebuild("folder", 5)
    assert told.redis.slots["folder", folder].fields["g"] == "5"
    assert profiles(told) == before
    with pytest.raises(RuntimeError, match="loop"):
        told.rebuild("resolver", 5)
    assert told.redis.slots["resolver", resolver].states == links
    told.restart()
    told.ordered = Ordered(6, 6)
    told.rebuild("resolver", 6, accept_loss=True)
    assert told.redis.slots["resolver", resolver].states != links


def test_a_store_that_was_emptied_has_its_history_back_without_an_order() -> None:
    told = grown()
    before = told.lines()
    for where in [where for where in told.redis.slots if where[0] == "folder"]:
        del told.redis.slots[where]
    for partition in range(partition_count()):
        told.take_over(partition)
    assert told.lines() == before


def test_while_the_archive_is_away_a_slot_waits_and_says_so_and_goes_on_when_it_is_back() -> None:
    told = grown()
    assert told.archive is not None
    before, told.archive.away = told.lines(), True
    partition = slot("u:u1")
    with pytest.raises(RuntimeError, match="loop"):  # it sleeps before it asks again
        told.rebuild("folder", 1, partition)
    assert not told.redis.slots["folder", partition].states, "a shorter history must not be folded meanwhile"
    told.restart()
    told.archive.away = False
    told.rebuild("folder", 1)
    told.settle()
    assert told.lines() == before


def test_what_is_waited_for_is_what_the_slot_says() -> None:
    log, archive = FakeLog(), FakeArchive(FakeLog())
    one = log.append(EVENT_RESOLVED, "u:1", b"{}")
    log.append(EVENT_RESOLVED, "u:1", b"{}")
    log.starts[EVENT_RESOLVED, one.partition] = 1
    archive.away = True

    async def wait() -> str | None:
        wanted = iter((True, True, False))
        waiting = Slot(
            FolderStage(),
            one.partition,
            FakeRedis().store("folder", one.partition),
            log,
            Observer(),
            group="g",
            archive=archive,
            wanted=lambda: next(wanted),
        )
        assert not await waiting.take_over()
        return waiting.waits_for

    assert asyncio.run(wait()) == "the fake archive is away"


def test_if_the_log_loses_more_meanwhile_the_slot_begins_again_and_lacks_nothing() -> None:
    told = grown()
    assert told.archive is not None
    before = told.lines()
    partition = slot("u:u1")
    told.archive.page_limit = 2
    with pytest.raises(Crash):
        told.rebuild("folder", 1)
    told.restart()
    told.archive.page_limit = None
    for where, records in told.log.partitions.items():
        if where[0] != EVENT_RECEIVED:
            told.log.starts[where] = max(0, len(records) - 2)
    assert told.redis.slots["folder", partition].states
    try:
        told.rebuild("folder", 1)
    except RuntimeError:  # it waits a moment before it begins again
        told.restart()
        told.rebuild("folder", 1)
    told.settle()
    assert told.lines() == before
