"""Definitions on real Kafka: of two who apply at once one wins, who dies on the way leaves nothing half, and every partition is told."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import msgspec
import pytest
from confluent_kafka.admin import AdminClient

from deploy.local.kafka import Kafka
from deploy.local.topics import TopicSettings, ensure
from shared.adapters import definition_writer
from shared.adapters.definition_activations import DefinitionActivations
from shared.adapters.definition_topic import DefinitionTopic
from shared.adapters.definition_writer import BaseMoved, DefinitionWriter, HistoryFull, Overtaken
from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.definitions import (
    ACTIVATED_KEY,
    ENCODER,
    KEPT_MS,
    DefinitionActivated,
    DefinitionSet,
    set_record,
    text_hash,
)
from shared.contracts.key_signature import KeySecrets
from shared.contracts.topics import DEFINITION_ACTIVATED, DEFINITION_CHANGED, TOPICS
from shared.definitions import sets
from tests.integration.definition_applier import PREFIX, made
from tests.key_secrets import KEY_SECRET, SECRETS
from tests.waiting import wait_until

pytestmark = [pytest.mark.real, pytest.mark.timeout(280)]

PARTITIONS = 5
WANTED = [topic for topic in TOPICS if topic.name in (DEFINITION_CHANGED, DEFINITION_ACTIVATED)]


@pytest.fixture
def kafka(own_kafka: Kafka) -> KafkaConnection:
    """A broker on which nothing was applied yet."""
    admin = AdminClient({"bootstrap.servers": own_kafka.bootstrap})
    there = [topic.name for topic in WANTED if topic.name in admin.list_topics(timeout=30).topics]
    for outcome in (admin.delete_topics(there) if there else {}).values():
        outcome.result(30)
    wait_until("topics are gone", lambda: not set(there) & set(admin.list_topics(timeout=30).topics))
    ensure(admin, tuple(WANTED), TopicSettings(kafka_bootstrap=own_kafka.bootstrap, partitions=PARTITIONS))
    return KafkaConnection(own_kafka.bootstrap)


class Control:
    """A process that applies, as far as the log sees it."""

    def __init__(self, kafka: KafkaConnection, secrets: KeySecrets = SECRETS) -> None:
        self.topic = DefinitionTopic(kafka, "control", secrets)
        self.topic.start()
        assert self.topic.wait(60)
        self.writer = DefinitionWriter(kafka, PREFIX, self.topic, secrets)
        self.activations = DefinitionActivations(kafka, "control")

    def apply(self, word: str, now_ms: int | None = None) -> DefinitionSet:
        one, texts = made(self.topic.head, word, now_ms)
        self.writer.write(one, texts)
        return one

    def close(self) -> None:
        self.topic.stop()
        self.activations.close()


@pytest.fixture
def control(kafka: KafkaConnection) -> Iterator[Control]:
    control = Control(kafka)
    yield control
    control.close()


@pytest.fixture
def other(kafka: KafkaConnection) -> Iterator[Control]:
    other = Control(kafka)
    yield other
    other.close()


def test_what_was_applied_is_there_for_whoever_asks_next_and_a_text_stands_in_the_log_once(control: Control, other: Control) -> None:
    first, second = control.apply("one"), control.apply("two")
    assert control.topic.sets == [first, second], "it is read before the call returns"
    assert other.topic.caught_up(60)
    assert other.topic.sets == [first, second]
    assert other.topic.texts(second)["a.yaml"] == "a: two\n"
    assert len(other.topic.known_texts) == 7
    assert other.topic._next == 7 + 2 + 2, "seven texts, two sets, and what marks the end of each transaction"


def test_who_made_a_set_from_an_older_head_is_refused_and_writes_nothing(control: Control, other: Control) -> None:
    stale, texts = made(other.topic.head, "late")
    control.apply("one")
    with pytest.raises(BaseMoved) as refused:
        other.writer.write(stale, texts)
    assert (refused.value.base, refused.value.head) == (0, 1)
    assert other.topic.sets == control.topic.sets
    assert text_hash(b"a: late\n") not in other.topic.known_texts


def test_of_two_who_apply_on_one_head_exactly_one_wins_again_and_again(control: Control, other: Control) -> None:
    outcomes: list[str] = []
    for round_ in range(6):
        both = [(one, *made(control.topic.head, f"{round_}-{name}")) for one, name in ((control, "left"), (other, "right"))]
        barrier = threading.Barrier(2)
        found: list[str] = []

        def apply(
            one: Control, wanted: DefinitionSet, texts: dict[str, str], barrier: threading.Barrier = barrier, found: list[str] = found
        ) -> None:
            barrier.wait()
            try:
                one.writer.write(wanted, texts)
            except (BaseMoved, Overtaken) as refused:
                found.append(type(refused).__name__)
            else:
                found.append(f"won {wanted.why}")

        threads = [threading.Thread(target=apply, args=each) for each in both]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        won = [one for one in found if one.startswith("won")]
        assert control.topic.caught_up(60)
        assert other.topic.caught_up(60)
        assert control.topic.sets == other.topic.sets
        head = control.topic.head
        assert head is not None
        assert (head.number, won) == (round_ + 1, [f"won {head.why}"]), found
        outcomes += found
    assert len(outcomes) == 12


def test_a_writer_that_has_read_before_another_began_cannot_commit(
    control: Control, other: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands still behind its comparison while the other applies; then it goes on."""
    passed: list[str] = []

    def stop_once(name: str) -> None:
        if name == "definitions.before_set" and not passed:
            passed.append(name)
            other.apply("the quicker one")

    monkeypatch.setattr(definition_writer, "failpoint", stop_once)
    slow, texts = made(control.topic.head, "the slower one")
    with pytest.raises(BaseMoved):
        control.writer.write(slow, texts)
    assert passed
    assert [one.why for one in control.topic.sets] == ["the quicker one"]
    assert text_hash(b"a: the slower one\n") not in control.topic.known_texts, "its texts were written and are not seen"


def killed(kafka: KafkaConnection, base: int, word: str, failpoint: str) -> None:
    """Apply in a process of its own, which dies at the failpoint."""
    argv = [sys.executable, "-m", "tests.integration.definition_applier", kafka.bootstrap, str(base), word]
    done = subprocess.run(
        argv, env={**os.environ, "RAPPORT_FAILPOINT": failpoint}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("failpoint", ["definitions.before_set", "definitions.before_commit"])
def test_killed_before_the_commit_nothing_is_seen_and_the_next_one_applies(
    kafka: KafkaConnection, control: Control, failpoint: str
) -> None:
    first = control.apply("one")
    killed(kafka, 1, "never", failpoint)
    assert control.topic.caught_up(60), "what is still open keeps nobody from reading what was before"
    assert control.topic.head == first
    second = control.apply("two")
    fresh = Control(kafka)
    assert fresh.topic.sets == [first, second]
    assert {one.why for one in fresh.topic.sets} == {"one", "two"}
    assert text_hash(b"a: never\n") not in fresh.topic.known_texts
    fresh.close()


def test_every_partition_is_told_once_and_what_the_dead_one_left_out_is_mended(kafka: KafkaConnection, control: Control) -> None:
    assert control.activations.newest() == dict.fromkeys(range(PARTITIONS))
    first = control.apply("one")
    assert control.activations.complete(first) == list(range(PARTITIONS))
    assert control.activations.complete(first) == []
    killed(kafka, 1, "two", "definitions.in_activation")
    assert control.topic.caught_up(60)
    second = control.topic.head
    assert second is not None
    newest = {p: found.number for p, found in control.activations.newest().items() if found}
    assert sorted(newest.values()) == [1] * 3 + [2] * 2
    assert control.activations.complete(second) == [p for p, number in newest.items() if number == 1]
    assert set(control.activations.newest().values()) == {DefinitionActivated(2, second.activated_at)}
    assert control.activations.complete(first) == [], "an older set takes nobody back"


def test_what_cannot_be_read_in_a_partition_is_mended_too(kafka: KafkaConnection, control: Control) -> None:
    first = control.apply("one")
    control.activations.complete(first)
    junk = kafka.producer({})
    junk.produce(DEFINITION_ACTIVATED, b"{", ACTIVATED_KEY, partition=3)
    assert junk.flush(30) == 0
    assert control.activations.complete(first) == [3]


def test_a_set_that_nobody_of_this_installation_signed_takes_no_place(kafka: KafkaConnection, control: Control) -> None:
    first = control.apply("one")
    forged, _ = made(first, "forged")
    stranger = kafka.producer({})
    for record in (
        set_record(forged, KeySecrets.parse("x" * 40)),
        msgspec.structs.replace(set_record(forged, SECRETS), value=ENCODER.encode(msgspec.structs.replace(forged, why="other"))),
    ):
        stranger.produce(DEFINITION_CHANGED, record.value, record.key, partition=0, headers=list(record.headers))
    assert stranger.flush(30) == 0
    assert control.topic.caught_up(60)
    assert control.topic.head == first
    assert control.apply("two").number == 2


def test_when_a_secret_is_replaced_every_set_is_signed_anew_in_its_order(kafka: KafkaConnection, control: Control) -> None:
    before = [control.apply(word) for word in ("one", "two", "three")]
    newer = "newer-" + KEY_SECRET
    both = Control(kafka, KeySecrets.parse(f"{newer} {KEY_SECRET}"))
    assert both.topic.signed_by_older
    assert both.writer.sign_anew() == 3
    assert (both.topic.signed_by_older, both.writer.sign_anew()) == (False, 0)
    both.close()
    alone = Control(kafka, KeySecrets.parse(newer))
    assert alone.topic.sets == before
    alone.close()


def test_sets_beyond_the_bounds_go_with_the_texts_that_they_had_alone_and_young_ones_never(
    control: Control, other: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sets, "MAX_SETS", 2)
    for place, word in enumerate(("one", "two", "three")):
        control.apply(word, now_ms=1_000 + place)
    assert len(control.topic.sets) == 3, "none is old enough"
    newest = control.apply("four", now_ms=KEPT_MS + 1_002)
    assert other.topic.caught_up(60)
    for topic in (control.topic, other.topic):
        assert [one.why for one in topic.sets] == ["three", "four"]
        assert text_hash(b"a: one\n") not in topic.known_texts
        assert topic.texts(newest)["same.yaml"] == "the same in every set\n", "that an older set had too"


def test_when_history_is_full_of_what_may_not_go_nothing_is_applied_and_it_says_why(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = control.apply("one")
    monkeypatch.setattr(definition_writer, "MAX_HISTORY_BYTES", 50)
    with pytest.raises(HistoryFull, match="more than 50 bytes"):
        control.apply("two")
    monkeypatch.undo()
    monkeypatch.setattr(definition_writer, "MOST_SETS", 1)
    with pytest.raises(HistoryFull, match="1 sets are kept"):
        control.apply("two")
    assert control.topic.sets == [first]
