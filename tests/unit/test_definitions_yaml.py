"""Definition files as text: what YAML may say, and where an error is."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.definitions import yaml_text
from shared.definitions.files import MAX_FILE_BYTES
from shared.definitions.folder import read_folder, read_texts
from shared.definitions.models import Definition, Reference
from shared.definitions.segment import Segment
from shared.definitions.yaml_text import DefinitionError, parse

GOOD = "segment: {name}\ntitle: {{zh: 测试, en: test}}\nwhen: {{did: Order Completed}}\n"


def problems(text: str) -> list[str]:
    with pytest.raises(DefinitionError) as found:
        parse(text, "a.yaml")
    return [str(problem) for problem in found.value.problems]


def test_words_that_yaml_1_1_takes_for_something_else_are_text() -> None:
    data = parse("on: yes\nno: off\nat: 12:30\nday: 2026-06-01\nversion: 1.2.3\nphone: +86 138\n", "a.yaml").data
    assert data == {"on": "yes", "no": "off", "at": "12:30", "day": "2026-06-01", "version": "1.2.3", "phone": "+86 138"}


def test_numbers_are_exact_and_quoted_ones_are_text() -> None:
    data = parse('[0.1, 500, "500", 1e2, -3, true, null, ~, ""]', "a.yaml").data
    assert data == [Decimal("0.1"), 500, "500", Decimal("100"), -3, True, None, None, ""]
    assert type(data[1]) is int  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [b\nc: d", "a.yaml:2: no valid YAML: expected ',' or ']', but got ':'"),
        ("a: 1\nb: 2\na: 3", "a.yaml:3: a: this key stands here twice"),
        ("a: &x 1\nb: *x", "a.yaml:2: b: anchors and aliases are not supported: write it out"),
        ("a: 1\n<<: {b: 2}", "a.yaml:2: <<: merge keys are not supported: write it out"),
        ("a:\n  - !!python/name:os.system x", "a.yaml:2: a[0]: tags such as tag:yaml.org,2002:python/name:os.system are not supported"),
        ("a: !env HOME", "a.yaml:1: a: tags such as !env are not supported"),
        ("? [a, b]\n: c", "a.yaml:1: a key must be text"),
        ("a: \x00", "a.yaml:1: no valid YAML: special characters are not allowed"),
    ],
)
def test_an_error_names_its_line_and_path(text: str, expected: str) -> None:
    assert expected in problems(text)


def test_deep_nesting_is_refused_not_a_crash() -> None:
    assert "levels may nest" in problems("[" * 100 + "]" * 100)[0]
    assert "levels may nest" in problems("[" * 50_000)[0]


def test_an_anchor_of_anchors_is_refused_before_it_grows() -> None:
    layers = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))
    assert problems(f"l0: &l0 lol\n{layers}")


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    found = []
    try:
        parse(text, "a.yaml")
    except DefinitionError as error:
        found = error.problems
    assert all(problem.line >= 1 and problem.message for problem in found)


def test_a_folder_is_read_by_kind_and_by_name(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "b.yml").write_text(GOOD.format(name="zeta"))
    (tmp_path / "a.yaml").write_text(GOOD.format(name="alpha"))
    (tmp_path / ".hidden.yaml").write_text("not: [one")
    (tmp_path / "notes.txt").write_text("not: [one")
    (tmp_path / "other.yaml").write_text("other: x\n")
    assert [one.definition.name for one in read_folder(tmp_path).needed(Segment).of(Segment)] == ["alpha", "zeta"]
    assert [problem.file for problem in read_folder(tmp_path).problems] == [".hidden.yaml", "other.yaml"]


def test_every_problem_of_a_folder_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD.format(name="same"))
    (tmp_path / "b.yaml").write_text(GOOD.format(name="same"))
    (tmp_path / "c.yaml").write_text("segment: Bad Name\n")
    (tmp_path / "d.yaml").write_bytes(b"ok: 1\nsegment: \xff\n")
    (tmp_path / "e.yaml").write_text("#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(DefinitionError) as found:
        read_folder(tmp_path).needed(Segment)
    text = str(found.value)
    assert "b.yaml:1: segment: 'same' is already defined in a.yaml" in text
    assert "c.yaml:1: segment: " in text
    assert "c.yaml:1: title: is missing" in text
    assert "d.yaml:2: is not UTF-8" in text
    assert "e.yaml:1: is larger than" in text


class Pointer(Definition):
    kind: ClassVar[str] = "pointer"

    pointer: str
    to: str

    def references(self) -> Sequence[Reference]:
        return [Reference(("to",), "segment", self.to)]


def test_a_name_that_no_definition_has_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD.format(name="alpha"))
    (tmp_path / "b.yaml").write_text("pointer: good\nto: alpha\n")
    (tmp_path / "c.yaml").write_text("pointer: bad\nto: beta\n")
    found = read_folder(tmp_path, kinds={"segment": Segment, "pointer": Pointer}).problems
    assert [str(problem) for problem in found] == ["c.yaml:2: to: there is no segment 'beta'; there are alpha"]


def test_a_folder_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="is no folder"):
        read_folder(tmp_path / "absent").needed(Segment)


def test_all_files_together_have_a_bound_too_and_beyond_it_nothing_more_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_text, "MAX_NODES_TOGETHER", 100)
    many = {f"{n:02}.yaml": f"segment: s{n}\nwhen: [{'1, ' * 30}1]\n" for n in range(20)}
    for texts, told in ((dict(list(many.items())[:2]), False), (many, True)):
        read = read_texts(texts)
        beyond = [str(problem) for problem in read.problems if "100 keys, values and list entries in all files together" in str(problem)]
        assert bool(beyond) is told
    assert (len(read.problems), len(read.found)) == (1, 0)
    assert beyond[0].startswith("02.yaml:2")
    with pytest.raises(DefinitionError):
        read.needed(Segment)
