"""The slot: what happens to a chunk, whatever goes wrong in between. Every claim in memory, and on real Kafka and Redis."""

import asyncio
import contextlib

import pytest

from shared.contracts.failed import FAILED_DECODER, FailureReason
from shared.contracts.headers import Position, header
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import RECORD_FAILED
from shared.runtime.envelope import peek
from shared.runtime.observer import Observer
from shared.testing.fakes import Crash
from tests.contract.conftest import Worlds


async def test_each_record_is_applied_and_published_once(worlds: Worlds) -> None:
    world = await worlds()
    for n in range(20):
        world.put(f"u:{n % 5}", add=n)
    await world.run()
    assert sum([(await world.tally(f"u:{n}")).total for n in range(5)]) == sum(range(20))
    assert len(await world.out()) == 20


async def test_replaying_a_chunk_changes_nothing(worlds: Worlds) -> None:
    world = await worlds()
    world.put("u:1", add=1)
    await world.run()
    before, commits = await world.states(), world.commits
    await world.forget_offsets()
    world.crash()
    await world.run()
    assert (await world.tally("u:1")).count == 1
    assert len(await world.out()) == 1
    assert world.commits > commits
    assert await world.states() == before


async def test_a_crash_in_the_middle_of_a_publication_is_made_good_by_the_next_owner(worlds: Worlds) -> None:
    for survive in worlds.some(range(6)):
        world = await worlds()
        for n in range(6):
            world.put("u:1", add=n)
        world.log.publish_limit = survive
        with pytest.raises(Crash):
            await world.run()
        world.crash()
        world.log.publish_limit = None
        await world.run()
        assert (await world.tally("u:1")).count == 6
        assert len(await world.out()) == 6, survive


async def test_outputs_that_pass_the_input_on_survive_a_crash(worlds: Worlds) -> None:
    world = await worlds(pass_on=True)
    for n in range(6):
        world.put("u:1", add=n)
    world.log.publish_limit = 2
    with pytest.raises(Crash):
        await world.run()
    world.crash()
    world.log.publish_limit = None
    await world.run()
    assert [value for _, value in await world.out()] == [record.value for record in await world.records(world.stage.inputs[0])]


@pytest.mark.parametrize("published", [0, 2, 6])
async def test_of_outputs_whose_inputs_left_the_log_only_those_that_nobody_published_count_as_lost(
    worlds_in_memory: Worlds, published: int
) -> None:
    world = await worlds_in_memory(pass_on=True)
    world.put("u:1", add=1)
    await world.run()
    for n in range(6):
        world.put("u:1", add=n)
    world.log.publish_limit = published
    with pytest.raises(Crash) if published < 6 else contextlib.nullcontext():
        await world.run()
    world.crash()
    world.log.publish_limit = None
    world.log.begins[world.stage.inputs[0], slot("u:1")] = 7
    counting = CountsLost()
    world.slot(slot("u:1")).observer = counting
    await world.slot(slot("u:1")).take_over()
    assert counting.lost == 6 - published
    assert len(await world.out()) == 1 + published


class CountsLost(Observer):
    """Adds up what is lost."""

    lost = 0

    def lost_to_retention(self, stage: str, records: int) -> None:
        self.lost += records


async def test_a_lost_reply_of_a_commit_is_not_applied_twice(worlds: Worlds) -> None:
    world = await worlds()
    world.put("u:1", add=1)
    partition = slot("u:1")
    world.slot(partition)
    await world.slot(partition).take_over()
    world.lose_reply(partition)
    await world.run()
    assert (await world.tally("u:1")).count == 1
    assert len(await world.out()) == 1


async def test_a_zombie_is_refused(worlds: Worlds) -> None:
    world = await worlds()
    world.put("u:1", add=1)
    await world.run()
    partition = slot("u:1")
    zombie = world.slot(partition)
    zombie.wanted = lambda: False
    world.crash()
    world.put("u:1", add=1)
    await world.run()
    records = await world.records(world.stage.inputs[0])
    assert await zombie.process(world.stage.inputs[0], records[-1:]) is False
    assert (await world.tally("u:1")).count == 2
    assert len(await world.out()) == 2


async def test_a_gap_is_read_and_applied_in_order(worlds: Worlds) -> None:
    world = await worlds()
    for n in range(10):
        world.put("u:1", add=n)
    partition = slot("u:1")
    records = await world.records(world.stage.inputs[0])
    assert await world.slot(partition).process(world.stage.inputs[0], records[7:])
    assert (await world.tally("u:1")).count == 10
    assert [value for _, value in await world.out()] == [str(sum(range(n + 1))).encode() for n in range(10)]


async def test_an_emptied_store_is_rebuilt_from_the_log_and_the_log_is_not_doubled(worlds: Worlds) -> None:
    world = await worlds()
    for n in range(30):
        world.put(f"u:{n % 7}", add=n)
    await world.run()
    before = await world.states()
    await world.flush()
    world.put("u:1", add=1000)  # a live worker finds out at its next commit
    await world.run()
    assert (await world.tally("u:1")).total == sum(n for n in range(30) if n % 7 == 1) + 1000
    assert len(await world.out()) == 31
    world.crash()
    await asyncio.gather(*(world.slot(partition).take_over() for partition in range(partition_count())))
    after = await world.states()
    assert {key: blob for key, blob in after.items() if key != "u:1"} == {key: blob for key, blob in before.items() if key != "u:1"}
    assert len(await world.out()) == 31


async def test_a_store_rolled_back_under_a_live_worker_is_noticed_and_refolded(worlds: Worlds) -> None:
    world = await worlds()
    world.put("u:1", add=1)
    await world.run()
    snapshot = await world.snapshot()
    for n in range(5):
        world.put("u:1", add=n)
    await world.run()
    await world.restore(snapshot)
    world.put("u:1", add=7)
    await world.run()
    assert ((await world.tally("u:1")).count, (await world.tally("u:1")).total) == (7, 1 + 10 + 7)
    assert len(await world.out()) == 7


async def test_a_failing_record_is_dead_lettered_and_the_rest_goes_on(worlds: Worlds) -> None:
    world = await worlds(broken=True)
    for n in range(50):
        world.put("u:1", add=1, boom=n % 10 == 3)
    world.append(world.stage.inputs[0], "u:1", b"\xff not json")
    await world.run()
    assert (await world.tally("u:1")).count == 45
    letters = [FAILED_DECODER.decode(record.value or b"") for record in await world.records(RECORD_FAILED)]
    assert [letter.reason for letter in letters] == [FailureReason.HANDLER_FAILED] * 5 + [FailureReason.UNDECODABLE]
    assert letters[-1].value == b"\xff not json"
    assert "RuntimeError: boom" in letters[0].detail


async def test_a_replayed_dead_letter_is_applied_once(worlds: Worlds) -> None:
    world = await worlds(broken=True)
    world.put("u:1", add=5, boom=True)
    await world.run()
    (letter,) = await world.records(RECORD_FAILED)
    failed = FAILED_DECODER.decode(letter.value or b"")
    world.stage.broken = False
    origin = Position(failed.topic, failed.partition, failed.offset).encode()
    for _ in range(3):
        headers = [("replay_of", f"{letter.partition}:{letter.offset}".encode()), ("origin", origin)]
        world.append(world.stage.inputs[3], "u:1", failed.value, headers)
    await world.run()
    assert ((await world.tally("u:1")).count, (await world.tally("u:1")).total) == (1, 5)


async def test_a_record_that_changes_nothing_stores_nothing(worlds: Worlds) -> None:
    world = await worlds()
    world.put("u:1", add=0, nothing=True)
    await world.run()
    assert await world.states() == {}
    assert (await world.fields(slot("u:1")))[f"f|{world.stage.inputs[0]}"] == "1"
    world.put("u:1", add=2)
    await world.run()
    assert ((await world.tally("u:1")).count, (await world.tally("u:1")).total) == (1, 2)


async def test_a_repeated_cause_is_dropped(worlds: Worlds) -> None:
    world = await worlds()
    for cause in (b"up|x|0|5|0", b"up|x|0|5|1", b"up|x|0|5|0", b"up|x|0|4|9", b"up|x|1|4|0"):
        world.append(world.stage.inputs[0], "u:1", b'{"add":1}', [("cause", cause)])
    await world.run()
    assert (await world.tally("u:1")).count == 3


async def test_merging_moves_state_and_late_records_follow(worlds: Worlds) -> None:
    world = await worlds()
    world.put("a:1", add=1)
    world.put("u:1", add=10)
    world.merge("a:1", "u:1")
    await world.run()
    world.put("a:1", add=100)
    await world.run()
    assert ((await world.tally("u:1")).count, (await world.tally("u:1")).total) == (3, 111)
    assert peek((await world.states())["a:1"])[0] == "u:1"
    assert (await world.sides("u:1"), await world.sides("a:1")) == (3, 0)


async def test_a_chain_of_merges_ends_at_the_last_winner(worlds: Worlds) -> None:
    world = await worlds()
    for key in ("a:1", "b:1", "c:1"):
        world.put(key, add=1)
    world.merge("b:1", "c:1")
    world.merge("a:1", "b:1")
    await world.run()
    world.put("a:1", add=1)
    await world.run()
    assert (await world.tally("c:1")).count == 4


async def test_blobs_of_a_long_chain_jump_and_each_counts_once(worlds: Worlds) -> None:
    world = await worlds()
    winners = {f"z:{n}": f"z:{n + 1}" for n in range(50)}
    for key in (*winners, "z:50"):
        world.put(key, add=1)
    for loser, winner in winners.items():
        world.merge(loser, winner)
    await world.run()
    world.put("z:0", add=1)
    await world.run()
    assert ((await world.tally("z:50")).count, (await world.tally("z:50")).total) == (52, 52)
    moved = [record for record in await world.records(world.stage.moved) if header(record.headers, "kind") != b"late"]
    assert len(moved) < 50 * 51 // 2
    sent = [((header(record.headers, "via") or b"").decode(), (record.key or b"").decode()) for record in moved]
    assert any(via and winners[via] != key for via, key in sent)


async def test_a_blob_is_absorbed_once(worlds: Worlds) -> None:
    world = await worlds()
    world.put("a:1", add=1)
    world.merge("a:1", "u:1")
    await world.run()
    (moved,) = [record for record in await world.records(world.stage.moved) if dict(record.headers)["kind"] == b"moved"]
    world.append(world.stage.moved, "u:1", moved.value, [("kind", b"moved"), ("cause", b"folder|other|0|1|0")])
    await world.run()
    assert (await world.tally("u:1")).count == 1


async def test_decisions_wait_for_the_announced_blob(worlds: Worlds) -> None:
    world = await worlds()
    world.put("a:1", add=1)
    world.append(world.stage.inputs[0], "u:1", b'{"add":10}', [("merged_from", b"a:1")])
    partition = slot("u:1")
    records = [record for record in await world.records(world.stage.inputs[0]) if record.partition == partition]
    await world.slot(partition).process(world.stage.inputs[0], records)
    assert (await world.out()) == ([] if slot("a:1") != partition else [("a:1", b"1")])
    assert peek((await world.states())["u:1"])[1]
    world.merge("a:1", "u:1")
    await world.run()
    assert not peek((await world.states())["u:1"])[1]
    assert [told for told in await world.out() if told[0] == "u:1"] == [("u:1", b"11")]


async def test_a_timer_fires_when_all_clocks_have_passed_it_and_not_before(worlds: Worlds) -> None:
    world = await worlds()
    world.put("u:1", add=1, sleep_until=5_000)
    world.tick(6_000, slots=partition_count() - 1)
    await world.run()
    assert (await world.tally("u:1")).woken == 0
    world.tick(6_000)
    await world.run()
    world.tick(7_000)
    await world.run()
    assert (await world.tally("u:1")).woken == 1
    assert [value for _, value in await world.out()].count(b"woken") == 1


async def test_a_timer_does_not_overtake_records_that_stand_before_the_clock(worlds: Worlds) -> None:
    world = await worlds()
    world.tick(1_000)
    world.put("u:1", add=1, sleep_until=5_000)
    world.put("u:1", add=1, sleep_until=9_000)
    world.tick(6_000)
    await world.run()
    assert (await world.tally("u:1")).woken == 0


async def test_timers_survive_a_crash_at_any_point_and_fire_once(worlds: Worlds) -> None:
    for survive in worlds.some(range(1, 40, 3)):
        world = await worlds()
        for n in range(30):
            world.put(f"u:{n}", add=1, sleep_until=5_000)
        world.log.publish_limit = survive
        world.tick(6_000)
        with pytest.raises(Crash):
            await world.run(chunk=5)
        world.crash()
        world.log.publish_limit = None
        await world.run(chunk=7)
        assert [(await world.tally(f"u:{n}")).woken for n in range(30)] == [1] * 30
        assert [value for _, value in await world.out()].count(b"woken") == 30


async def test_idle_clocks_are_not_committed(worlds: Worlds) -> None:
    world = await worlds()
    world.put("u:1", add=1)
    world.tick(1_000)
    await world.run()
    commits = world.commits
    for now in range(2_000, 20_000, 1_000):
        world.tick(now)
        await world.run()
    assert world.commits == commits


async def test_the_life_of_a_slot_grows_over_what_its_store_has_forgotten(worlds: Worlds) -> None:
    """Who has seen (life, seq) can tell an older copy from one that the slot has noticed and taken over."""
    world = await worlds()
    partition = slot("u:1")

    async def place() -> tuple[int, int]:
        fields = await world.fields(partition)
        return int(fields["lf"]), int(fields["seq"])

    world.put("u:1", add=1)
    await world.run()
    copy, first = await world.snapshot(), await place()
    for n in range(3):
        world.put("u:1", add=n)
        await world.run()
    second = await place()
    await world.restore(copy)
    old = await place()
    world.put("u:1", add=1)
    await world.run()
    noticed = await place()
    await world.flush()
    world.put("u:1", add=1)
    await world.run()
    assert first == old < second < noticed < await place()


async def test_rebuilding_ends_when_the_end_noted_at_the_takeover_is_passed(worlds: Worlds) -> None:
    world = await worlds()
    for n in range(10):
        world.put("u:1", add=n)
    partition = slot("u:1")
    target = world.slot(partition)
    await target.take_over()
    assert (await world.fields(partition))["rb"] == "1"
    await world.run()
    assert (await world.fields(partition))["rb"] == "0"


async def test_waits_while_redis_is_away_and_loses_nothing(worlds: Worlds) -> None:
    world = await worlds()
    world.put("u:1", add=1)
    world.away = True
    running = asyncio.create_task(world.run())
    await asyncio.wait_for(world.refused.wait(), 30)
    assert not running.done()
    told = world.slot(slot("u:1")).waits_for
    world.away = False
    await running
    assert told is not None
    assert "Redis" in told
    assert world.slot(slot("u:1")).waits_for is None
    assert (await world.tally("u:1")).count == 1
