"""The number of partitions: read at the start, never guessed, equal for all topics, in every key."""

import subprocess
import sys

import pytest

from deploy.local.topics import NEW_PARTITIONS, WrongTopicError, choose
from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.partitions import PartitionsOfLog, common_count
from shared.contracts import slots
from shared.contracts.redis_keys import state_key
from shared.contracts.topics import EVENT_RECEIVED, EVENT_RESOLVED, TOPICS
from shared.runtime.ports import Halted, LogAway
from shared.testing.installation import partitions

DATA = {topic.name for topic in TOPICS if topic.partitions is None}
ONCE = """
import sys
from shared.contracts import slots
import services.ingest.main, services.profile.main, services.segmentation.main, services.messaging.main
import services.warehouse.main, services.query.main, deploy.cli.main
try:
    slots.slot("u:1")
except slots.NotSettled:
    print("not settled")
slots.settle(24)
slots.settle(24)
print(slots.slot("u:1") == (slots.murmur2(b"u:1") & 0x7FFFFFFF) % 24)
try:
    slots.settle(8)
except RuntimeError as error:
    print(error)
"""


def test_no_process_knows_the_number_before_kafka_has_said_it_and_none_changes_it() -> None:
    done = subprocess.run([sys.executable, "-c", ONCE], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["not settled", "True", "this process works with 24 partitions, it cannot change to 8"]


@pytest.mark.parametrize("count", [1, 3, 8, 24, 100])
def test_every_key_lives_in_one_of_the_partitions_and_all_are_used(count: int) -> None:
    with partitions(count):
        assert {slots.slot(f"u:{n}") for n in range(40 * count)} == set(range(count))
        assert state_key("folder", "u:1").startswith(f"{{pro:{slots.slot('u:1')}}}")
    assert slots.partition_count() == 8
    assert slots.slot("u:1") == (slots.murmur2(b"u:1") & 0x7FFFFFFF) % 8


def test_topics_of_unequal_counts_halt_a_process_by_name_and_absent_ones_are_waited_for() -> None:
    assert common_count({"a": 24, "b": 24}) == 24
    with pytest.raises(Halted, match=r"equal numbers of partitions differ: 3 partitions: c; 8 partitions: a, b\. Use another cluster"):
        common_count({"a": 8, "b": 8, "c": 3})
    with pytest.raises(LogAway, match=r"not there yet: b, c .*deploy\.local\.topics"):
        common_count({"a": 8, "b": 0, "c": 0})


async def test_a_process_says_why_it_does_not_know_the_number_yet() -> None:
    waiting = PartitionsOfLog(KafkaConnection("127.0.0.1:1"), ["a"])
    assert waiting.trouble == "the number of partitions has not been read from Kafka yet"


def test_new_topics_get_what_is_asked_for_and_those_that_are_there_win() -> None:
    assert choose(TOPICS, {}, None) == NEW_PARTITIONS
    assert choose(TOPICS, {}, 24) == 24
    there = dict.fromkeys(DATA, 3)
    assert choose(TOPICS, there, None) == 3
    assert choose(TOPICS, there, 3) == 3
    assert choose(TOPICS, {EVENT_RECEIVED: 3}, None) == 3
    with pytest.raises(WrongTopicError, match=r"is 8, but .* have 3 partitions .* Unset it, or set it to 3"):
        choose(TOPICS, there, 8)
    with pytest.raises(WrongTopicError, match=rf"{EVENT_RESOLVED} 5"):
        choose(TOPICS, there | {EVENT_RESOLVED: 5}, None)
    with pytest.raises(WrongTopicError, match="it must have 1"):
        choose(TOPICS, there | {"rapport.key.changed.v1": 3}, None)
