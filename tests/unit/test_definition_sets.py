"""The algebra of sets: what an apply, a rollback and a removal do to versions, to histories of features, and to what may be deleted."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.cli.definitions import SHIPPED
from services.messaging.channels.registry import HEADS
from shared.contracts.definitions import KEPT_MS, DefinitionSet, FileRef, SegmentState
from shared.definitions import sets
from shared.definitions.folder import read_folder, read_texts
from shared.definitions.segment import Segment
from shared.definitions.sets import Change, Changed, Order, changes, differs, file_changes, next_set, to_delete, used_by, without_set
from shared.definitions.text_diff import MAX_LINES, text_diff
from shared.definitions.texts import texts_below

RULES = {"buy": ("Bought", "30d"), "view": ("Viewed", "7d"), "both": ("Bought", "7d")}
NAMES = ("alpha", "beta", "gamma")
SHIPPED_TEXTS = texts_below(SHIPPED)[0]

OUTSIDE = ("", "/etc/x.yaml", "../x.yaml", "a//x.yaml", "./x.yaml", "a\\x.yaml", "a\n.yaml")

Texts = Mapping[str, str]
segments = st.dictionaries(st.sampled_from(NAMES), st.tuples(st.sampled_from(sorted(RULES)), st.sampled_from(("One", "Two"))), max_size=3)
"""Name -> (rule, title)."""


def written(said: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    texts = {}
    for name, (rule, title) in said.items():
        event, within = RULES[rule]
        texts[f"{name}.yaml"] = f"segment: {name}\ntitle: {{zh: {title}, en: {title}}}\nwhen: {{did: {event}, within: {within}}}\n"
    return texts


def applied(
    head: DefinitionSet | None, texts: Texts, now: int = 1_000, from_now: Sequence[str] = (), rolled_back_to: int | None = None
) -> DefinitionSet:
    """The next set. A segment asks one feature: its event's."""
    read = read_texts(texts, heads=HEADS)
    assert read.problems == []
    asked = {one.definition.name: frozenset({str(getattr(one.definition.when, "did", ""))}) for one in read.of(Segment)}
    order = Order("k", "ops", "because", from_now=frozenset(from_now), rolled_back_to=rolled_back_to)
    return next_set(head, read, texts, asked, order, now)


def history(said: Sequence[Mapping[str, tuple[str, str]]]) -> list[DefinitionSet]:
    found: list[DefinitionSet] = []
    for one in said:
        found.append(applied(found[-1] if found else None, written(one)))
    return found


@given(st.lists(segments, min_size=1, max_size=6))
def test_numbers_and_instants_only_grow_and_each_set_names_the_one_before(said: list[Mapping[str, tuple[str, str]]]) -> None:
    found = history(said)
    assert [one.number for one in found] == list(range(1, len(found) + 1))
    assert [one.base for one in found] == list(range(len(found)))
    instants = [one.activated_at for one in found]
    assert instants == sorted(set(instants)), "although the clock stood still"


@given(st.lists(segments, min_size=1, max_size=6))
def test_since_is_the_first_set_from_which_a_version_has_stood_without_a_break(said: list[Mapping[str, tuple[str, str]]]) -> None:
    found = history(said)
    for name, one in found[-1].by_name.items():
        began = found[-1]
        for earlier in reversed(found):
            if (same := earlier.by_name.get(name)) is None or same.version != one.version:
                break
            began = earlier
        assert one.since == began.activated_at


@given(st.lists(segments, min_size=1, max_size=6))
def test_a_feature_has_history_since_the_first_set_from_which_somebody_asked_it_without_a_break(
    said: list[Mapping[str, tuple[str, str]]],
) -> None:
    found = history(said)
    for feature, since in found[-1].features.items():
        began = next((n for n in range(len(found), 0, -1) if feature not in found[n - 1].features), 0)
        assert since == (0 if began == 0 else found[began].activated_at)
    for one in found[-1].definitions:
        young = any(found[-1].features[feature] for feature in one.features)
        assert one.state is (SegmentState.FILLING if young else SegmentState.LIVE)


@given(segments, segments)
def test_what_differs_turns_one_set_into_the_other(before: Mapping[str, tuple[str, str]], after: Mapping[str, tuple[str, str]]) -> None:
    old = applied(None, written(before))
    new = applied(old, written(after))
    files = {file.path: file.sha256 for file in old.files}
    for path, was, will in file_changes(old, new):
        assert files.get(path) == was
        files.pop(path, None)
        if will is not None:
            files[path] = will
    assert files == {file.path: file.sha256 for file in new.files}
    named = {one.name: one.change for one in changes(old, new)}
    for name in {*before, *after}:
        expected = (
            Change.ADDED
            if name not in before
            else Change.REMOVED
            if name not in after
            else Change.CHANGED
            if before[name][0] != after[name][0]
            else Change.REWORDED
            if before[name] != after[name]
            else None
        )
        assert named.get(name) is expected
    assert differs(old, new) == (before != after)


@given(segments, segments)
def test_a_rollback_has_the_files_and_the_versions_of_the_set_that_it_goes_back_to(
    before: Mapping[str, tuple[str, str]], after: Mapping[str, tuple[str, str]]
) -> None:
    first = applied(None, written(before))
    second = applied(first, written(after))
    back = applied(second, written(before), rolled_back_to=1)
    assert (back.number, back.rolled_back_to, back.files) == (3, 1, first.files)
    assert {name: one.version for name, one in back.by_name.items()} == {name: one.version for name, one in first.by_name.items()}
    assert changes(first, back) == tuple(one for one in changes(first, back) if one.change is Change.UNCHANGED), "at most states differ"


def test_a_segment_that_asks_something_new_is_filling_unless_somebody_accepts_that_it_starts_now() -> None:
    first = applied(None, written({"alpha": ("buy", "One")}))
    two = written({"alpha": ("buy", "One"), "beta": ("view", "One")})
    waiting, accepted = applied(first, two), applied(first, two, from_now=["beta"])
    assert (sorted(waiting.filling), sorted(waiting.from_now)) == (["beta"], [])
    assert (sorted(accepted.filling), sorted(accepted.from_now)) == ([], ["beta"])
    assert applied(accepted, two).from_now == {"beta"}, "it was accepted once"
    assert differs(waiting, applied(waiting, two, from_now=["beta"])), "accepting later is a set of its own, of the same files"
    assert [(one.name, one.change) for one in changes(waiting, applied(waiting, two, from_now=["beta"]))] == [("beta", Change.UNCHANGED)]
    three = written({"alpha": ("buy", "One"), "beta": ("view", "One"), "gamma": ("view", "One")})
    assert applied(accepted, three).filling == {"gamma"}, "what was accepted for one segment is not accepted for another"


def test_a_segment_that_asks_what_others_have_always_asked_is_live_at_once() -> None:
    first = applied(None, written({"alpha": ("buy", "One")}))
    assert applied(first, written({"alpha": ("buy", "One"), "beta": ("both", "One")})).filling == set()


def test_the_templates_text_is_its_version_and_a_title_is_nobodys() -> None:
    first = applied(None, SHIPPED_TEXTS)
    path = next(path for path in SHIPPED_TEXTS if path.endswith(".en.liquid"))
    second = applied(first, SHIPPED_TEXTS | {path: SHIPPED_TEXTS[path] + "\nP.S.\n"})
    assert [(one.kind, one.change) for one in changes(first, second)] == [("template", Change.CHANGED)]
    assert {one.since for one in second.definitions} == {first.activated_at, second.activated_at}


def test_who_names_a_definition_is_told_and_a_set_without_it_is_refused() -> None:
    read = read_texts(SHIPPED_TEXTS, heads=HEADS)
    users = used_by(read)
    (_, name), journeys = next((named, users) for named, users in users.items() if named[0] == "segment")
    assert all(kind == "journey" for kind, _ in journeys)
    path = next(one.file for one in read.of(Segment) if one.definition.name == name)
    without = read_texts({file: text for file, text in SHIPPED_TEXTS.items() if file != path}, heads=HEADS)
    assert [problem.message for problem in without.problems if f"there is no segment {name!r}" in problem.message]


def test_the_same_definitions_are_read_from_a_folder_and_from_texts() -> None:
    of_folder, of_texts = read_folder(SHIPPED, heads=HEADS), read_texts(SHIPPED_TEXTS, heads=HEADS)
    assert of_folder.found == of_texts.found
    assert of_folder.templates.names == of_texts.templates.names
    assert (of_folder.mistakes, of_texts.mistakes) == ((), ())


@given(
    st.dictionaries(
        st.sampled_from(("a.yaml", "b.yaml", "a/b.yaml", "a/c.yml", "t.en.liquid", "t.en.html.liquid", "a/t.de.liquid")),
        st.sampled_from((*SHIPPED_TEXTS.values(), "", "{", "segment: x", "---\ntemplate: t\n", "\x00")),
    )
)
def test_any_files_have_the_same_mistakes_in_a_folder_and_as_texts(texts: Mapping[str, str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        for path, text in texts.items():
            (Path(name) / path).parent.mkdir(exist_ok=True)
            (Path(name) / path).write_text(text, newline="")
        of_folder = read_folder(Path(name), heads=HEADS)
        assert texts_below(Path(name)) == (texts, [])
    of_texts = read_texts(texts, heads=HEADS)
    assert of_folder.mistakes == of_texts.mistakes
    assert of_folder.found == of_texts.found


@pytest.mark.parametrize(
    ("path", "why"),
    [
        *((path, "is no path below a folder") for path in OUTSIDE),
        *((path, "begins with a dot") for path in (".x.yaml", ".git/x.yaml")),
        ("/".join(["d"] * 17) + "/x.yaml", "folders may nest no deeper than 16"),
        ("x" * 300 + ".yaml", "is longer than"),
        ("x.txt", "is no definition file"),
        ("x.YAML", "is no definition file"),
        ("\ud800.yaml", "is no path below a folder"),
    ],
)
def test_a_path_that_no_folder_would_give_is_refused(path: str, why: str) -> None:
    read = read_texts({path: "identity: x\nkinds: [email]\n"})
    assert [why in problem.message for problem in read.problems] == [True]
    assert read.found == ()


def test_bounds_of_a_folder_hold_for_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "identity: x\nkinds: [email]\n"
    assert "is a file and a folder at once" in str(read_texts({"a.yaml": text, "a.yaml/b.yaml": text}).problems[0])
    assert "is larger than 1048576 bytes" in str(read_texts({"a.yaml": "#" * 1_048_577}).problems[0])
    assert "is not UTF-8" in str(read_texts({"a.yaml": "\ud800"}).problems[0])
    assert "more than 2000 definition files" in str(read_texts({f"{n}.yaml": "" for n in range(2_001)}).problems[0])
    assert "more than 16777216 bytes together" in str(read_texts({f"{n}.yaml": "#" * 1_000_000 for n in range(17)}).problems[0])


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 8))
def test_only_what_is_both_beyond_the_number_and_old_is_deleted_with_the_texts_that_nobody_else_names(ages: list[int], most: int) -> None:
    now, one = 10 * KEPT_MS, applied(None, {})
    known = [
        msgspec.structs.replace(
            one, number=n, activated_at=now - age * KEPT_MS // 2, files=(FileRef("a.yaml", f"{n // 2}"), FileRef("b.yaml", "x"))
        )
        for n, age in enumerate(sorted(ages, reverse=True), 1)
    ]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sets, "MAX_SETS", most)
        gone = to_delete(known, now)
    assert all(now - one.activated_at > KEPT_MS for one in gone)
    kept = [one for one in known if one not in gone]
    assert len(kept) <= most or all(now - one.activated_at <= KEPT_MS for one in kept[:-most])
    assert known[-1] in kept
    orphans = without_set([file.sha256 for one in known for file in one.files], kept)
    assert set(orphans) == {f.sha256 for one in gone for f in one.files} - {f.sha256 for one in kept for f in one.files}


def test_a_diff_reads_as_that_of_version_control_and_is_bounded() -> None:
    assert text_diff("a.yaml", "a\nb\n", "a\nc\n") == ["--- a/a.yaml", "+++ b/a.yaml", "@@ -1,2 +1,2 @@", " a", "-b", "+c"]
    assert text_diff("a.yaml", None, "a\n") == ["--- /dev/null", "+++ b/a.yaml", "@@ -0,0 +1 @@", "+a"]
    assert text_diff("a.yaml", "a\n", "a\n") == []
    assert "too long to compare" in text_diff("a.yaml", "a\n" * (MAX_LINES + 1), "b\n")[-1]


def test_a_change_names_both_sides() -> None:
    first = applied(None, written({"alpha": ("buy", "One")}))
    second = applied(first, written({"alpha": ("view", "One")}))
    assert changes(first, second) == (
        Changed("segment", "alpha", Change.CHANGED, first.by_name["segment", "alpha"], second.by_name["segment", "alpha"]),
    )


@pytest.mark.parametrize(
    ("before", "after", "state"), [(30, 7, SegmentState.LIVE), (7, 30, SegmentState.FILLING), (7, 7, SegmentState.LIVE)]
)
def test_a_rule_that_reaches_farther_back_than_any_has_before_has_no_history_there(before: int, after: int, state: SegmentState) -> None:
    texts = written({"alpha": ("buy", "One")})
    read = read_texts(texts)
    order = Order("k", "ops", "because")
    first = next_set(None, read, texts, {"alpha": frozenset({f"f:{before}"})}, order, 1)
    then = next_set(first, read, texts, {"alpha": frozenset({f"f:{after}"})}, order, 2)
    assert then.by_name["segment", "alpha"].state is state
