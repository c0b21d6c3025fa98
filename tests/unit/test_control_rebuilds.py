"""rebuilds: ordered, followed and cancelled over the API; a history that is not whole says so instead of giving short answers."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from services.control.domain.flushed import flushed
from services.control.domain.rebuilding import Progress, State, state
from shared.contracts.kept_rows import TABLES
from shared.contracts.rebuilds import LIFE_MS, REBUILD_DECODER, STAGES, RebuildChanged, View, holding
from shared.contracts.redis_keys import meta_key
from shared.contracts.slots import partition_count
from shared.contracts.topics import EVENT_RESOLVED, REBUILD_CHANGED
from shared.reading.away import HistoryLost
from shared.reading.keeping import Standing
from shared.reading.kept_history import KeptHistory
from shared.runtime.cut import Cut, encode_cut
from tests.api_stores import ADMIN, READ
from tests.control_fakes import World

NOW = 1_780_000_000_000


def orders(world: World) -> list[RebuildChanged]:
    return [REBUILD_DECODER.decode(one.value or b"") for one in world.log.appended if one.topic == REBUILD_CHANGED]


async def ordered(world: World, view: View) -> str:
    answer = await world.post("rebuilds", {"view": view.value}, key=ADMIN)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def test_an_order_needs_the_scope_admin_and_comes_once_however_often_it_is_sent() -> None:
    world = World()
    assert (await world.post("rebuilds", {"view": "profile"}, key=READ)).status_code == 403
    for _ in range(2):
        answer = await world.post("rebuilds", {"view": "profile"}, key=ADMIN, headers={"idempotency-key": "one"})
        assert (answer.status_code, answer.json()["state"]) == (201, "asked")
    assert [one.view for one in orders(world)] == [View.PROFILE]


async def test_the_progress_of_a_live_view_is_read_from_its_slots() -> None:
    world = World()
    made = await ordered(world, View.SEGMENTATION)
    generation = orders(world)[0].generation
    for p in range(partition_count()):
        for _ in range(10):
            world.log.put(EVENT_RESOLVED, p, b"", NOW)
        world.space.hash[meta_key("segmentation", p)] = {"seq": "4", "rb": "0"}
    last = partition_count() - 1
    for p in range(last):
        world.space.hash[meta_key("segmentation", p)] |= {"g": str(generation)}
    world.space.hash[meta_key("segmentation", 0)] |= {"rb": "1", f"f|{EVENT_RESOLVED}": "4"}
    found = (await world.get(f"rebuilds/{made}", key=ADMIN)).json()
    assert found["state"] == "running"
    assert (found["progress"]["begun"], found["progress"]["done"], found["progress"]["parts"]) == (last, last - 1, last + 1)
    assert (found["progress"]["records_read"], found["progress"]["records"]) == (4 + 10 * (last - 1), 10 * (last + 1))
    for p in range(last + 1):
        world.space.hash[meta_key("segmentation", p)] |= {"g": str(generation), "rb": "0"}
    assert (await world.get(f"rebuilds/{made}", key=ADMIN)).json()["state"] == "done"


async def test_rows_of_clickhouse_that_a_slot_is_folded_from_are_progress_too() -> None:
    world = World()
    made = await ordered(world, View.SEGMENTATION)
    generation = orders(world)[0].generation
    for _ in range(10):
        world.log.put(EVENT_RESOLVED, 0, b"", NOW)
    world.log.begins[EVENT_RESOLVED, 0] = 4
    cut = Cut(NOW, {EVENT_RESOLVED: [6] * partition_count()})
    meta = {"seq": "4", "g": str(generation), "rb": "1", f"f|{EVENT_RESOLVED}": "6", "cut": encode_cut(cut), "ar": "30|100"}

    async def come(**changed: str) -> tuple[int, int]:
        world.space.hash[meta_key("segmentation", 0)] = meta | changed
        told = (await world.get(f"rebuilds/{made}", key=ADMIN)).json()["progress"]
        return told["records_read"], told["records"]

    assert await come(ar="0|100") == (0, 106)
    assert await come() == (30, 106)
    assert await come(ar="130|100") == (100, 106), "who was merged may bring more than was expected"
    assert await come(cut=encode_cut(Cut(NOW, cut.at, done=True))) == (102, 106)
    assert await come(cut=encode_cut(Cut(NOW, cut.at, done=True)), rb="0") == (106, 106)


async def test_a_newer_order_has_a_greater_generation_and_a_cancelled_one_is_said_to_be() -> None:
    world = World()
    first, second = await ordered(world, View.PROFILE), await ordered(world, View.PROFILE)
    assert orders(world)[0].generation < orders(world)[1].generation
    assert (await world.get(f"rebuilds/{first}", key=ADMIN)).json()["state"] == "replaced"
    async with world.client(ADMIN) as client:
        assert (await client.delete(f"/api/v1/rebuilds/{second}")).json()["state"] == "cancelled"
    assert [one["id"] for one in (await world.get("rebuilds", key=ADMIN)).json()["data"]] == [second, first]


NONE_BEGUN, ONE_AT_WORK, ONE_DONE = Progress(2, 0, 0, 0, 9), Progress(2, 1, 0, 1, 9), Progress(2, 1, 1, 4, 9)


@pytest.mark.parametrize(
    ("come", "said"),
    [(None, State.ASKED), (NONE_BEGUN, State.EXPIRED), (ONE_AT_WORK, State.RUNNING), (ONE_DONE, State.EXPIRED)],
)
def test_an_order_whose_life_is_over_runs_until_what_had_begun_is_done_and_has_then_expired(come: Progress | None, said: State) -> None:
    order = RebuildChanged(id="1", view=View.PROFILE, generation=5, asked_at=NOW, asked_by="ops")
    assert state(order, [order], come, NOW + LIFE_MS) is said
    assert state(order, [order], come, NOW + LIFE_MS - 1) is (State.RUNNING if come and come.begun else State.ASKED)


@pytest.mark.parametrize(
    ("come", "said"),
    [(None, State.CANCELLED), (NONE_BEGUN, State.CANCELLED), (ONE_AT_WORK, State.RUNNING), (ONE_DONE, State.CANCELLED)],
)
def test_a_cancelled_order_runs_until_what_had_begun_is_done(come: Progress | None, said: State) -> None:
    order = RebuildChanged(id="1", view=View.PROFILE, generation=5, asked_at=NOW, asked_by="ops", cancelled_at=NOW)
    assert state(order, [order], come, NOW + 1) is said


async def test_what_the_log_no_longer_has_is_said_before_and_a_live_view_is_not_forgotten_unasked() -> None:
    world = World()
    world.log.begins[EVENT_RESOLVED, 0] = 7
    plan = (await world.get("rebuilds:plan", view="segmentation", key=ADMIN)).json()
    assert (plan["gone_records"], "would be lost" in plan["message"]) == (7, True)
    refused = await world.post("rebuilds", {"view": "segmentation"}, key=ADMIN)
    assert (refused.status_code, refused.json()["code"]) == (409, "would_lose")
    assert (await world.post("rebuilds", {"view": "segmentation", "accept_loss": True}, key=ADMIN)).status_code == 201
    assert (await world.post("rebuilds", {"view": "warehouse"}, key=ADMIN)).status_code == 201


def world_with_rows(view: View) -> World:
    """The log has lost 7 records; ClickHouse has them, and all workers know where it is."""
    world = World()
    world.log.begins[EVENT_RESOLVED, 0] = 7
    world.history.canned = {
        "progress": [{"topic": EVENT_RESOLVED, "partition": 0, "generation": 0, "next": 9, "target": 0, "gap": False}],
        "below": [{"rows": 5}],
    }
    for stage in STAGES[view]:
        for p in range(partition_count()):
            world.space.hash[meta_key(stage, p)] = {"seq": "4", "ah": "1"}
    return world


async def planned(world: World, view: View) -> dict[str, Any]:
    found: dict[str, Any] = (await world.get("rebuilds:plan", view=view.value, key=ADMIN)).json()
    return found


@pytest.mark.parametrize("view", [View.SEGMENTATION, View.MESSAGING])
async def test_what_clickhouse_has_is_no_loss_and_no_question(view: View) -> None:
    world = world_with_rows(view)
    plan = await planned(world, view)
    assert (plan["gone_records"], plan["loses"], "ClickHouse has 5 events" in plan["message"]) == (7, False, True)
    assert "lost" not in plan["message"]
    assert (await world.post("rebuilds", {"view": view.value}, key=ADMIN)).status_code == 201


def unknown_to_a_worker(world: World) -> None:
    world.space.hash[meta_key("segmentation", 3)] = {"seq": "4"}


def away(world: World) -> None:
    world.history.away = True


def dropped(world: World) -> None:
    world.history.kept = Standing(lost="rows of events were dropped")


def not_written(world: World) -> None:
    world.history.canned["progress"][0]["next"] = 6


def once_lost(world: World) -> None:
    world.history.canned["progress"][0]["gap"] = True


def being_loaded(world: World) -> None:
    world.history.canned["progress"][0]["target"] = 20


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (unknown_to_a_worker, "RAPPORT_CLICKHOUSE_URL"),
        (away, "does not answer"),
        (dropped, "were dropped"),
        (not_written, "has not all"),
        (once_lost, "once lost rows"),
        (being_loaded, "has not all"),
    ],
)
async def test_what_clickhouse_cannot_give_back_is_a_loss_and_the_reason_is_said(spoil: Callable[[World], None], words: str) -> None:
    world = world_with_rows(View.SEGMENTATION)
    spoil(world)
    plan = await planned(world, View.SEGMENTATION)
    assert (plan["loses"], words.lower() in plan["message"].lower(), "would be lost" in plan["message"]) == (True, True, True)
    refused = await world.post("rebuilds", {"view": "segmentation"}, key=ADMIN)
    assert (refused.status_code, refused.json()["code"]) == (409, "would_lose")


async def test_links_are_said_to_stay_unless_their_loss_is_accepted_and_the_order_says_which() -> None:
    world = world_with_rows(View.PROFILE)
    plan = await planned(world, View.PROFILE)
    assert (plan["loses"], "profiles are folded from them" in plan["message"], "stay as they are" in plan["message"]) == (False, True, True)
    for accept in (False, True):
        assert (await world.post("rebuilds", {"view": "profile", "accept_loss": accept}, key=ADMIN)).status_code == 201
    assert [one.accept_loss for one in orders(world)] == [False, True]


async def test_links_of_a_slot_that_lost_a_part_are_a_loss_that_is_said_and_not_ordered_unasked() -> None:
    world = world_with_rows(View.PROFILE)
    world.space.hash[meta_key("resolver", 2)] = {"token": "x", "hg": "0"}
    plan = await planned(world, View.PROFILE)
    assert (plan["loses"], "a part of them: 1." in plan["message"]) == (True, True)
    refused = await world.post("rebuilds", {"view": "profile"}, key=ADMIN)
    assert (refused.status_code, refused.json()["code"]) == (409, "would_lose")
    assert (await world.post("rebuilds", {"view": "profile", "accept_loss": True}, key=ADMIN)).status_code == 201


async def test_a_slot_that_lost_a_part_of_what_clickhouse_has_is_no_loss() -> None:
    world = world_with_rows(View.PROFILE)
    world.space.hash[meta_key("folder", 2)] = {"token": "x", "hg": "0"}
    assert not (await planned(world, View.PROFILE))["loses"]
    assert (await world.post("rebuilds", {"view": "profile"}, key=ADMIN)).status_code == 201


async def test_an_instant_to_begin_at_is_for_the_warehouse_alone() -> None:
    world = World()
    body = {"from": "2026-01-01T00:00:00Z"}
    assert (await world.post("rebuilds", {"view": "profile"} | body, key=ADMIN)).json()["field"] == "from"
    assert (await world.post("rebuilds", {"view": "warehouse"} | body, key=ADMIN)).json()["from"] == "2026-01-01T00:00:00.000Z"


@pytest.mark.parametrize("kept", [Standing(lost="rows of events were dropped"), Standing(left=5, all=9, gap=True)])
async def test_a_history_that_lacks_rows_is_named_by_readyz_and_status(kept: Standing) -> None:
    world = World()
    world.history.kept = kept
    async with world.client() as client:
        assert (await client.get("/readyz")).json()["parts"]["clickhouse"] == kept.hole
    told = (await world.get("system/status")).json()["warehouse"]
    assert (told["state"], told["detail"]) == ("lost" if kept.lost else "rebuilding", kept.hole)


def standing_history(world: World) -> dict[str, list[dict[str, object]]]:
    """What ClickHouse says of itself while it is whole."""
    world.history.canned = {
        "present": [{"name": name} for name in (*TABLES, "progress", "kept")],
        "progress": [{"topic": EVENT_RESOLVED, "partition": 0, "generation": 0, "next": 10, "target": 0, "gap": False}],
        "kept": [{"table": "events", "part": "202601", "first": 1, "since": 100}],
        "parts": [{"table": "events", "part": "202601", "first": 1}],
    }
    world.log.acked["rapport-warehouse", (EVENT_RESOLVED, 0)] = 10
    return world.history.canned


LOSSES: dict[str, dict[str, list[dict[str, object]]]] = {
    "lost tables: kept": {"present": [{"name": name} for name in (*TABLES, "progress")]},
    "were dropped": {"parts": []},
    "ends 7 records too early": {
        "progress": [{"topic": EVENT_RESOLVED, "partition": 0, "generation": 0, "next": 3, "target": 0, "gap": False}]
    },
    "loaded again: 4 of 9": {
        "progress": [{"topic": EVENT_RESOLVED, "partition": 0, "generation": 7, "next": 5, "target": 9, "gap": True}],
    },
}


@pytest.mark.parametrize("words", LOSSES)
async def test_what_has_lost_rows_is_not_asked_for_them(words: str) -> None:
    world, now = World(), [0.0]
    told = standing_history(world)
    kept = KeptHistory(world.history, world.log, "rapport", lambda: now[0])
    await kept.rows(flushed())
    told |= LOSSES[words]
    world.log.acked["rapport-warehouse", (EVENT_RESOLVED, 0)] = 5 if "again" in words else 10
    now[0] = 3600.0  # after a rest the first question is told, however long ago the history was whole
    with pytest.raises(HistoryLost, match=words):
        await kept.rows(flushed())


async def test_while_questions_come_none_waits_for_the_look_and_the_next_is_told() -> None:
    world, now = World(), [0.0]
    told = standing_history(world)
    kept = KeptHistory(world.history, world.log, "rapport", lambda: now[0])
    await kept.rows(flushed())
    told |= LOSSES["were dropped"]
    now[0] = 3.0
    await kept.rows(flushed())
    await asyncio.sleep(0)
    with pytest.raises(HistoryLost):
        await kept.rows(flushed())


async def test_a_delete_is_no_loss() -> None:
    world = World()
    told = standing_history(world)
    told |= LOSSES["were dropped"]
    told["deleted"] = [{"table": "events", "last": 200}]
    await KeptHistory(world.history, world.log, "rapport").rows(flushed())


def test_an_order_is_heeded_for_a_week_and_a_copy_put_back_later_is_left_alone() -> None:
    order = RebuildChanged(id="1", view=View.PROFILE, generation=5, asked_at=1_000, asked_by="ops")
    assert holding([order], View.PROFILE, 1_000 + LIFE_MS - 1) == order
    assert holding([order], View.PROFILE, 1_000 + LIFE_MS) is None
    assert holding([order], View.MESSAGING, 1_000) is None
