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
