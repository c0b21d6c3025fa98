"""The runtime on real Kafka and Redis, with everything going wrong: each event is applied once, whatever is killed."""

import shutil
import threading
from pathlib import Path

import pytest

from deploy.local.process import Process
from shared.contracts.slots import partition_count
from tests.integration.counting_ledger import CountingRun
from tests.waiting import wait_until

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

FAILPOINTS = ["folder.before_commit:2", "folder.after_commit:3", "log.mid_publication:2", "folder.before_ack:4"]


@pytest.fixture
def run(kafka: Process, fresh_redis: Process, tmp_path: Path, request: pytest.FixtureRequest) -> CountingRun:
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:60]
    return CountingRun(kafka, fresh_redis, f"run-{name}", tmp_path)


def test_ten_kills_at_every_point_lose_and_double_nothing(run: CountingRun) -> None:
    producer = threading.Thread(target=run.send, args=(20_000,))
    producer.start()
    for kill in range(10):
        worker = run.worker(failpoint=FAILPOINTS[kill % len(FAILPOINTS)], chunk_records="100")
        worker.start()
        wait_until(f"kill {kill}", lambda worker=worker: not worker.alive)  # type: ignore[misc]
        assert worker.returncode == -9
        if kill % 3 == 2:
            run.send(200) if not producer.is_alive() else None
    producer.join()
    with run.working():
        run.wait_applied()
        run.assert_exactly_once()


def test_without_the_fence_a_kill_between_commit_and_ack_doubles(run: CountingRun) -> None:
    run.send(3_000)
    worker = run.worker(failpoint="folder.after_commit:2", counting_forgetful="1")
    worker.start()
    wait_until("the kill", lambda: not worker.alive)
    with run.working(counting_forgetful="1"):
        run.wait_applied()
        wait_until("the rest", lambda: sum(t.count for t in run.tallies().values()) >= run.sent)
        assert run.figures().doubled_in_state > 0


def test_a_zombie_that_wakes_after_a_takeover_changes_nothing(run: CountingRun) -> None:
    run.send(2_000)
    with run.working() as zombie:
        run.wait_applied()
        run.send(4_000)
        zombie.pause()
        with run.working():
            run.wait_applied()
            run.send(1_000)
            run.wait_applied()
            zombie.resume()
            run.send(1_000)
            run.wait_applied()
            run.assert_exactly_once()


def test_workers_that_join_and_leave_share_the_slots(run: CountingRun) -> None:
    with run.working():
        for _ in range(3):
            run.send(1_000)
            with run.working():
                run.send(1_000)
                run.wait_applied()
        run.wait_applied()
        assert run.assert_exactly_once().doubled_in_log == 0


def test_failing_handlers_set_aside_what_fails_and_apply_the_rest(run: CountingRun) -> None:
    for _ in range(20):
        run.send(98)
        for n in range(2):
            run.send_raw(f"u:{n}", b'{"add":1,"boom":true}')
    for n in range(5):
        run.send_raw(f"u:{n}", b"\x00 poison")
    with run.working(counting_broken="1"):
        run.wait_applied(count=run.sent + 45)
        wait_until("dead letters", lambda: run.figures().dead_letters == 45)
        figures = run.assert_exactly_once()
        assert (figures.applied, figures.dead_letters) == (1_960, 45)
    with run.working():  # mended: what failed is replayed, twice over, and counts once
        for _ in range(2):
            assert run.replay_dead_letters() >= 45
        wait_until("40 replays applied", lambda: run.figures().applied >= 2_000)
        run.send(300)
        run.wait_applied(count=run.sent + 45)
        assert run.figures().applied == 2_300
        assert {key: tally.count - run.sums[key] for key, tally in run.tallies().items() if tally.count != run.sums[key]} == {
            "u:0": 20,
            "u:1": 20,
        }


def test_a_deploy_that_fails_everything_stands_still_before_it_empties_the_log_and_loses_nothing_once_it_is_rolled_back(
    run: CountingRun,
) -> None:
    people = 200 * partition_count()
    for n in range(people):
        run.send_one(f"v:{n}", boom=True)
    worker = run.worker(counting_broken="1")
    worker.start()
    wait_until("all slots stand still", lambda: worker.log_tail(10_000).count("most records fail") >= partition_count())
    assert "handler_failed (RuntimeError)" in worker.log_tail(10_000)  # the letters of the batch are nowhere else
    assert "v:1" not in worker.log_tail(10_000)
    before = run.figures().dead_letters
    assert before < 100 * partition_count()
    worker.kill()
    with run.working():
        run.wait_applied(count=people)
        assert run.figures().dead_letters == before
        assert sum(tally.count for tally in run.tallies().values()) == people - before


def test_redis_killed_and_restarted_loses_nothing(run: CountingRun, fresh_redis: Process) -> None:
    with run.working():
        run.send(3_000)
        fresh_redis.kill()
        run.send(2_000)
        fresh_redis.start()
        fresh_redis.wait_ready()
        run.send(1_000)
        run.wait_applied()
        run.assert_exactly_once()


def test_redis_rolled_back_under_a_live_worker_is_refolded(run: CountingRun, fresh_redis: Process, tmp_path: Path) -> None:
    data = fresh_redis.data  # type: ignore[attr-defined]
    with run.working():
        run.send(2_000)
        run.wait_applied()
        fresh_redis.stop()
        shutil.copytree(data, tmp_path / "backup")
        fresh_redis.start()
        fresh_redis.wait_ready()
        run.send(3_000)
        run.wait_applied()
        fresh_redis.kill()
        shutil.rmtree(data)
        shutil.copytree(tmp_path / "backup", data)
        fresh_redis.start()
        fresh_redis.wait_ready()
        run.send(500)
        run.wait_applied()
        assert run.assert_exactly_once().doubled_in_log == 0


def test_an_emptied_redis_is_rebuilt_from_kafka_and_the_log_is_not_doubled(run: CountingRun) -> None:
    with run.working():
        run.send(3_000)
        run.wait_applied()
        with run.client() as client:
            client.flushall()
        run.send(500)
        run.wait_applied()
        assert run.assert_exactly_once().doubled_in_log == 0


def test_a_broker_that_stops_and_comes_back_loses_nothing(kafka: Process, run: CountingRun) -> None:
    with run.working():
        run.send(1_000)
        kafka.pause()
        kafka.resume()
        run.send(1_000)
        kafka.stop()
        kafka.start()
        kafka.wait_ready()
        run.send(1_000)
        run.wait_applied()
        run.assert_exactly_once()


def test_a_worker_told_to_stop_finishes_what_it_has_in_hand(run: CountingRun) -> None:
    run.send(5_000)
    with run.working() as worker:
        wait_until("something applied", lambda: run.applied() > 0)
        worker.stop()
        assert worker.returncode == 0
    with run.working():
        run.wait_applied()
        assert run.assert_exactly_once().doubled_in_log == 0
