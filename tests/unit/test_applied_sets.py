"""Who goes by the newest set goes by it as soon as it has been read, never by half of one, and reads it once."""

import threading
from typing import Any

import pytest

from services.messaging.channels.registry import HEADS
from services.messaging.main import rules_of
from services.query.adapters.definitions import known_segments
from shared.adapters import applied_sets
from shared.adapters.applied_sets import KEPT, AppliedSets, OfNow
from shared.contracts.definitions import DefinitionSet, set_record, text_record
from shared.definitions.applied import external_kinds
from shared.definitions.folder import read_texts
from shared.definitions.segment import Segment
from shared.definitions.sets import Order, next_set
from shared.definitions.yaml_text import DefinitionError
from shared.runtime.ports import StoreAway
from tests.definition_log import MemoryTopic
from tests.key_secrets import SECRETS

SEGMENT = "segment: {}\ntitle: {{zh: x, en: x}}\nwhen: {{did: Bought, within: 7d}}\n"
IDENTITY = "identity: people\nkinds: {}\n"
HELLO = "---\ntemplate: hello\nsubject: {}\nchannel: email\nclass: transactional\nlocale: en\n---\nHello.\n"


class World:
    """A log in memory, and whoever goes by it."""

    def __init__(self) -> None:
        self.topic = MemoryTopic()
        self.sets = AppliedSets(self.topic, HEADS)
        self.topic._on_change = self.sets._came
        self._head: DefinitionSet | None = None

    def apply(self, *, whole: bool = True, **texts: str) -> DefinitionSet:
        files = {f"{name.replace('_en_', '.en.').replace('_', '.')}": text for name, text in texts.items()}
        read = read_texts(files, heads=HEADS)
        self._head = next_set(
            self._head, read, files, {one.definition.name: frozenset() for one in read.of(Segment)}, Order("k", "ops", "why"), 1_000
        )
        if whole:
            self.topic.told(*(text_record(text.encode()) for text in files.values()))
        self.topic.told(set_record(self._head, SECRETS))
        return self._head


def test_ids_segments_and_templates_are_those_of_the_newest_set() -> None:
    world = World()
    kinds = OfNow(world.sets, external_kinds)
    segments = OfNow(world.sets, known_segments)
    rules = OfNow(world.sets, rules_of)
    assert (kinds(), segments()) == (("wecom", "phone", "email"), ())
    with pytest.raises(StoreAway, match="no definitions were ever applied"):
        rules()
    world.apply(i_yaml=IDENTITY.format("[card]"), a_yaml=SEGMENT.format("a"), hello_en_liquid=HELLO.format("One"))
    assert kinds() == ("card",)
    assert [one.key for one in segments()] == ["a"]
    assert "One" in rules().templates.of("hello")["en"].head.model_dump_json()
    world.apply(b_yaml=SEGMENT.format("b"), hello_en_liquid=HELLO.format("Two"))
    assert kinds() == ("wecom", "phone", "email")
    assert [one.key for one in segments()] == ["b"]
    assert "Two" in rules().templates.of("hello")["en"].head.model_dump_json()


def test_a_set_that_is_not_whole_leaves_the_one_before_in_force() -> None:
    world = World()
    kinds = OfNow(world.sets, external_kinds)
    world.apply(i_yaml=IDENTITY.format("[card]"))
    world.apply(i_yaml=IDENTITY.format("[card, email]"), whole=False)
    assert kinds() == ("card",)


def test_what_a_release_cannot_read_is_said_and_not_taken_for_nothing() -> None:
    world = World()
    kinds = OfNow(world.sets, external_kinds)
    world.apply(i_yaml="identity: people\nkinds: [card]\nof_a_newer_release: 1\n")
    with pytest.raises(DefinitionError, match="of_a_newer_release"):
        kinds()


def test_a_set_is_read_once_by_the_thread_that_follows_and_of_a_history_only_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    by: list[str] = []

    def reading(*args: Any, **more: Any) -> Any:
        by.append(threading.current_thread().name)
        return read_texts(*args, **more)

    monkeypatch.setattr(applied_sets, "read_texts", reading)
    world = World()
    kinds = OfNow(world.sets, external_kinds)
    world.topic.away = True  # it has not been read to its end yet
    for kind in ("[ka]", "[ka, kb]", "[ka, kb, kc]"):
        world.apply(i_yaml=IDENTITY.format(kind))
    assert by == []
    world.topic.away = False
    assert kinds() == ("ka", "kb", "kc")
    follower = threading.Thread(target=lambda: world.apply(i_yaml=IDENTITY.format("[ka, kb, kc, kd]")), name="follower")
    follower.start()
    follower.join()
    assert [kinds() for _ in range(3)] == [("ka", "kb", "kc", "kd")] * 3
    assert by == ["MainThread", "follower"]


def test_who_asks_for_a_set_does_not_wait_while_another_is_read() -> None:
    world = World()
    one = world.apply(i_yaml=IDENTITY.format("[ka]"))
    with world.sets._lock:
        assert world.sets.at(one.activated_at) is None
    assert world.sets.at(one.activated_at) is not None


def test_few_sets_are_kept_read() -> None:
    world = World()
    found = [world.apply(i_yaml=IDENTITY.format([f"k{n}"])) for n in range(3 * KEPT)]
    for one in found:
        assert world.sets.at(one.activated_at) is not None
    assert len(world.sets._read) <= KEPT
