"""LANGUAGE.md: its examples are definitions that a service would start with, its tests pass, and it speaks of every key."""

import re
from pathlib import Path

import pytest

from deploy.local.settings import PROJECT
from services.messaging.channels.registry import HEADS
from services.segmentation.rehearsal import rehearse
from shared.definitions.folder import Definitions, read_folder
from shared.definitions.journey import Caps, Enter, SendWhat
from shared.definitions.kinds import KINDS
from shared.definitions.models import Part
from shared.definitions.rules import Aggregate, Condition
from shared.definitions.segment import Given, Segment, SegmentTest
from shared.rules.leaves import LEAVES
from shared.rules.rule import leaves_of

TEXT = (PROJECT / "shared" / "definitions" / "LANGUAGE.md").read_text()
YAML = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
LIQUID = re.findall(r"^`([\w.]+\.liquid)`:\n```liquid\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PARTS: list[type[Part]] = [*KINDS.values(), Caps, Enter, SendWhat, Aggregate, Condition, *LEAVES]


@pytest.fixture
def written(tmp_path: Path) -> Definitions:
    """All examples, as one folder."""
    for number, example in enumerate(YAML):
        (tmp_path / f"{number}.yaml").write_text(example)
    for name, example in LIQUID:
        (tmp_path / name).write_text(example)
    return read_folder(tmp_path, heads=HEADS)


def test_every_example_is_a_definition_and_there_is_one_of_each_kind(written: Definitions) -> None:
    assert written.problems == []
    assert {one.definition.kind for one in written.found} == set(KINDS)
    assert len(written.found) == len(YAML)
    assert len(LIQUID) == TEXT.count("```liquid")
    assert [template.html is not None for template in written.templates.of("greeting").values()] == [True]


def test_the_tests_in_the_examples_pass(written: Definitions) -> None:
    by_name = {one.definition.name: one.definition for one in written.of(Segment)}
    outcomes = [outcome for one in written.of(Segment) for outcome in rehearse(one.definition, "UTC", by_name)]
    assert [outcome.passed for outcome in outcomes] == [True, True]


def test_every_leaf_has_an_example(written: Definitions) -> None:
    asked = {type(leaf) for one in written.of(Segment) for _, leaf in leaves_of(one.definition.when)}
    assert asked == set(LEAVES)


@pytest.mark.parametrize("part", [*PARTS, Given, SegmentTest, *HEADS.values()], ids=lambda part: part.__name__)
def test_every_key_is_spoken_of(part: type[Part]) -> None:
    names = {field.alias or name for name, field in part.model_fields.items()}
    assert {name for name in names if not re.search(rf"\b{name}\b", TEXT)} == set()
