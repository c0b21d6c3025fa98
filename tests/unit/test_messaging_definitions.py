"""Journey, template and consent files: what they mean, and what is said about wrong ones."""

from pathlib import Path

import pytest

from deploy.local.settings import PROJECT
from services.messaging.channels.registry import HEADS
from services.messaging.domain.admission import Rules
from services.messaging.domain.passages import Plan
from services.messaging.domain.planning import plans
from shared.contracts.journey_blob import SendStep, WaitStep
from shared.definitions.consent import ConsentPolicy
from shared.definitions.durations import DAY_MS
from shared.definitions.folder import Definitions, read_folder
from shared.definitions.journey import Journey
from shared.definitions.segment import Segment
from shared.definitions.template import TemplateHead, Templates
from shared.definitions.yaml_text import DefinitionError

SHIPPED = PROJECT / "deploy" / "definitions"
HEAD = "---\ntemplate: hello\nchannel: email\nclass: {}\nlocale: {}\nsubject: Hello\n---\n"
JOURNEY = """\
journey: greet
title: {zh: 问候, en: Greet}
enter: {on: segment.entered, segment: important}
once_per: 90d
caps: {per: 7d, messages: 2}
steps:
  - send: {channel: email, template: hello, expires: 2d}
  - wait: 3d
  - send: {channel: email, template: hello}
  - exit
  - wait: 1d
"""


def read(folder: Path, default_locale: str = "en") -> Definitions:
    """What messaging reads at its start. Raises DefinitionError."""
    return read_folder(folder, default_locale, heads=HEADS).needed(Journey, Segment, TemplateHead, ConsentPolicy)


def planned(folder: Path) -> dict[str, list[Plan]]:
    found = read(folder)
    return plans(found.of(Journey), found.templates)


def problems(folder: Path) -> list[str]:
    """Everything that is wrong in `folder`."""
    try:
        read(folder)
    except DefinitionError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "greet.yaml").write_text(JOURNEY)
    (tmp_path / "important.yaml").write_text("segment: important\ntitle: {zh: 重要, en: Important}\nwhen: {did: Order Completed}\n")
    (tmp_path / "hello.en.liquid").write_text(HEAD.format("marketing", "en") + "Hello {{ person.firstName | default: 'you' }}\n")
    return tmp_path


def test_a_journey_file_becomes_a_plan(folder: Path) -> None:
    [plan] = planned(folder)["important"]
    assert (plan.journey, plan.segment, plan.guard) == ("greet", "important", 90 * DAY_MS)
    assert plan.steps == (
        SendStep("steps[0]", "email", "hello", "marketing", 2 * DAY_MS, 2, 7 * DAY_MS),
        WaitStep("steps[1]", 3 * DAY_MS),
        SendStep("steps[2]", "email", "hello", "marketing", DAY_MS, 2, 7 * DAY_MS),
    )


def test_a_step_is_called_by_its_id_and_without_one_by_its_place(folder: Path) -> None:
    named = JOURNEY.replace("- wait: 3d", "- {id: pause, wait: 3d}").replace("template: hello}", "template: hello, id: again}")
    (folder / "greet.yaml").write_text(named)
    [plan] = planned(folder)["important"]
    assert [step.id for step in plan.steps] == ["steps[0]", "pause", "again"]


def test_caps_of_marketing_do_not_hold_back_transactional_mail(folder: Path) -> None:
    (folder / "hello.en.liquid").write_text(HEAD.format("transactional", "en") + "Hello\n")
    [plan] = planned(folder)["important"]
    assert isinstance(plan.steps[0], SendStep)
    assert plan.steps[0].cap_messages == 0


def test_a_version_says_what_a_journey_does_and_not_what_it_is_called(folder: Path) -> None:
    def version(text: str) -> int:
        (folder / "greet.yaml").write_text(text)
        return read(folder).of(Journey)[0].definition.version

    first = version(JOURNEY)
    assert version(JOURNEY.replace("en: Greet", "en: Say hello") + "# a comment\n") == first
    assert version(JOURNEY.replace("segment: important", "segment: important, existing: false")) == first
    assert version(JOURNEY.replace("segment: important", "segment: important, existing: true")) != first
    assert (
        len({first, *(version(JOURNEY.replace(*change)) for change in (("3d", "4d"), ("90d", "80d"), ("messages: 2", "messages: 3")))}) == 4
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("template: hello}", "template: bye}"), "greet.yaml:9: steps[2].send.template: there is no template 'bye'"),
        (("wait: 3d", "wait: 3"), "greet.yaml:8: steps[1].wait: expected a duration such as 30d, 12h or 45m (found 3)"),
        (("wait: 3d", "linger: 3d"), "greet.yaml:8: steps[1]: expected a step that is one of send, wait, exit"),
        (
            ("channel: email, template: hello}", "channel: fax, template: hello}"),
            "greet.yaml:9: steps[2].send.channel: expected one of the channels",
        ),
        (("segment.entered", "event.seen"), "greet.yaml:3: enter.on: input should be 'segment.entered'"),
        (
            ("per: 7d", "per: 40d"),
            "greet.yaml:5: caps.per: expected at most 31d: sent messages are counted so long; `once_per` reaches further (found 40d)",
        ),
        (
            ("expires: 2d", "expires: 745h"),
            "greet.yaml:7: steps[0].send.expires: expected at most 31d: what became of a message is remembered so long; "
            "to send later, put a `wait` before the step (found 745h)",
        ),
        (
            ("wait: 3d", "wait: 367d"),
            "greet.yaml:8: steps[1].wait: expected at most 366d: a passage stays in memory while it waits; "
            "write several waits (found 367d)",
        ),
        (
            ("once_per: 90d", "once_per: 3661d"),
            "greet.yaml:4: once_per: expected at most 3660d: that is ten years; entries are remembered so long (found 3661d)",
        ),
        (
            ("wait: 3d\n  - send: {", "wait: 3d\n    id: hi\n  - send: {id: hi, "),
            "greet.yaml:10: steps[2].send.id: 'hi' is the id of steps[1] already: give each step one of its own",
        ),
        (("wait: 3d", "wait: 3d\n    id: steps[0]"), "greet.yaml:9: steps[1].id: string should match pattern"),
        (("- exit", "- {exit: true, id: end}"), "greet.yaml:10: steps[3].id: unknown key 'id'"),
        (("segment: important", "segment: other"), "greet.yaml:3: enter.segment: there is no segment 'other'"),
        (("once_per: 90d", "once_pre: 90d"), "greet.yaml:4: once_pre: unknown key 'once_pre' (did you mean 'once_per'?)"),
    ],
)
def test_what_is_wrong_in_a_journey_is_said_with_file_and_line(folder: Path, change: tuple[str, str], said: str) -> None:
    (folder / "greet.yaml").write_text(JOURNEY.replace(*change))
    assert [problem for problem in problems(folder) if problem.startswith(said)], problems(folder)


def test_the_longest_durations_are_accepted(folder: Path) -> None:
    longest = JOURNEY
    for change in (("90d", "3660d"), ("per: 7d", "per: 31d"), ("expires: 2d", "expires: 31d"), ("wait: 3d", "wait: 366d")):
        longest = longest.replace(*change)
    (folder / "greet.yaml").write_text(longest)
    [plan] = planned(folder)["important"]
    assert plan.steps[:2] == (
        SendStep("steps[0]", "email", "hello", "marketing", 31 * DAY_MS, 2, 31 * DAY_MS),
        WaitStep("steps[1]", 366 * DAY_MS),
    )


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.en.liquid", "Hello", "a.en.liquid:1: expected front matter between two lines `---`"),
        ("bye.en.liquid", HEAD.format("marketing", "en"), "bye.en.liquid:2: template: the file must be called hello.en.liquid"),
        ("hello.zh.liquid", HEAD.format("spam", "zh"), "hello.zh.liquid:4: class: input should be 'marketing' or 'transactional'"),
        (
            "hello.zh.liquid",
            HEAD.format("transactional", "zh"),
            "hello.zh.liquid:2: class: channel and class must be those of hello.en.liquid",
        ),
        ("hello.zh.liquid", HEAD.format("marketing", "zh") + "Hi\n{% if %}", "hello.zh.liquid:9: no valid Liquid"),
        (
            "hello.zh.liquid",
            HEAD.format("marketing", "zh") + "Hi\n{{ user.name }}",
            "hello.zh.liquid:9: user: expected one of now, person, segment",
        ),
        ("hello.zh.liquid", HEAD.format("marketing", "zh") + "{{ person.x | shout }}", "hello.zh.liquid:8: shout: is no filter of Liquid"),
        (
            "hello.zh.liquid",
            HEAD.format("marketing", "zh") + "{% include 'a' %}",
            "hello.zh.liquid:8: include: a template cannot include others",
        ),
        ("hello.zh.liquid", HEAD.format("marketing", "zh").replace("Hello", '"{{ x }}"'), "hello.zh.liquid:6: x: expected one of"),
        ("bye.en.html.liquid", "<p>", "bye.en.html.liquid:1: has no text part beside it"),
    ],
)
def test_what_is_wrong_in_a_template_is_said_with_file_and_line(folder: Path, name: str, text: str, said: str) -> None:
    (folder / name).write_text(text)
    assert [problem for problem in problems(folder) if problem.startswith(said)], problems(folder)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("zh-CN", "zh"), ("zh_TW", "zh"), ("ZH", "zh"), ("en", "en"), ("fr", "en"), (None, "en"), ("", "en"), ("../x", "en")],
)
def test_the_locale_is_the_persons_else_the_installations(folder: Path, wanted: str | None, found: str) -> None:
    (folder / "hello.zh.liquid").write_text(HEAD.format("marketing", "zh") + "你好\n")
    picked = read(folder).templates.pick("hello", wanted)
    assert picked is not None
    assert picked.head.locale == found


def test_without_the_installations_locale_there_is_still_a_message(folder: Path) -> None:
    picked = read(folder, default_locale="fr").templates.pick("hello", "de")
    assert picked is not None
    assert Templates([]).pick("hello", "en") is None


def test_templates_name_the_traits_they_need(folder: Path) -> None:
    (folder / "hello.en.html.liquid").write_text("{% for tag in person.tags %}{{ tag }}{% endfor %}{{ person['plan'] }}")
    assert read(folder).templates.person_names == {"firstName", "tags", "plan"}


def test_what_ships_is_well_and_needs_a_yes_for_marketing() -> None:
    shipped = read(SHIPPED)
    assert {plan.journey for found in planned(SHIPPED).values() for plan in found} == {"keep_important", "tell_important"}
    assert [shipped.templates.endpoint(name) for name in ("tell_crm", "tell_staff", "keep_important")] == ["crm", "ops", None]
    assert {locale: one.html is not None for locale, one in shipped.templates.of("keep_important").items()} == {"en": True, "zh": True}
    assert Rules.of(shipped.single(ConsentPolicy)) == Rules({"email": "opt_in"})
    assert Rules.of(None) == Rules({})
