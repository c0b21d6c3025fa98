"""Definitions applied to a running worker on real Kafka and Redis: everybody is decided anew, once, whoever is killed meanwhile."""

import itertools
from collections import Counter
from pathlib import Path

import pytest
import redis
from confluent_kafka.admin import AdminClient

from deploy.local.kafka import Kafka
from deploy.local.process import Process
from deploy.local.topics import TopicSettings, ensure
from services.control.apply import run as apply
from services.control.definition_settings import ApplySettings
from shared.contracts.changes import SEGMENT_CHANGED_DECODER, ChangeReason, Transition
from shared.contracts.topics import SEGMENT_CHANGED, TOPICS
from shared.definitions.yaml_text import DefinitionError
from tests.integration.test_segmentation_worker import DAY, START, Run
from tests.integration.topic import messages
from tests.key_secrets import KEY_SECRET
from tests.waiting import wait_until

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

PEOPLE = [f"u:{number}" for number in range(300)]
SEGMENT = "segment: {name}\ntitle: {{zh: x, en: x}}\nwhen: {{did: Order Completed, within: 60d, count: {{gte: {least}}}}}\n"


@pytest.fixture
def broker(own_kafka: Kafka) -> Kafka:
    ensure(AdminClient({"bootstrap.servers": own_kafka.bootstrap}), TOPICS, TopicSettings(kafka_bootstrap=own_kafka.bootstrap))
    return own_kafka


class Applied(Run):
    """A run whose segments are applied. Time goes on with each tick."""

    def __init__(self, kafka: Kafka, redis_server: Process, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(kafka, redis_server, folder)
        self.definitions = folder / "definitions"
        self.definitions.mkdir()
        monkeypatch.setenv("RAPPORT_KAFKA_BOOTSTRAP", self.bootstrap)
        monkeypatch.setenv("RAPPORT_KEY_SECRET", KEY_SECRET)
        monkeypatch.setenv("RAPPORT_DEFINITIONS_DIR", str(self.definitions))
        self._seconds = itertools.count(1)

    def apply(self, **least: int) -> str:
        """Segment -> how many orders it asks for."""
        for name, count in least.items():
            (self.definitions / f"{name}.yaml").write_text(SEGMENT.format(name=name, least=count))
        return apply(ApplySettings())

    def pass_second(self) -> bool:
        """True, so that a condition may say it."""
        self.tick(START + DAY + 1000 * next(self._seconds))
        return True

    def reasons(self) -> Counter[tuple[str, Transition, ChangeReason | None]]:
        found = {}
        for message in messages(self.bootstrap, SEGMENT_CHANGED):
            change = SEGMENT_CHANGED_DECODER.decode(message.value() or b"")
            found[dict(message.headers() or ())["cause"]] = (change.segment, change.transition, change.reason)
        return Counter(found.values())


def test_idle_people_change_with_a_set_and_a_refold_from_zero_says_nothing_again(
    broker: Kafka, fresh_redis: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Applied(broker, fresh_redis, tmp_path, monkeypatch)
    assert run.apply(buyers=1, twice=2).endswith("set 1")
    with run.worker() as worker:
        for place, person in enumerate(PEOPLE):
            run.order(person, START + place, "1")
            if place % 3 == 0:
                run.order(person, START + DAY, "1")
        wait_until("all are in", lambda: run.pass_second() and len(run.members("buyers")) == 300 and len(run.members("twice")) == 100)
        assert run.apply(buyers=2).endswith("set 2")
        run.pass_second()
        worker.kill()
    with run.worker() as worker:
        wait_until("the others have left", lambda: run.pass_second() and run.members("buyers") == run.members("twice"))
        expected: Counter[tuple[str, Transition, ChangeReason | None]] = Counter(
            {
                ("buyers", Transition.ENTERED, ChangeReason.EVENT): 300,
                ("twice", Transition.ENTERED, ChangeReason.EVENT): 100,
                ("buyers", Transition.LEFT, ChangeReason.DEFINITION): 200,
            }
        )
        wait_until("each was said", lambda: run.reasons() == expected)
        worker.kill()
    with redis.Redis.from_url(run.redis_url) as client:
        client.flushall()
    with run.worker():
        wait_until("it is made anew", lambda: run.pass_second() and len(run.members("buyers")) == 100 == len(run.members("twice")))
        assert run.reasons() == expected
    assert run.apply() == "the folder of definitions is known"


def test_a_wrong_folder_reaches_no_slot(broker: Kafka, fresh_redis: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Applied(broker, fresh_redis, tmp_path, monkeypatch)
    before = int(run.apply(buyers=7).rpartition(" ")[2])
    (run.definitions / "wrong.yaml").write_text("segment: wrong\n")
    with pytest.raises(DefinitionError, match=r"wrong\.yaml"):
        run.apply()
    (run.definitions / "wrong.yaml").unlink()
    assert run.apply(buyers=8).endswith(f"set {before + 1}")
