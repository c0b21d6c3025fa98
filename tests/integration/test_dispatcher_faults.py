"""The dispatcher on real Kafka, Redis and SMTP, killed, paused and cut off: nobody is mailed twice, nobody is forgotten."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from deploy.local.kafka import Kafka
from deploy.local.process import Process
from services.messaging.adapters.ledger_reader import LedgerReader
from services.messaging.adapters.request_log import KafkaRequestLog
from services.messaging.dispatch.queue import Class
from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.changes import MessageRequested, MessageStatus
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import DISPATCH_CHECKPOINTED, MESSAGE_REQUESTED
from shared.definitions.durations import DAY_MS
from tests.integration.messaging_installation import Installation, process_metric, request
from tests.integration.slow_post import SlowPost
from tests.waiting import wait_until

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

MESSAGES = 60
PATIENT = {"session_timeout_seconds": "10", "dispatch_lease_seconds": "5"}
"""As in service: on a busy machine a second may pass between the record that a mail is being sent and its beginning."""


@pytest.fixture
def house(own_kafka: Kafka, fresh_redis: Process, tmp_path: Path) -> Iterator[Installation]:
    assert fresh_redis.check is not None
    house = Installation(own_kafka.bootstrap, fresh_redis.check, tmp_path)
    house.upstream_is_caught_up()
    with house.mail:
        yield house
        house.close()


FAILPOINTS = [
    ("dispatcher.before_sending", 3),
    ("dispatcher.in_transaction", 4),
    ("dispatcher.after_sending", 2),
    ("dispatcher.after_provider", 2),
    ("dispatcher.after_settled", 2),
    ("dispatcher.before_offsets", 6),
]


@pytest.mark.parametrize(("failpoint", "nth"), FAILPOINTS)
def test_killed_at_any_point_nobody_is_mailed_twice_and_nobody_is_forgotten(house: Installation, failpoint: str, nth: int) -> None:
    wanted = [request(f"kill{FAILPOINTS.index((failpoint, nth))}", number) for number in range(MESSAGES)]
    house.ask(wanted)
    first = house.process(failpoint=f"{failpoint}:{nth}", dispatch_batch="4")
    first.start()
    wait_until(f"the process passes {failpoint} {nth} times", lambda: not first.alive)
    assert first.returncode == -9
    with house.process():
        wait_until("every message is settled", lambda: house.settled(wanted))
        wait_until("offsets are committed", lambda: sum(house.committed().values()) > 0)
    ended = house.balance(wanted)
    assert sum(ended.values()) == MESSAGES
    if failpoint in ("dispatcher.after_sending", "dispatcher.after_provider"):
        assert ended["unknown"] >= 1
    else:
        assert ended.get("unknown", 0) <= 4 * 8
    assert ended["sent"] >= MESSAGES - 4 * 8


def test_a_process_that_sleeps_through_its_replacement_sends_nothing_more(house: Installation) -> None:
    wanted = [request("zombie", number) for number in range(200)]
    house.ask(wanted)
    zombie = house.process(dispatch_batch="4")
    zombie.start()
    wait_until("some mail is out", lambda: sum(house.mails().values()) >= 5)
    zombie.pause()
    with house.process():
        wait_until("the successor settles everything", lambda: house.settled(wanted))
        before = house.mails()
        later = [request("zombie-later", number) for number in range(20)]
        zombie.resume()
        house.ask(later)
        wait_until("both go on together", lambda: house.settled(later))
        wait_until("the sleeper has found its place again, or left", lambda: zombie.probe() or not zombie.alive)
        ended = house.balance(wanted)
    after = house.mails()
    # What it had on the wire when it fell asleep may still have left it: those messages are listed as unknown, and sent by nobody else.
    revived = [key for key in after if after[key] > before[key] and key in {one.dispatch_id for one in wanted}]
    assert len(revived) <= 4
    assert sum(ended.values()) == 200


def test_a_mail_server_that_is_away_delays_and_doubles_nothing(house: Installation) -> None:
    house.mail.stop()
    wanted = [request("away", number) for number in range(20)]
    house.ask(wanted)
    with house.process():
        wait_until("all are listed", lambda: len(house.ledger(wanted)) == 20)
        assert {entry.status.value for entry in house.ledger(wanted).values()} <= {"claimed", "sending"}
        assert house.mails() == {}
        with house.mail:
            wait_until("all are sent when it is back", lambda: house.settled(wanted))
    assert house.balance(wanted) == {"sent": 20}


def overtaken_by(house: Installation, post: SlowPost, one: MessageRequested) -> int:
    """Ask for `one`; how many messages the server takes before it."""
    before = len(post.taken)
    house.ask([one])
    wait_until("the transactional message leaves", lambda: one.dispatch_id in post.times())
    return [taken.dispatch_id for taken in post.taken[before:]].index(one.dispatch_id)


def test_a_slow_server_and_one_that_greylists_hold_up_neither_each_other_nor_what_is_urgent(house: Installation) -> None:
    """200 ms a mail, a campaign that waits, and hundreds that are put off: few records a mail, transactional mail passes all of them."""
    campaign = [request("slow", number) for number in range(200)]
    grey = [request("slow-grey", number) for number in range(300)]
    urgent = [request(f"slow-now{number}", number, message_class="transactional") for number in range(3)]
    connections, seconds = 8, 0.2
    in_two_seconds = int(2 / seconds * connections)
    with SlowPost(seconds, lambda address: address.startswith("slow-grey-")) as post:
        house.ask([*grey, *campaign])
        with house.process(smtp_url=post.url, smtp_connections=str(connections), retry_first_seconds="2", **PATIENT):
            for number, one in enumerate(urgent):
                post.wait_for(40 * (number + 1))
                assert overtaken_by(house, post, one) <= in_two_seconds
            wait_until("the campaign is settled", lambda: house.settled([*campaign, *urgent]))
            wait_until("every greylisted one has been tried", lambda: len(house.ledger(grey)) == len(grey))
            assert sum(post.put_off.values()) >= len(grey)
            post.greylists = lambda address: False
            wait_until("all are settled once the server takes them", lambda: house.settled(grey), 120)
    assert post.most_at_once <= connections
    records = house.records()
    assert max(records[one.dispatch_id] for one in [*campaign, *urgent]) <= 3
    assert {entry.status.value for entry in house.ledger([*campaign, *grey, *urgent]).values()} == {"sent"}
    assert sorted(taken.dispatch_id for taken in post.taken) == sorted(one.dispatch_id for one in [*campaign, *grey, *urgent])


def test_after_redis_was_emptied_nobody_is_mailed_again(house: Installation) -> None:
    wanted = [request("flush", number) for number in range(20)]
    house.ask(wanted)
    with house.process():
        wait_until("all are settled", lambda: house.settled(wanted))
    house.redis.flushall()
    with house.process():
        fresh = [request("flush-fresh", number) for number in range(5)]
        house.ask([*wanted, *fresh])  # journeys refolds, and asks again for what it had asked for
        assert house.ledger(fresh) == {}
        house.upstream_is_caught_up()
        wait_until("what is new is sent once the stages before have caught up", lambda: house.settled(fresh))
        wait_until("the counts for caps are back", lambda: house.redis.hlen("{dis:0}:m") == partition_count())
    assert house.balance(wanted) == {"sent": 20}
    assert house.balance(fresh) == {"sent": 5}


def test_requests_read_again_from_the_beginning_after_they_were_forgotten_call_nobody_and_end_no_second_time(house: Installation) -> None:
    """Mail of ten days ago, as the ledger of then has it; it expired nine days ago."""
    old = [msgspec.structs.replace(one, expires_at=one.expires_at - 9 * DAY_MS) for one in (request("old", n) for n in range(80))]
    ends = house.ask_with_ends(old, MessageStatus.SENT, ago_ms=10 * DAY_MS)
    fresh = [request("new", number) for number in range(20)]
    house.ask(fresh)
    with house.process(dispatch_checkpoint_seconds="0.5"):
        wait_until("what is new is settled", lambda: house.settled(fresh))
        wait_until(
            "each slot has a checkpoint",
            lambda: {record.partition() for record in house.read(DISPATCH_CHECKPOINTED)} >= house.slots_of(fresh),
        )
        for number in range(20, 40):  # a checkpoint without the old ones
            fresh.append(request("new", number))
            house.ask(fresh[-1:])
        wait_until("what came then is settled", lambda: house.settled(fresh))
        wait_until("that is in checkpoints", lambda: house.checkpointed(fresh))
    for partition in house.slots_of(fresh):
        with closing(LedgerReader(KafkaConnection(house.bootstrap), "test", partition)) as reader:
            read = reader.read()
        assert (read.believed, read.entries) == (True, 0), "whoever takes over reads checkpoints alone"
        assert all(read.ledger.is_settled(one.dispatch_id) for one in fresh if slot(one.profile_id) == partition)
    for _ in range(2):
        house.read_again_from_the_beginning()
        with house.process(dispatch_checkpoint_seconds="0.5") as process:
            wait_until("all of it was passed", lambda: house.committed() == house.ends_of_requests())
            dropped = process_metric(process, "rapport_dispatcher_dropped_repeats_total")
        assert dropped > 0
    house.read_again_from_the_beginning()
    aged = house.requests_leave_the_log()
    with house.process() as process:
        wait_until("what left the log is counted", lambda: process_metric(process, "rapport_lost_to_retention_total") == aged)
    assert house.told(old) == []
    assert house.ledger(old) == ends
    assert house.mails() == Counter(one.dispatch_id for one in fresh)
    assert house.balance(fresh) == {"sent": 40}


def test_two_processes_share_the_slots_and_one_leaving_hands_over(house: Installation) -> None:
    wanted = [request("share", number) for number in range(100)]
    first, second = house.process(), house.process()
    with first, second:
        house.ask(wanted[:50])
        wait_until("the first half is settled", lambda: house.settled(wanted[:50]))
        first.stop()
        assert first.returncode == 0
        house.ask(wanted[50:])
        wait_until("the other takes all slots", lambda: house.settled(wanted))
    assert house.balance(wanted) == {"sent": 100}


async def test_requests_are_read_again_by_their_offset_and_what_the_log_has_lost_is_not_waited_for(house: Installation) -> None:
    wanted = [request("again", number) for number in range(60)]
    house.ask(wanted)
    asked = {one.dispatch_id.encode() for one in wanted}
    mine = [record for record in house.read(MESSAGE_REQUESTED) if any(key in record.value() for key in asked)]
    partition = Counter(record.partition() for record in mine).most_common(1)[0][0]
    offsets = [record.offset() for record in mine if record.partition() == partition]
    log = KafkaRequestLog(KafkaConnection(house.bootstrap), "again")
    whole = await log.read(partition, offsets[0], Class.MARKETING)
    assert [record.offset for record in whole.records] == offsets
    assert whole.end == offsets[-1] + 1
    assert [record.offset for record in (await log.read(partition, offsets[2], Class.TRANSACTIONAL)).records] == offsets[2:]
    admin = AdminClient({"bootstrap.servers": house.bootstrap})
    for future in admin.delete_records([TopicPartition(MESSAGE_REQUESTED, partition, offsets[3])]).values():
        future.result(30)
    left = await log.read(partition, offsets[0], Class.MARKETING)
    assert [record.offset for record in left.records] == offsets[3:]
    assert await log.begins(partition) == offsets[3]
    await log.close()
