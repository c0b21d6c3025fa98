"""Messaging whole, on real Kafka, Redis and SMTP: an event and a transition in, one e-mail out, whatever is lost in between."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.kafka import Kafka
from deploy.local.ports import free_port
from deploy.local.process import Process
from services.messaging.domain.passages import dispatch_id, entry_id
from shared.contracts.changes import CHANGE_ENCODER, SegmentChanged, Transition
from shared.contracts.clock import ClockRecord, encode_clock
from shared.contracts.ledger import LEDGER_DECODER
from shared.contracts.slots import partition_count
from shared.contracts.topics import DISPATCH_RECORDED, EVENT_RESOLVED, SEGMENT_CHANGED
from shared.definitions.durations import DAY_MS
from tests.applied import apply_folder
from tests.integration.messaging_installation import PREFIX, Installation, request
from tests.waiting import wait_until

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]


class Flow:
    """Events and transitions as the resolver and segmentation would write them."""

    def __init__(self, house: Installation) -> None:
        self.house = house
        self.now = time.time_ns() // 1_000_000

    def identify(self, who: str, address: str, consent: bool) -> None:
        now = self.now
        event = {
            "type": "identify",
            "message_id": f"identify-{who}",
            "source_id": "test",
            "timestamp": now,
            "received_at": now,
            "ids": {"email": address},
            "traits": {"email": address, "firstName": "Ann", "locale": "zh-CN"},
            "context": {"consent": {"categoryPreferences": {"email": consent}}},
        }
        self.house.produce(EVENT_RESOLVED, who, json.dumps(event).encode(), [])

    def enter(self, who: str, at: int, decided_at: int) -> str:
        """Answers the id of the message that must follow."""
        change = SegmentChanged(
            profile_id=who, segment="important_keep", transition=Transition.ENTERED, at=at, decided_at=decided_at, version=1
        )
        self.house.produce(SEGMENT_CHANGED, who, CHANGE_ENCODER.encode(change), [])
        return dispatch_id(entry_id("keep_important", who, at), "steps[0]")

    def until_settled(self, wanted: set[str], from_now: int = 0) -> dict[str, str]:
        """Let a second pass at each look, beginning `from_now` ms later, until all of `wanted` have ended; answers how all ended."""
        self.now += from_now

        def look() -> dict[str, str] | None:
            self.now += 1000
            for partition in range(partition_count()):
                for source in range(partition_count()):
                    clock = encode_clock(ClockRecord(source, self.now, 0))
                    self.house.produce(EVENT_RESOLVED, f"clock:{source}", clock, [("kind", b"clock")], partition)
            self.house.flush()
            ends = self.ends()
            return ends if all(ends.get(one, "sending").split()[0] not in ("sending", "claimed") for one in wanted) else None

        ends: dict[str, str] = wait_until("all messages have ended", look)
        return ends

    def ends(self) -> dict[str, str]:
        """Dispatch id -> the state and reason it stands at, of the journey that writes to people."""
        entries = (LEDGER_DECODER.decode(record.value()) for record in self.house.read(DISPATCH_RECORDED))
        return {entry.dispatch_id: f"{entry.status.value} {entry.reason}" for entry in entries if entry.journey == "keep_important"}


@pytest.fixture
def flow(own_kafka: Kafka, fresh_redis: Process, tmp_path: Path) -> Iterator[Flow]:
    assert fresh_redis.check is not None
    house = Installation(own_kafka.bootstrap, fresh_redis.check, tmp_path)
    with house.mail:
        yield Flow(house)
        house.close()


def test_who_becomes_important_gets_one_mail_also_after_redis_was_emptied(flow: Flow) -> None:
    house, began = flow.house, flow.now
    people = [f"u:{number}" for number in range(12)]
    for who in people:
        flow.identify(who, f"{who[2:]}@example.com", consent=who != "u:3")
    ids = {who: flow.enter(who, began, began) for who in people}
    late, unknown = flow.enter("u:99", began - 40 * DAY_MS, began), flow.enter("u:nobody", began, began)
    house.upstream_is_caught_up(("resolver", "segmentation"))
    with house.process(messaging_parts="journeys,dispatcher") as first:
        ends = flow.until_settled({*ids.values(), late, unknown})
    assert first.returncode == 0
    expected = dict.fromkeys(ids.values(), "sent None")
    expected |= {ids["u:3"]: "suppressed no_consent", unknown: "suppressed no_consent", late: "expired too_late"}
    assert ends == expected
    sent = {identity for identity, end in ends.items() if end == "sent None"}
    assert dict(house.mails()) == dict.fromkeys(sent, 1)

    house.redis.flushall()
    house.upstream_is_caught_up(("resolver", "segmentation"))
    too_soon = flow.enter("u:2", began + 5000, flow.now)
    again = flow.enter("u:1", began + 91 * DAY_MS, flow.now)
    with house.process(messaging_parts="journeys,dispatcher"):
        ends = flow.until_settled({again}, from_now=92 * DAY_MS)
    assert ends == expected | {again: "sent None"}
    assert too_soon not in ends
    assert dict(house.mails()) == dict.fromkeys({*sent, again}, 1)


def test_before_any_set_messages_wait_and_are_sent_once_definitions_are_applied(fresh_redis: Process, tmp_path: Path) -> None:
    assert fresh_redis.check is not None
    with Kafka(tmp_path / "kafka", free_port(), tmp_path / "kafka.log") as kafka:
        house = Installation(kafka.bootstrap, fresh_redis.check, tmp_path, is_applied=False)
        house.upstream_is_caught_up(("resolver", "segmentation"))
        with house.mail, house.process(messaging_parts="journeys,dispatcher") as messaging:
            house.upstream_is_caught_up(("resolver", "segmentation"))
            wanted = [request("early", number) for number in range(3)]
            house.ask(wanted)
            wait_until("it says what it waits for", lambda: "no definitions were ever applied" in messaging.log_tail())
            assert not house.settled(wanted)
            apply_folder(house.bootstrap, group_prefix=PREFIX)
            wait_until("they are sent", lambda: house.settled(wanted))
            assert messaging.alive
        house.close()
