"""For whom the sweep asks, how fast, and when."""

from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.profile import sweep
from services.profile.folder_stage import FolderStage
from services.profile.resolver_stage import ResolverStage
from services.profile.sweep import ASKED_A_SECOND, EVERY_S, FIRST_S, PAUSE_S, Sweep
from shared.contracts.headers import KIND
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import DAY_MS, EVENT_RECEIVED, EVENT_RESOLVED
from shared.runtime.slot import Slot
from shared.testing.histories import encoded, event, key_of
from shared.testing.scene import Scene
from tests.unit.kept_fake import FakeKept

HOUR = 3_600_000
UNSEEN = 400 * DAY_MS
REFUSAL = {"consent": {"categoryPreferences": {"email": False}}}


class Stop(Exception):
    """The test has seen enough."""


class World(Scene):
    """Resolver and folder over fakes, and a sweep whose pauses are noted and take no time."""

    def __init__(self) -> None:
        super().__init__(ResolverStage(), FolderStage())
        self.kept = FakeKept(self.redis)
        self.pauses: list[float] = []
        self.owned = set(range(partition_count()))
        self.sent = 0
        self.sweep = Sweep(self.slots_of_ours, self.kept, self.log, UNSEEN, lambda: self.log.now, self.pause)

    def slots_of_ours(self) -> list[Slot[Any, Any]]:
        return [self._slot("resolver", p) for p in sorted(self.owned)]

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def send(self, ago: int = 0, **fields: Any) -> None:
        """An event that says it happened `ago` ms before now."""
        self.sent += 1
        at = self.log.now - ago
        one = event(fields.pop("type_", "track"), f"m{self.sent}", at, received_at=self.log.now, **fields)
        self.log.append(EVENT_RECEIVED, key_of(one), encoded(one))
        self.settle()

    def take_over_all(self) -> None:
        for partition in range(partition_count()):
            self.take_over(partition)

    def asked(self) -> list[str]:
        """In the order of topic and partition."""
        return sorted((one.key or b"").decode() for one in self.log.records(EVENT_RECEIVED) if dict(one.headers).get(KIND) == b"expired")

    def anonymous(self) -> list[str]:
        return sorted(key for key in self.redis.states("folder") if key.startswith("a:") and key not in self.markers("folder"))


@pytest.fixture
def world() -> World:
    made = World()
    made.take_over_all()
    return made


async def test_who_did_not_come_for_so_long_is_asked_for_and_forgotten(world: World) -> None:
    for n in range(20):
        world.send(anonymous_id=f"old{n}")
    world.log.now += UNSEEN - DAY_MS
    for n in range(20):
        world.send(anonymous_id=f"new{n}")
    world.log.now += DAY_MS + HOUR
    assert await world.sweep.sweep() == 20
    assert world.asked() == sorted(f"a:old{n}" for n in range(20))
    assert all(record.partition == slot((record.key or b"").decode()) for record in world.log.records(EVENT_RECEIVED))
    world.settle()
    assert world.anonymous() == sorted(f"a:new{n}" for n in range(20))
    assert not [key for key in world.redis.states("resolver") if key.startswith("a:old")]
    assert await world.sweep.sweep() == 0


async def test_nobody_is_asked_for_whom_anything_is_known_of(world: World) -> None:
    world.send(anonymous_id="user", user_id="ann")
    world.send(anonymous_id="claims", type_="identify", ids={"email": "x@example.com"})
    world.send(anonymous_id="foreign", ids={"badge": "7"})
    world.send(anonymous_id="refuses", context=REFUSAL)
    world.send(anonymous_id="nobody")
    world.log.now += 2 * UNSEEN
    assert await world.sweep.sweep() == 1
    assert world.asked() == ["a:nobody"]


async def test_a_refusal_is_remembered_until_it_is_known_whose_it_was(world: World) -> None:
    world.send(anonymous_id="1", context=REFUSAL)
    world.log.now += 2 * UNSEEN
    assert await world.sweep.sweep() == 0
    world.send(anonymous_id="1", user_id="ann")
    assert world.markers("folder") == {"a:1": "u:ann"}


async def test_what_was_imported_is_as_old_as_its_import(world: World) -> None:
    world.send(ago=3 * UNSEEN, anonymous_id="1")
    world.log.now += UNSEEN - HOUR
    assert await world.sweep.sweep() == 0
    world.log.now += 2 * HOUR
    assert await world.sweep.sweep() == 1


async def test_only_slots_that_are_ours_and_whole_are_looked_at(world: World) -> None:
    ids = [f"a:{n}" for n in range(60)]
    for one in ids:
        world.send(anonymous_id=one[2:])
    world.log.now += UNSEEN + HOUR
    world.owned = {1, 2, 3}
    world.redis.slots["folder", 2].fields["rb"] = "1"
    world.slots_of_ours()[2].meta.rebuilding = True
    await world.sweep.sweep()
    assert world.asked() == sorted(one for one in ids if slot(one) == 1)
    world.slots_of_ours()[0].release()
    assert await world.sweep.sweep() == 0


async def test_it_asks_for_no_more_in_a_second_than_it_may(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "PAUSE_S", 0.0)
    for n in range(150):
        world.send(anonymous_id=f"{n}")
    world.log.now += UNSEEN + HOUR
    assert await world.sweep.sweep() == 150
    assert sum(world.pauses) == pytest.approx(150 / ASKED_A_SECOND)
    assert max(world.pauses) <= 1


async def test_whom_the_resolver_knows_no_more_the_folder_is_told_of_again(world: World) -> None:
    world.send(anonymous_id="1")
    world.send(anonymous_id="new")
    for one in ("a:1", "a:new"):
        del world.redis.slots["resolver", slot(one)].states[one]
    world.restart()
    world.log.now += UNSEEN + HOUR
    world.send(anonymous_id="new")
    del world.redis.slots["resolver", slot("a:new")].states["a:new"]
    world.restart()
    world.take_over_all()
    assert await world.sweep.sweep() == 1
    world.settle()
    assert world.anonymous() == ["a:new"]


@pytest.mark.parametrize("stage", ["segmentation", "journeys"])
async def test_who_is_back_in_a_view_that_was_rebuilt_alone_is_forgotten_there_too(world: World, stage: str) -> None:
    """ClickHouse has no row of an expiry, so a view that is rebuilt of it knows those again whom all the others have forgotten."""
    world.send(anonymous_id="1")
    world.send(anonymous_id="new")
    states = {one: world.redis.slots["folder", slot(one)].states[one] for one in ("a:1", "a:new")}
    world.log.now += UNSEEN + HOUR
    world.send(anonymous_id="new")
    assert await world.sweep.sweep() == 1
    world.settle()
    for one, raw in states.items():
        world.redis.slots[stage, slot(one)].states[one] = raw
    assert await world.sweep.sweep() == 1
    assert world.asked() == ["a:1", "a:1"]
    world.settle()
    expired = [one.key for one in world.log.records(EVENT_RESOLVED) if dict(one.headers).get(KIND) == b"expired"]
    assert expired == [b"a:1", b"a:1"]


async def test_whom_resolver_and_folder_lack_since_redis_was_emptied_meanwhile_is_asked_for_by_nobody(world: World) -> None:
    world.send(anonymous_id="1")
    world.redis.slots["segmentation", slot("a:1")].states["a:1"] = b""
    load = world.kept.load

    async def emptied(stage: str, ids: Sequence[str]) -> list[bytes | None]:
        if stage == "folder":
            for of in ("resolver", "folder"):
                world.redis.slots[of, slot("a:1")].fields.clear()
        return await load(stage, ids) if stage not in ("resolver", "folder") else [None for _ in ids]

    world.kept.load = emptied  # type: ignore[method-assign]
    assert await world.sweep.sweep() == 0


async def test_a_state_that_cannot_be_read_is_left_alone(world: World) -> None:
    for one in ("1", "2", "3"):
        world.send(anonymous_id=one)
    world.log.now += UNSEEN + HOUR
    for stage, one in (("resolver", "a:1"), ("folder", "a:2")):
        states = world.redis.slots[stage, slot(one)].states
        states[one] = states[one][:9] + b"\xff\xff"
    assert await world.sweep.sweep() == 1
    assert world.asked() == ["a:3"]


async def test_it_begins_an_hour_after_the_start_and_goes_on_daily(world: World) -> None:
    world.send(anonymous_id="1")
    world.log.now += UNSEEN + HOUR
    rounds: list[float] = []

    async def pause(seconds: float) -> None:
        if seconds < FIRST_S:
            return
        rounds.append(seconds)
        world.kept.away = len(rounds) == 2
        if len(rounds) == 5:
            raise Stop

    timed = Sweep(world.slots_of_ours, world.kept, world.log, UNSEEN, lambda: world.log.now, pause)
    with capture_logs() as logs, pytest.raises(Stop):
        await timed.run()
    assert rounds == [FIRST_S, EVERY_S, FIRST_S, EVERY_S, EVERY_S]
    assert [log["log_level"] for log in logs if log["log_level"] in ("info", "warning")] == ["info", "warning", "info", "info"]
    assert logs[0]["asked"] == 1
    assert PAUSE_S < 1
