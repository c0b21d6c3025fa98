"""The slot on fakes: what happens to a chunk, whatever goes wrong in between. The same claims on real servers: tests/integration."""

import asyncio

import pytest

from shared.contracts.failed import FAILED_DECODER, FailureReason
from shared.contracts.headers import Position
from shared.contracts.slots import PARTITIONS, slot
from shared.contracts.topics import RECORD_FAILED
from shared.runtime.envelope import peek
from shared.testing.counting import IN, MOVED, REPLAYED, Counting
from shared.testing.fakes import Crash
from tests.unit.counting_world import World


async def test_each_record_is_applied_and_published_once() -> None:
    world = World()
    for n in range(20):
        world.put(f"u:{n % 5}", add=n)
    await world.run()
    assert sum(world.tally(f"u:{n}").total for n in range(5)) == sum(range(20))
    assert len(world.out()) == 20


async def test_replaying_a_chunk_changes_nothing() -> None:
    world = World()
    world.put("u:1", add=1)
    await world.run()
    before, commits = world.redis.snapshot(), world.redis.commits
    world.log.commits.clear()
    world.crash()
    await world.run()
    assert world.tally("u:1").count == 1
    assert len(world.out()) == 1
    assert world.redis.commits > commits
    assert before["folder", slot("u:1")].states == world.redis.slots["folder", slot("u:1")].states


async def test_a_crash_in_the_middle_of_a_publication_is_made_good_by_the_next_owner() -> None:
    for survive in range(6):
        world = World()
        for n in range(6):
            world.put("u:1", add=n)
        world.log.publish_limit = survive
        with pytest.raises(Crash):
            await world.run()
        world.crash()
        world.log.publish_limit = None
        await world.run()
        assert world.tally("u:1").count == 6
        assert len(world.out()) == 6, survive


async def test_outputs_that_pass_the_input_on_survive_a_crash() -> None:
    world = World(Counting(pass_on=True))
    for n in range(6):
        world.put("u:1", add=n)
    world.log.publish_limit = 2
    with pytest.raises(Crash):
        await world.run()
    world.crash()
    world.log.publish_limit = None
    await world.run()
    assert [value for _, value in world.out()] == [record.value for record in world.log.records(IN)]


async def test_a_lost_reply_of_a_commit_is_not_applied_twice() -> None:
    world = World()
    world.put("u:1", add=1)
    partition = slot("u:1")
    world.slot(partition)
    await world.slot(partition).take_over()
    world.slot(partition).store.lose_reply = True  # type: ignore[attr-defined]
    await world.run()
    assert world.tally("u:1").count == 1
    assert len(world.out()) == 1


async def test_a_zombie_is_refused() -> None:
    world = World()
    world.put("u:1", add=1)
    await world.run()
    partition = slot("u:1")
    zombie = world.slot(partition)
    zombie.wanted = lambda: False
    world.crash()
    world.put("u:1", add=1)
    await world.run()
    records = world.log.partitions[IN, partition]
    assert await zombie.process(IN, records[-1:]) is False
    assert world.tally("u:1").count == 2
    assert len(world.out()) == 2


async def test_a_gap_is_read_and_applied_in_order() -> None:
    world = World()
    for n in range(10):
        world.put("u:1", add=n)
    partition = slot("u:1")
    records = world.log.partitions[IN, partition]
    assert await world.slot(partition).process(IN, records[7:])
    assert world.tally("u:1").count == 10
    assert [value for _, value in world.out()] == [str(sum(range(n + 1))).encode() for n in range(10)]


async def test_an_emptied_store_is_rebuilt_from_the_log_and_the_log_is_not_doubled() -> None:
    world = World()
    for n in range(30):
        world.put(f"u:{n % 7}", add=n)
    await world.run()
    before = world.redis.states("folder")
    world.redis.flush()
    world.put("u:1", add=1000)  # a live worker finds out at its next commit
    await world.run()
    after = world.redis.states("folder")
    assert world.tally("u:1").total == sum(n for n in range(30) if n % 7 == 1) + 1000
    assert len(world.out()) == 31
    world.crash()
    await asyncio.gather(*(world.slot(partition).take_over() for partition in range(PARTITIONS)))
    after = world.redis.states("folder")
    assert {key: blob for key, blob in after.items() if key != "u:1"} == {key: blob for key, blob in before.items() if key != "u:1"}
    assert len(world.out()) == 31


async def test_a_store_rolled_back_under_a_live_worker_is_noticed_and_refolded() -> None:
    world = World()
    world.put("u:1", add=1)
    await world.run()
    snapshot = world.redis.snapshot()
    for n in range(5):
        world.put("u:1", add=n)
    await world.run()
    world.redis.restore(snapshot)
    world.put("u:1", add=7)
    await world.run()
    assert (world.tally("u:1").count, world.tally("u:1").total) == (7, 1 + 10 + 7)
    assert len(world.out()) == 7


async def test_a_failing_record_is_dead_lettered_and_the_rest_goes_on() -> None:
    world = World(Counting(broken=True))
    for n in range(50):
        world.put("u:1", add=1, boom=n % 10 == 3)
    world.log.append(IN, "u:1", b"\xff not json")
    await world.run()
    assert world.tally("u:1").count == 45
    letters = [FAILED_DECODER.decode(record.value or b"") for record in world.log.records(RECORD_FAILED)]
    assert [letter.reason for letter in letters] == [FailureReason.HANDLER_FAILED] * 5 + [FailureReason.UNDECODABLE]
    assert letters[-1].value == b"\xff not json"
    assert "RuntimeError: boom" in letters[0].detail


async def test_a_replayed_dead_letter_is_applied_once() -> None:
    world = World(Counting(broken=True))
    world.put("u:1", add=5, boom=True)
    await world.run()
    (letter,) = world.log.records(RECORD_FAILED)
    failed = FAILED_DECODER.decode(letter.value or b"")
    world.stage.broken = False
    origin = Position(failed.topic, failed.partition, failed.offset).encode()
    for _ in range(3):
        headers = [("replay_of", f"{letter.partition}:{letter.offset}".encode()), ("origin", origin)]
        world.log.append(REPLAYED, "u:1", failed.value, headers)
    await world.run()
    assert (world.tally("u:1").count, world.tally("u:1").total) == (1, 5)


async def test_a_record_that_changes_nothing_stores_nothing() -> None:
    world = World()
    world.put("u:1", add=0, nothing=True)
    await world.run()
    assert world.redis.states("folder") == {}
    assert world.redis.slots["folder", slot("u:1")].fields[f"f|{IN}"] == "1"
    world.put("u:1", add=2)
    await world.run()
    assert (world.tally("u:1").count, world.tally("u:1").total) == (1, 2)


async def test_a_repeated_cause_is_dropped() -> None:
    world = World()
    for cause in (b"up|x|0|5|0", b"up|x|0|5|1", b"up|x|0|5|0", b"up|x|0|4|9", b"up|x|1|4|0"):
        world.log.append(IN, "u:1", b'{"add":1}', [("cause", cause)])
    await world.run()
    assert world.tally("u:1").count == 3


async def test_merging_moves_state_and_late_records_follow() -> None:
    world = World()
    world.put("a:1", add=1)
    world.put("u:1", add=10)
    world.merge("a:1", "u:1")
    await world.run()
    world.put("a:1", add=100)
    await world.run()
    assert (world.tally("u:1").count, world.tally("u:1").total) == (3, 111)
    assert peek(world.redis.states("folder")["a:1"])[0] == "u:1"
    sides = world.redis.slots["folder", slot("u:1")].sides["u:1"]
    assert len(sides) == 3
    assert not world.redis.slots["folder", slot("a:1")].sides


async def test_a_chain_of_merges_ends_at_the_last_winner() -> None:
    world = World()
    for key in ("a:1", "b:1", "c:1"):
        world.put(key, add=1)
    world.merge("b:1", "c:1")
    world.merge("a:1", "b:1")
    await world.run()
    world.put("a:1", add=1)
    await world.run(rounds=6)
    assert world.tally("c:1").count == 4


async def test_a_blob_is_absorbed_once() -> None:
    world = World()
    world.put("a:1", add=1)
    world.merge("a:1", "u:1")
    await world.run()
    (moved,) = [record for record in world.log.records(MOVED) if dict(record.headers)["kind"] == b"moved"]
    world.log.append(MOVED, "u:1", moved.value, [("kind", b"moved"), ("cause", b"folder|other|0|1|0")])
    await world.run()
    assert world.tally("u:1").count == 1


async def test_decisions_wait_for_the_announced_blob() -> None:
    world = World()
    world.put("a:1", add=1)
    world.log.append(IN, "u:1", b'{"add":10}', [("merged_from", b"a:1")])
    partition = slot("u:1")
    await world.slot(partition).process(IN, world.log.partitions[IN, partition])
    assert world.out() == ([] if slot("a:1") != partition else [("a:1", b"1")])
    assert peek(world.redis.states("folder")["u:1"])[1]
    world.merge("a:1", "u:1")
    await world.run()
    assert not peek(world.redis.states("folder")["u:1"])[1]
    assert world.out()[-1] == ("u:1", b"11") or ("u:1", b"11") in world.out()


async def test_a_timer_fires_when_all_clocks_have_passed_it_and_not_before() -> None:
    world = World()
    world.put("u:1", add=1, sleep_until=5_000)
    world.tick(6_000, slots=PARTITIONS - 1)
    await world.run()
    assert world.tally("u:1").woken == 0
    world.tick(6_000)
    await world.run()
    world.tick(7_000)
    await world.run()
    assert world.tally("u:1").woken == 1
    assert [value for _, value in world.out()].count(b"woken") == 1


async def test_a_timer_does_not_overtake_records_that_stand_before_the_clock() -> None:
    world = World()
    world.tick(1_000)
    world.put("u:1", add=1, sleep_until=5_000)
    world.put("u:1", add=1, sleep_until=9_000)
    world.tick(6_000)
    await world.run()
    assert world.tally("u:1").woken == 0


async def test_timers_survive_a_crash_at_any_point_and_fire_once() -> None:
    for survive in range(1, 40, 3):
        world = World()
        for n in range(30):
            world.put(f"u:{n}", add=1, sleep_until=5_000)
        world.log.publish_limit = survive
        world.tick(6_000)
        with pytest.raises(Crash):
            await world.run(chunk=5)
        world.crash()
        world.log.publish_limit = None
        await world.run(chunk=7)
        assert [world.tally(f"u:{n}").woken for n in range(30)] == [1] * 30
        assert [value for _, value in world.out()].count(b"woken") == 30


async def test_idle_clocks_are_not_committed() -> None:
    world = World()
    world.put("u:1", add=1)
    world.tick(1_000)
    await world.run()
    commits = world.redis.commits
    for now in range(2_000, 20_000, 1_000):
        world.tick(now)
        await world.run()
    assert world.redis.commits == commits


async def test_rebuilding_ends_when_the_end_noted_at_the_takeover_is_passed() -> None:
    world = World()
    for n in range(10):
        world.put("u:1", add=n)
    partition = slot("u:1")
    target = world.slot(partition)
    await target.take_over()
    assert world.redis.slots["folder", partition].fields["rb"] == "1"
    await world.run()
    assert world.redis.slots["folder", partition].fields["rb"] == "0"


async def test_waits_while_redis_is_away_and_loses_nothing() -> None:
    world = World()
    world.put("u:1", add=1)
    world.redis.away = True
    running = asyncio.create_task(world.run())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not running.done()
    world.redis.away = False
    await running
    assert world.tally("u:1").count == 1
