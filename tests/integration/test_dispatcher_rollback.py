"""Redis rolled back under the running dispatcher, on real servers. A module of its own: how far the stages before it had come is kept in
its ledger, so what is played here would hold the messages of other tests.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from deploy.local.kafka import Kafka
from deploy.local.ports import free_port
from deploy.local.process import Process
from services.messaging.adapters.ledger_reader import read_standings
from services.messaging.domain.standing import Standing
from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.slots import partition_count, slot
from shared.definitions.durations import DAY_MS
from tests.integration.messaging_installation import Installation, process_metric, request
from tests.waiting import wait_until

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]


@pytest.fixture
def house(kafka: Process, fresh_redis: Process, tmp_path: Path) -> Iterator[Installation]:
    """On a broker of this test alone. (`kafka` says whether there can be one.)"""
    assert fresh_redis.check is not None
    with Kafka(tmp_path / "kafka", free_port(), tmp_path / "kafka.log") as broker:
        house = Installation(broker.bootstrap, fresh_redis.check, tmp_path)
        house.upstream_is_caught_up()
        with house.mail:
            yield house
            house.close()


def test_a_process_that_begins_on_an_older_redis_sends_nothing_by_what_the_ledger_of_any_slot_says(house: Installation) -> None:
    """What tells that Redis went back stands in one slot's ledger; the message is another's, which has never sent anything."""
    first = request("seen", 0)
    other = next(one for number in range(100) if slot((one := request("unseen", number)).profile_id) != slot(first.profile_id))
    house.know(other.profile_id, "x@example.com")
    copy = house.copy_of_redis()
    house.upstream_moves_on()
    house.ask([first])
    with house.process():
        wait_until("the first is sent", lambda: house.settled([first]))
    house.put_back(copy)
    looked = house.looks_at_the_gate()
    house.ask_without_knowing([other])
    with house.process() as process:
        wait_until("it is held", lambda: process_metric(process, "rapport_dispatcher_gate_closed") > 0)
        wait_until("the ledgers are read, and the stages were looked at", lambda: house.looks_at_the_gate() >= looked + 6)
        assert house.ledger([other]) == {}
        house.upstream_begins_anew()
        wait_until("it is sent once the stages have begun anew", lambda: house.settled([other]))
    assert house.balance([first, other]) == {"sent": 2}


async def test_standings_are_read_from_the_end_of_every_slots_ledger(house: Installation) -> None:
    wanted = [request("tails", number) for number in range(40)]
    house.ask(wanted)
    with house.process(dispatch_checkpoint_seconds="1"):
        wait_until("all are sent", lambda: house.settled(wanted))
        wait_until("they stand in checkpoints", lambda: house.checkpointed(wanted))
    standing = Standing()
    found = read_standings(KafkaConnection(house.bootstrap), "test", partition_count())
    for saved in found:
        standing.know(saved)
    assert len(found) == 2 * partition_count()
    assert standing.seen()["journeys", 0] == (1000, 5)


def test_a_redis_rolled_back_under_the_dispatcher_lets_nobody_over_a_cap_and_sends_nothing_by_old_consent(house: Installation) -> None:
    """Ten people under a cap of one, ten who have taken their consent back; then Redis is what it was before, under the running process."""
    cap = {"cap_messages": 1, "cap_per": DAY_MS}
    capped = [request("cap-a", number, **cap) for number in range(10)]
    again = [msgspec.structs.replace(request("cap-b", number, **cap), profile_id=capped[number].profile_id) for number in range(10)]
    gone = [request("gone", number) for number in range(10)]
    for one in (*capped, *gone):
        house.know(one.profile_id, "x@example.com")
    with house.process(dispatch_checkpoint_seconds="0.5") as process:
        wait_until("the gate is open, and was looked at", lambda: house.redis.hlen("{dis:0}:m") > 0)
        copy = house.copy_of_redis()
        house.ask(capped)
        wait_until("each has one mail", lambda: house.settled(capped))
        for one in gone:
            house.know(one.profile_id, "x@example.com", consent=False)
        house.upstream_moves_on()
        looked = house.looks_at_the_gate()
        wait_until("the dispatcher has seen it", lambda: house.looks_at_the_gate() >= looked + 2)
        house.put_back(copy)
        house.ask_without_knowing([*again, *gone])
        wait_until("it notices", lambda: process_metric(process, "rapport_dispatcher_gate_closed") > 0)
        assert house.ledger([*again, *gone]) == {}
        for one in gone:  # as journeys refold
            house.know(one.profile_id, "x@example.com", consent=False)
        house.upstream_begins_anew()
        wait_until("all are settled", lambda: house.settled([*again, *gone]))
    assert house.balance(capped) == {"sent": 10}
    assert {entry.reason for entry in house.ledger(again).values()} == {"capped"}
    assert {entry.reason for entry in house.ledger(gone).values()} == {"no_consent"}
    assert house.mails() == Counter(one.dispatch_id for one in capped)
