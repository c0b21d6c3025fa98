"""From files to a set: what is refused, what is said before anything is changed, and what a folder at the start may do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.cli.definitions import SHIPPED
from services.control.apply import applied
from services.control.channels import HEADS
from services.control.definition_settings import ApplySettings
from services.control.domain.applying import MOST_PROBLEMS, Proposal, kinds_of, proposal
from services.control.domain.folder import BY, AtStart, at_start, order
from services.control.domain.versions import changed_by, diffs, messages, stood
from shared.contracts.definitions import DefinitionSet, SegmentState
from shared.definitions.sets import Order, file_changes
from shared.definitions.texts import texts_below
from shared.definitions.yaml_text import DefinitionError
from tests.definition_log import MemoryDefinitionLog

IDENTITY = {"identity.yaml": "identity: people\nkinds: [email]\n"}
OPS = Order("k", "ops", "because")


def segment(name: str, when: str, title: str = "Title") -> dict[str, str]:
    return {f"{name}.yaml": f"segment: {name}\ntitle: {{zh: {title}, en: {title}}}\nwhen: {when}\n"}


BOUGHT, VIEWED, DAYS = "{did: Bought, within: 30d}", "{did: Viewed, within: 7d}", "{did: Bought, within: 90d, count: {gte: 2}}"


def proposed(head: DefinitionSet | None, *parts: Mapping[str, str], order: Order = OPS, now: int = 1_000) -> Proposal:
    texts: dict[str, str] = {}
    for part in parts:
        texts |= part
    return proposal(head, texts, order, now, HEADS)


def test_every_mistake_is_told_with_file_and_line_and_nothing_is_proposed() -> None:
    wrong = {"a.yaml": "segment: a\nwhen: {did: 7}\n", "b.yaml": "{", "c.yaml": "journey: c\n"}
    with pytest.raises(DefinitionError) as error:
        proposal(None, wrong, OPS, 1, HEADS)
    assert {problem.file for problem in error.value.problems} == {"a.yaml", "b.yaml", "c.yaml"}
    assert all(problem.line >= 1 and problem.message for problem in error.value.problems)


def test_what_is_wrong_without_end_is_told_up_to_a_bound() -> None:
    with pytest.raises(DefinitionError) as error:
        proposal(None, {f"{n}.yaml": "{" for n in range(MOST_PROBLEMS + 50)}, OPS, 1, HEADS)
    assert len(error.value.problems) == MOST_PROBLEMS
    assert error.value.problems[-1].message == "and 51 problems more"


@pytest.mark.parametrize(
    ("before", "after", "fits"),
    [
        ("[phone, email]", "[phone, email]", True),
        ("[phone, email]", "[phone, email, crm]", True),
        ("[phone, email]", "[email, phone]", False),
        ("[phone, email]", "[phone]", False),
        ("[phone, email]", "[crm, phone, email]", False),
    ],
)
def test_kinds_of_ids_are_only_added_behind_those_that_are_there(before: str, after: str, fits: bool) -> None:
    old, new = ({"identity.yaml": f"identity: people\nkinds: {kinds}\n"} for kinds in (before, after))
    head = proposal(None, old, OPS, 1, HEADS).wanted
    if fits:
        assert proposal(head, new, OPS, 2, HEADS, kinds_of(old)).wanted.number == 2
    else:
        with pytest.raises(DefinitionError, match=r"identity.yaml:2: kinds: .*strongest first: keep these"):
            proposal(head, new, OPS, 2, HEADS, kinds_of(old))


def test_an_identity_file_that_goes_is_refused_where_it_had_said_something_else_than_holds_without() -> None:
    old = {"identity.yaml": "identity: people\nkinds: [crm]\n"}
    head = proposal(None, old, OPS, 1, HEADS).wanted
    with pytest.raises(DefinitionError, match="the identity file is gone"):
        proposal(head, {}, OPS, 2, HEADS, kinds_of(old))


def test_nobody_accepts_by_a_misspelt_name_that_a_segment_starts_from_now() -> None:
    with pytest.raises(DefinitionError, match="there is no segment 'vipp' to start from now"):
        proposed(None, segment("vip", BOUGHT), order=Order("k", "ops", "", from_now=frozenset({"vipp"})))


def test_the_plan_says_which_segments_will_be_filling_and_how_to_accept_that_they_start_now() -> None:
    first = proposed(None, segment("vip", BOUGHT)).wanted
    assert messages(proposed(None, segment("vip", BOUGHT)).changes, None, first) == [], "of the first set all are live"
    second = proposed(first, segment("vip", BOUGHT), segment("seen", VIEWED))
    assert second.wanted.filling == {"seen"}
    told = messages(second.changes, first, second.wanted)
    assert len(told) == 1
    assert "Segment seen asks what was not counted before" in told[0]
    assert "from_now seen" in told[0]
    losing = proposed(first, segment("vip", VIEWED))
    assert any("Segment vip has members now: they leave it" in line for line in messages(losing.changes, first, losing.wanted))


def test_a_plan_without_a_file_is_a_wrong_folder_and_not_the_end_of_all_definitions() -> None:
    first = proposed(None, segment("vip", BOUGHT)).wanted
    with pytest.raises(DefinitionError, match="holds no definition"):
        proposed(first)
    assert not proposed(None).differs, "an installation may begin without any"


def test_who_takes_a_segment_away_is_told_that_it_comes_back_without_history() -> None:
    first = proposed(None, segment("vip", BOUGHT), segment("seen", VIEWED))
    second = proposed(first.wanted, segment("vip", BOUGHT))
    [told] = messages(second.changes, first.wanted, second.wanted)
    assert "Segment seen is taken away" in told
    assert "by a rollback too, it has no history" in told
    assert proposed(second.wanted, segment("vip", BOUGHT), segment("seen", VIEWED)).wanted.filling == {"seen"}


def test_who_takes_a_journey_or_a_template_away_is_told_what_becomes_of_those_inside() -> None:
    hello = {"hello.en.liquid": "---\ntemplate: hello\nchannel: email\nclass: marketing\nlocale: en\nsubject: Hi\n---\nHello\n"}
    greet = {
        "greet.yaml": "journey: greet\ntitle: {zh: x, en: x}\nenter: {on: segment.entered, segment: vip}\n"
        "steps:\n  - send: {channel: email, template: hello}\n"
    }
    first = proposed(None, segment("vip", BOUGHT), greet, hello).wanted
    without = proposed(first, segment("vip", BOUGHT))
    told = messages(without.changes, first, without.wanted)
    assert [line.split(" is taken away: ")[0] for line in told] == ["Journey greet", "Template hello"]
    assert "Those inside go on to its end" in told[0]
    assert "does not get it" in told[1]


def test_a_segment_over_one_that_starts_from_now_knows_no_more_than_that() -> None:
    first = proposed(None, segment("vip", BOUGHT)).wanted
    over = segment("others", "{none: [{in_segment: seen}]}") | segment("vip", BOUGHT)
    accepted = Order("k", "ops", "", from_now=frozenset({"seen"}))
    second = proposed(first, over, segment("seen", VIEWED), order=accepted).wanted
    assert second.from_now == {"seen", "others"}


def test_a_zone_that_changes_is_a_set_of_its_own_and_windows_in_days_ask_anew() -> None:
    files = {**segment("calm", "{did: Bought, within: 20h}"), **segment("vip", DAYS)}
    first = proposed(None, files).wanted
    moved = proposed(first, files, order=Order("k", "ops", "", zone="Asia/Shanghai"))
    assert moved.differs
    assert moved.wanted.filling == {"vip"}, "days of another zone were not counted"
    assert moved.wanted.by_name["segment", "calm"].since == first.activated_at
    assert moved.wanted.by_name["segment", "vip"].since == moved.wanted.activated_at
    assert any("from UTC to Asia/Shanghai" in line for line in messages(moved.changes, first, moved.wanted))


def test_the_shipped_definitions_are_a_set_and_nothing_differs_the_second_time() -> None:
    texts = texts_below(SHIPPED)[0]
    first = proposal(None, texts, OPS, 1_000, HEADS)
    assert first.differs
    assert not proposal(first.wanted, texts, OPS, 2_000, HEADS).differs
    assert all(one.state is SegmentState.LIVE for one in first.wanted.definitions if one.kind == "segment")
    assert all(one.features for one in first.wanted.definitions if one.kind == "segment")


def test_versions_of_a_definition_say_when_each_stood() -> None:
    sets = [proposed(None, segment("vip", BOUGHT)).wanted]
    for when, title in ((BOUGHT, "Other"), (VIEWED, "Other")):
        sets.append(proposed(sets[-1], segment("vip", when, title)).wanted)
    sets.append(proposed(sets[-1], IDENTITY).wanted)
    sets.append(proposed(sets[-1], IDENTITY, segment("vip", BOUGHT)).wanted)
    found = stood(sets, "segment", "vip")
    assert [(one.first.number, one.until) for one in found] == [(5, None), (3, sets[3].activated_at), (1, sets[2].activated_at)]
    assert stood(sets, "segment", "nobody") == []


def test_what_each_set_changed_is_known_unless_the_one_before_is_gone() -> None:
    first = proposed(None, segment("vip", BOUGHT)).wanted
    second = proposed(first, segment("vip", VIEWED)).wanted
    assert [one.change for one in changed_by([first, second], 0) or ()] == ["added"]
    assert [one.change for one in changed_by([first, second], 1) or ()] == ["changed"]
    assert changed_by([second], 0) is None


def test_diffs_of_a_plan_are_bounded_together() -> None:
    first = proposed(None, segment("a", BOUGHT), segment("b", BOUGHT)).wanted
    second = proposed(first, segment("a", VIEWED), segment("b", VIEWED)).wanted
    before, after = {**segment("a", BOUGHT), **segment("b", BOUGHT)}, {**segment("a", VIEWED), **segment("b", VIEWED)}
    whole = diffs(file_changes(first, second), before, after, 1_000)
    assert [len(lines) for _, lines in whole] == [7, 7]
    cut = diffs(file_changes(first, second), before, after, 5)
    assert [lines[-1] for _, lines in cut] == ["the rest is left out: the plan has too many lines"] * 2
    assert sum(map(len, (lines for _, lines in cut))) == 5 + 2


@pytest.fixture
def log() -> MemoryDefinitionLog:
    return MemoryDefinitionLog()


def start(log: MemoryDefinitionLog, folder: Path, **settings: Any) -> str:
    """As the job does at a start."""
    wanted = ApplySettings(kafka_bootstrap="unused", definitions_dir=folder, **settings)
    used: Any = log
    return applied(wanted, log.topic, used, used)


def written(folder: Path, texts: Mapping[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for path, text in texts.items():
        (folder / path).write_text(text)
    return folder


def test_the_first_start_applies_the_folder_and_the_next_one_leaves_it(log: MemoryDefinitionLog, tmp_path: Path) -> None:
    folder = written(tmp_path / "f", segment("vip", BOUGHT))
    assert start(log, folder) == "the folder of definitions was applied as set 1"
    assert start(log, folder) == "the folder of definitions is known"
    assert [(one.number, one.applied_by) for one in log.topic.sets] == [(1, BY)]
    assert log.activated == [1, 1], "partitions are looked at all the same"


def test_what_was_applied_by_the_api_outlives_a_start_until_the_folder_itself_changes(log: MemoryDefinitionLog, tmp_path: Path) -> None:
    folder = written(tmp_path / "f", segment("vip", BOUGHT))
    start(log, folder)
    by_api = proposed(log.topic.head, segment("vip", VIEWED))
    log.write(by_api.wanted, by_api.texts)
    start(log, folder)
    assert log.topic.head == by_api.wanted
    written(folder, segment("vip", DAYS))
    assert start(log, folder).startswith("the folder of definitions was applied as set 3;")


def test_a_segment_that_is_new_in_the_folder_is_filling_until_somebody_accepts_that_it_starts_from_now(
    log: MemoryDefinitionLog, tmp_path: Path
) -> None:
    folder = written(tmp_path / "f", segment("vip", BOUGHT))
    start(log, folder)
    written(folder, segment("lapsed", "{did_not: Viewed, within: 90d}"))
    told = start(log, folder)
    head = log.topic.head
    assert head is not None
    assert (sorted(head.from_now), sorted(head.filling)) == ([], ["lapsed"])
    assert told.startswith("the folder of definitions was applied as set 2; filling")
    assert "--from-now lapsed" in told
    texts, _ = texts_below(folder)
    accepted = proposed(head, texts, order=Order("k", "ops", "yes", from_now=frozenset({"lapsed"})))
    log.write(accepted.wanted, accepted.texts)
    assert start(log, folder) == "the folder of definitions is known", "what somebody has accepted stays"
    written(folder, segment("other", BOUGHT, "Another"))
    start(log, folder)
    head = log.topic.head
    assert head is not None
    assert (sorted(head.from_now), sorted(head.filling)) == (["lapsed"], [])


def test_a_new_time_zone_is_applied_at_the_start(log: MemoryDefinitionLog, tmp_path: Path) -> None:
    folder = written(tmp_path / "f", segment("vip", DAYS))
    start(log, folder)
    start(log, folder, timezone="Asia/Shanghai")
    assert [one.zone for one in log.topic.sets] == ["UTC", "Asia/Shanghai"]


@pytest.mark.parametrize("settings", [{"timezone": "Asia/Shanghai"}, {"default_locale": "zh"}])
def test_a_time_zone_or_locale_of_its_own_takes_away_nothing_that_was_applied_by_the_api(
    log: MemoryDefinitionLog, tmp_path: Path, settings: dict[str, str]
) -> None:
    folder = written(tmp_path / "f", segment("vip", BOUGHT))
    start(log, folder)
    by_api = proposed(log.topic.head, segment("vip", BOUGHT), segment("seen", VIEWED))
    log.write(by_api.wanted, by_api.texts)
    assert "what holds was applied under the time zone and the locale of the settings as set 3" in start(log, folder, **settings)
    head = log.topic.head
    assert head is not None
    assert {one.name for one in head.definitions} == {"vip", "seen"}
    assert start(log, folder, **settings) == "the folder of definitions is known", "this set is none of the folder's"
    written(folder, segment("vip", DAYS))
    assert start(log, folder, **settings).startswith("the folder of definitions was applied as set 4")


def test_a_folder_with_mistakes_is_never_applied(log: MemoryDefinitionLog, tmp_path: Path) -> None:
    folder = written(tmp_path / "f", {"a.yaml": "{"})
    with pytest.raises(DefinitionError, match=r"a\.yaml:1"):
        start(log, folder)
    assert log.topic.head is None


def test_a_folder_that_says_what_the_newest_set_says_is_known() -> None:
    by_api = proposed(None, segment("vip", BOUGHT)).wanted
    assert at_start([by_api], segment("vip", BOUGHT), "UTC", "en") is AtStart.NOTHING
    assert at_start([by_api], segment("vip", BOUGHT), "UTC", "de") is AtStart.WHAT_HOLDS
    assert not order(AtStart.FOLDER, "UTC", "en").from_now, "nobody has accepted anything"
