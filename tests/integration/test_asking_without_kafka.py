"""A process that asks for offsets lives through the absence of Kafka: librdkafka's administrator has taken whole processes with it."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.kafka import Kafka
from tests.integration.topic import make_topic
from tests.waiting import wait_until

pytestmark = pytest.mark.real

TOPIC = "rapport.tests.asked.v1"
PARTITIONS = 4
QUESTIONS = 6
AWAY_EACH = 3
"""Questions of each kind that must have gone unanswered: each waits five or ten seconds for Kafka."""
DEADLINE_SECONDS = 60.0


@pytest.fixture
def broker(fresh_kafka: Kafka) -> Kafka:
    """A Kafka of this test alone, with one topic."""
    make_topic(fresh_kafka.bootstrap, TOPIC, PARTITIONS)
    return fresh_kafka


class Asking:
    """The child, and what it has said."""

    def __init__(self, bootstrap: str, said: Path) -> None:
        self._said = said
        argv = [sys.executable, "-m", "tests.integration.asking_child", bootstrap, TOPIC, str(PARTITIONS)]
        with said.open("wb") as out:
            self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT)

    def each(self, word: str, since: int = 0) -> int:
        """How often every kind of question has ended with this word, from this byte on."""
        counts = Counter(self._said.read_text()[since:].splitlines())
        return min(counts[f"{word} {number}"] for number in range(QUESTIONS))

    def tail(self) -> str:
        """Its last words."""
        return f"code {self.process.returncode}: {self._said.read_text()[-2000:]}"

    @property
    def said(self) -> int:
        return self._said.stat().st_size


@pytest.fixture
def asking(broker: Kafka, tmp_path: Path) -> Iterator[Asking]:
    child = Asking(broker.bootstrap, tmp_path / "said")
    with child.process:
        yield child
        child.process.kill()


def test_a_process_that_asks_for_offsets_outlives_the_absence_of_kafka_and_is_told_again(broker: Kafka, asking: Asking) -> None:
    def lives() -> bool:
        assert asking.process.poll() is None, asking.tail()
        return True

    wait_until("every question is answered", lambda: lives() and asking.each("told") >= 1, DEADLINE_SECONDS)
    broker.kill()
    killed = asking.said
    wait_until("every question has gone unanswered", lambda: lives() and asking.each("away", killed) >= AWAY_EACH, DEADLINE_SECONDS)
    broker.__enter__()
    back = asking.said
    wait_until("every question is answered again", lambda: lives() and asking.each("told", back) >= 1, DEADLINE_SECONDS)
    asking.process.communicate(timeout=DEADLINE_SECONDS)
    assert asking.process.returncode == 0, asking.tail()
