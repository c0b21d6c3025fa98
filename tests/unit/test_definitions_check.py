"""`rapport check` names every mistake for which a folder is not applied: file, line and text are the same."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from typer.testing import CliRunner

from deploy.cli import definitions
from services.control.apply import applied
from services.control.definition_settings import ApplySettings
from shared.contracts.bodies import MAX_FILES, MAX_FOLDER_BYTES
from shared.definitions import files, liquid_text, yaml_text
from shared.definitions.yaml_text import DefinitionError
from shared.rules import rule
from tests.definition_log import MemoryDefinitionLog

SEGMENT = "segment: {}\ntitle: {{zh: 买家, en: Buyers}}\nwhen: {}\n"
HEAD = "---\ntemplate: {}\nchannel: email\nclass: marketing\nlocale: {}\nsubject: {}\n---\n"
JOURNEY = """journey: greet
title: {zh: 好, en: Greet}
enter: {on: segment.entered, segment: buyers}
steps:
  - send: {channel: email, template: hello}
"""
TEMPLATE = HEAD.format("hello", "en", "Hi") + "Hello\n"

Broken = Callable[[Path], object]


def text(name: str, content: str | bytes) -> Broken:
    def write(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def link(name: str, target: str) -> Broken:
    return lambda folder: (folder / name).symlink_to(target)


def many(count: int) -> Broken:
    def write(folder: Path) -> None:
        for number in range(count):
            (folder / f"{number}.yaml").write_text("")

    return write


def nested(depth: int) -> Broken:
    return lambda folder: (folder / "/".join("d" * depth)).mkdir(parents=True)


def large(folder: Path) -> None:
    for number in range(MAX_FOLDER_BYTES // files.MAX_FILE_BYTES + 1):
        (folder / f"{number}.yaml").write_text(f"# {number}\n".ljust(files.MAX_FILE_BYTES, "#"))


CLASHING: Final = (("a", "E25666"), ("b", "E109395"))
"""Two events whose features have one id of 36 bits."""

MISTAKES: dict[str, tuple[Broken, bool, str]] = {
    "a folder that is not there": (lambda folder: folder.rename(folder.with_name("gone")), True, ":1: is no folder"),
    "no YAML": (text("a.yaml", "a: [b\nc: d"), True, "a.yaml:2: no valid YAML"),
    "an anchor": (text("a.yaml", "a: &x 1\nb: *x"), True, "a.yaml:2: b: anchors and aliases are not supported"),
    "no UTF-8": (text("deep/a.yaml", b"ok: 1\nsegment: \xff\n"), True, "deep/a.yaml:2: is not UTF-8"),
    "a name that is no UTF-8": (text(os.fsdecode(b"\xff.yaml"), "a: ["), True, "\\xff.yaml:1: is no path below a folder"),
    "a large file": (text("a.yaml", "#" * (files.MAX_FILE_BYTES + 1)), True, "a.yaml:1: is larger than 1048576 bytes"),
    "a large folder": (large, True, "holds definition files of more than 16777216 bytes together"),
    "many files": (many(MAX_FILES + 1), True, ":1: holds more than 2000 definition files"),
    "deep folders": (nested(files.MAX_FOLDERS_DEEP + 1), True, ":1: folders may nest no deeper than 16"),
    "many nodes": (text("a.yaml", "a:\n" + "- b\n" * 2_000), True, "a.yaml:1999: more than 2000 keys"),
    "a dangling link": (link("a.yaml", "gone.yaml"), True, "a.yaml:1: is a link to gone.yaml, which is not there"),
    "a dangling link to a folder": (link("segments", "../gone"), True, "segments:1: is a link to ../gone, which is not there"),
    "a dangling link to a template": (link("a.en.liquid", "gone"), True, "a.en.liquid:1: is a link to gone, which is not there"),
    "a link to itself": (link("a.yaml", "a.yaml"), True, "a.yaml:1: is a link that leads back to itself"),
    "a folder in itself": (link("more", "."), True, "more:1: is a link to a folder that it lies in"),
    "a file that cannot be read": (link("a.yaml", "/proc/self/mem"), True, "a.yaml:1: cannot be read: Input/output error"),
    "a pipe": (lambda folder: os.mkfifo(folder / "a.yaml"), True, "a.yaml:1: is no regular file"),
    "an ending in capitals": (
        text("z.YAML", SEGMENT.format("z", "{did: A}")),
        True,
        "z.YAML:1: the name must end in .yaml, in small letters: nothing reads it so",
    ),
    "a short ending in capitals": (text("deep/i.Yml", "identity: us\n"), True, "deep/i.Yml:1: the name must end in .yml"),
    "a template's in capitals": (text("b.en.Liquid", TEMPLATE), True, "b.en.Liquid:1: the name must end in .liquid"),
    "a hidden file": (text("deep/.z.yml", "consent: us\n"), False, "deep/.z.yml:1: begins with a dot, so nothing reads it"),
    "a file that is all ending": (text(".yaml", "consent: us\n"), False, ".yaml:1: begins with a dot, so nothing reads it"),
    "a hidden template": (text(".a.en.liquid", TEMPLATE), False, ".a.en.liquid:1: begins with a dot, so nothing reads it"),
    "a hidden file in capitals": (text(".Z.YAML", "x: y\n"), False, ".Z.YAML:1: begins with a dot, so nothing reads it"),
    "two of one name": (
        lambda folder: [text(name, SEGMENT.format("same", "{did: A}"))(folder) for name in ("b.yaml", "c.yaml")],
        True,
        "c.yaml:1: segment: 'same' is already defined in b.yaml",
    ),
    "an unknown key": (
        text("a.yaml", SEGMENT.format("a", "{did: A, withn: 2d}")),
        True,
        "a.yaml:3: when.withn: unknown key 'withn' (did you mean 'within'?)",
    ),
    "many leaves": (
        text("a.yaml", SEGMENT.format("a", f"{{any: [{', '.join(['{did: A}'] * (rule.MAX_LEAVES + 1))}]}}")),
        True,
        "a.yaml:3: when: expected at most 500 leaves in one rule: use `in` for several values, or several segments",
    ),
    "two features of one id": (
        lambda folder: [text(f"{name}.yaml", SEGMENT.format(name, f"{{did: {event}}}"))(folder) for name, event in CLASHING],
        True,
        "b.yaml:3: when: two features have one id by chance",
    ),
    "a journey on no segment": (
        text("j.yaml", JOURNEY.replace("buyers", "buyer")),
        True,
        "j.yaml:3: enter.segment: there is no segment 'buyer'; there are buyers (did you mean 'buyers'?)",
    ),
    "a journey without its template": (
        text("j.yaml", JOURNEY.replace("hello", "helo")),
        True,
        "j.yaml:5: steps[0].send.template: there is no template 'helo'; there are hello (did you mean 'hello'?)",
    ),
    "a journey that sends where nobody has an address": (
        lambda folder: (text("j.yaml", JOURNEY)(folder), text("who.yaml", "identity: us\nkinds: [phone]\n")(folder)),
        True,
        "j.yaml:5: steps[0].send.channel: nobody could be written to: add 'email' at the end of `kinds` in who.yaml",
    ),
    "a segment that nobody could be in": (
        text("a.yaml", SEGMENT.format("a", "\n  did: A\n  count: {gte: 5, lt: 3}")),
        True,
        "a.yaml:5: when.count: can never hold: no count fulfils gte 5 and lt 3 together",
    ),
    "a journey by an unknown channel": (
        text("j.yaml", JOURNEY.replace("channel: email", "channel: emial")),
        True,
        "j.yaml:5: steps[0].send.channel: expected one of the channels email, webhook, wecom_group (found 'emial')",
    ),
    "an expiry too far": (
        text("j.yaml", JOURNEY.replace("hello}", "hello, expires: 32d}")),
        True,
        "j.yaml:5: steps[0].send.expires: expected at most 31d",
    ),
    "a template without a head": (text("a.en.liquid", "Hello"), True, "a.en.liquid:1: expected front matter between two lines `---`"),
    "a template of another name": (
        text("bye.en.liquid", TEMPLATE),
        True,
        "bye.en.liquid:2: template: the file must be called hello.en.liquid",
    ),
    "a syntax error": (text("a.en.liquid", HEAD.format("a", "en", "Hi") + "Hi\n{% if %}"), True, "a.en.liquid:9: no valid Liquid"),
    "a syntax error in a subject": (text("a.en.liquid", HEAD.format("a", "en", "'{{ x'")), True, "a.en.liquid:6: no valid Liquid"),
    "an unknown filter": (
        text("a.en.liquid", HEAD.format("a", "en", "Hi") + "{{ person.x | shout }}"),
        True,
        "a.en.liquid:8: shout: is no filter of Liquid",
    ),
    "an unknown tag": (text("a.en.liquid", HEAD.format("a", "en", "Hi") + "{% shout %}"), True, "a.en.liquid:8: no valid Liquid"),
    "a file included": (
        text("a.en.liquid", HEAD.format("a", "en", "Hi") + "{% include '/etc/passwd' %}"),
        True,
        "a.en.liquid:8: include: a template cannot include others",
    ),
    "a file rendered": (
        text("a.en.liquid", HEAD.format("a", "en", "Hi") + "\n{% render 'hello' %}"),
        True,
        "a.en.liquid:9: render: a template cannot include others",
    ),
    "a name that templates do not know": (
        text("a.en.liquid", HEAD.format("a", "en", "Hi") + "{{ user.name }}"),
        True,
        "a.en.liquid:8: user: expected one of now, person, segment",
    ),
    "one template twice": (
        text("more/hello.en.liquid", TEMPLATE),
        True,
        "more/hello.en.liquid:2: template: 'hello' in en is already defined in hello.en.liquid",
    ),
    "HTML without text": (text("a.en.html.liquid", "<p>"), True, "a.en.html.liquid:1: has no text part beside it"),
    "HTML that is wrong": (text("hello.en.html.liquid", "<p>\n{% if %}"), True, "hello.en.html.liquid:2: no valid Liquid"),
    "HTML that is a dangling link": (link("hello.en.html.liquid", "gone"), True, "hello.en.html.liquid:1: is a link to gone"),
    "a large template": (
        text("a.en.liquid", TEMPLATE.ljust(files.MAX_TEMPLATE_BYTES + 1)),
        True,
        "a.en.liquid:1: is larger than 262144 bytes",
    ),
    "a long tag": (
        text("a.en.liquid", HEAD.format("a", "en", "Hi") + f"\n{{% for i in {'(' * liquid_text.MAX_TAG} %}}{{% endfor %}}"),
        True,
        "a.en.liquid:9: expected at most 2000 characters between the marks of one Liquid tag",
    ),
    "two consent files": (
        lambda folder: [text(f"{name}.yaml", f"consent: {name}\n")(folder) for name in "ab"],
        True,
        "b.yaml:1: consent: there may be one consent file, and a.yaml is one already: one of the two must go",
    ),
    "a wrong consent file": (
        text("consent.yaml", "consent: us\nchannels: {email: {marketing: maybe}}\n"),
        True,
        "consent.yaml:2: channels.email.marketing: input should be 'opt_in' or 'opt_out'",
    ),
    "two identity files": (
        lambda folder: [text(f"{name}.yaml", f"identity: {name}\nkinds: [email]\n")(folder) for name in "ab"],
        True,
        "b.yaml:1: identity: there may be one identity file, and a.yaml is one already: one of the two must go",
    ),
    "a wrong identity file": (
        text("identity.yaml", "identity: us\nkinds: [u]\n"),
        True,
        "identity.yaml:1: expected another name than 'u'",
    ),
    "two catalogues": (
        lambda folder: [text(f"{name}.yaml", f"catalogue: {name}\n")(folder) for name in "ab"],
        True,
        "b.yaml:1: catalogue: there may be one catalogue file",
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Good definitions."""
    found = tmp_path / "definitions"
    for name, content in (("buyers.yaml", SEGMENT.format("buyers", "{did: A}")), ("hello.en.liquid", TEMPLATE)):
        text(name, content)(found)
    return found


def refusals(folder: Path) -> list[str]:
    """The mistakes for which the folder is not applied, so that no process ever reads it."""
    log = MemoryDefinitionLog()
    used: Any = log
    try:
        applied(ApplySettings(kafka_bootstrap="unused", definitions_dir=folder), log.topic, used, used)
    except DefinitionError as error:
        assert log.topic.head is None
        return [str(problem) for problem in error.problems]
    assert log.topic.head is not None
    return []


def checked(folder: Path) -> tuple[int, list[str]]:
    app = typer.Typer()
    app.command()(definitions.check)
    result = CliRunner().invoke(app, [str(folder)])
    return result.exit_code, result.output.splitlines()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_check_says_what_applying_says(mistake: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_text, "MAX_NODES", 2_000)  # two readings of as many nodes as may be would take seconds
    broken, is_refused, told = MISTAKES[mistake]
    broken(folder)
    refused = refusals(folder)
    code, lines = checked(folder)
    assert bool(refused) == is_refused
    assert code == 1
    assert [line for line in lines if told in line], lines
    assert set(refused) <= set(lines)
    assert not refused or [line for line in refused if told in line]


def test_good_definitions_are_applied_and_pass_the_check(folder: Path) -> None:
    text("journeys/j.yaml", JOURNEY)(folder)
    assert refusals(folder) == []
    assert checked(folder) == (0, ["1 segment, 1 journey, 0 consents, 0 identities, 0 catalogues, 1 template: all well"])


def test_links_as_a_mounted_config_map_has_them_are_followed(folder: Path) -> None:
    (folder / "..2026_11_25").mkdir()
    text("..2026_11_25/greet.yaml", JOURNEY)(folder)
    link("..data", "..2026_11_25")(folder)
    link("greet.yaml", "..data/greet.yaml")(folder)
    link(".#buyers.yaml", "user@host.1")(folder)
    text("._buyers.yaml", b"\x00\x05\x16\x07")(folder)
    assert checked(folder)[1] == ["1 segment, 1 journey, 0 consents, 0 identities, 0 catalogues, 1 template: all well"]


def test_a_file_of_a_kind_that_only_a_newer_release_knows_fails_the_check(folder: Path) -> None:
    text("caps.yaml", "caps: x\n")(folder)
    text("s.yaml", "segmet: x\n")(folder)
    known = "expected one of the keys segment, journey, consent, identity, catalogue"
    assert checked(folder) == (
        1,
        [
            f"caps.yaml:1: is of no known kind: {known}",
            f"s.yaml:1: is of no known kind: {known} (did you mean 'segment'?)",
            "2 problems",
        ],
    )


def test_a_journey_sends_where_the_kinds_are_the_usual_ones_or_name_an_address(folder: Path) -> None:
    text("j.yaml", JOURNEY)(folder)
    assert checked(folder)[0] == 0
    text("identity.yaml", "identity: us\nkinds: [phone, email]\n")(folder)
    assert checked(folder)[0] == 0


def test_kinds_without_an_address_are_well_where_nothing_is_sent(folder: Path) -> None:
    text("identity.yaml", "identity: us\nkinds: [phone]\n")(folder)
    text("j.yaml", JOURNEY.replace("- send: {channel: email, template: hello}", "- wait: 1d"))(folder)
    assert checked(folder)[0] == 0


def test_one_mistake_causes_no_second_one(folder: Path) -> None:
    text("journeys/j.yaml", JOURNEY)(folder)
    text("identity.yaml", "identity: us\nkinds: [u]\n")(folder)
    text("buyers.yaml", SEGMENT.format("buyers", "{}"))(folder)
    text("hello.en.liquid", TEMPLATE + "{% if %}")(folder)
    _, lines = checked(folder)
    assert [line.split(":")[0] for line in lines] == ["buyers.yaml", "hello.en.liquid", "identity.yaml", "3 problems"]


def test_a_huge_segment_is_refused_before_its_work_is_done(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """25,500 equal leaves in 1 MB: neither are its nodes made, nor its rules checked."""
    nodes, checks = 0, 0
    real = yaml_text.BoundedLoader.compose_node

    def compose(loader: yaml_text.BoundedLoader, parent: object, index: int) -> object:
        nonlocal nodes
        nodes += 1
        return real(loader, parent, index)  # type: ignore[arg-type]

    def look(_: object) -> None:
        nonlocal checks
        checks += 1

    monkeypatch.setattr(yaml_text.BoundedLoader, "compose_node", compose)
    monkeypatch.setattr(rule, "_tag", look)
    text("big.yaml", "segment: big\ntitle: {zh: a, en: b}\nwhen:\n  any:\n" + "    - {did: Order Completed, within: 3d}\n" * 25_500)(folder)
    code, lines = checked(folder)
    assert (code, lines[0]) == (1, "big.yaml:4002: more than 20000 keys, values and list entries in one file: write several files")
    assert nodes < yaml_text.MAX_NODES + 100
    assert checks == 0


def test_leaves_are_counted_no_further_than_the_bound() -> None:
    touched = 0

    class Leaf(dict[str, str]):
        def __contains__(self, key: object) -> bool:
            nonlocal touched
            touched += 1
            return super().__contains__(key)

    assert rule.leaves({"any": [{"all": [Leaf(did="A")] * 400}, {"none": [Leaf(did="A")] * 100}]}) == rule.MAX_LEAVES
    touched = 0
    assert rule.leaves([Leaf(did="A")] * 27_000) == rule.MAX_LEAVES + 1
    assert touched <= 3 * (rule.MAX_LEAVES + 1)
