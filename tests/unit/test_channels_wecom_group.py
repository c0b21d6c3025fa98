"""The robot of a WeCom group as values: what is sent, what each answer means, what a setting may say."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.messaging.adapters.outbound import Answer, NoAnswer, NotWritten, TooLate
from services.messaging.channels.endpoints import read_endpoints
from services.messaging.channels.registry import CHANNELS, HEADS
from services.messaging.channels.socket import Composed, Draft
from services.messaging.channels.wecom_group import ERRCODES, MOST_BYTES, STATUSES, RobotHead, compose, outcome_of
from services.messaging.domain.outcome import Deferred, Failed, Outcome, Sent, Unknown
from services.messaging.domain.reasons import Reason
from services.messaging.domain.rendering import NotRendered, Rendered, render
from shared.definitions.folder import read_folder
from shared.definitions.liquid_text import parse_liquid
from shared.definitions.template import Template
from shared.definitions.yaml_text import DefinitionError
from tests.unit.dispatcher_world import NOW, request

LATER, AWAY, REFUSED, LOST = Reason.TRY_LATER, Reason.PROVIDER_AWAY, Reason.REFUSED, Reason.REPLY_LOST
CODES: list[tuple[int, Outcome]] = [
    (0, Sent()),
    (-1, Deferred(LATER, "errcode -1")),
    (45009, Deferred(LATER, "errcode 45009", after_s=60.0)),
    (45033, Deferred(LATER, "errcode 45033", after_s=60.0)),
    (40001, Deferred(AWAY, "errcode 40001", away=True)),
    (40014, Deferred(AWAY, "errcode 40014", away=True)),
    (42001, Deferred(AWAY, "errcode 42001", away=True)),
    (48002, Deferred(AWAY, "errcode 48002", away=True)),
    (60020, Deferred(AWAY, "errcode 60020", away=True)),
    (93000, Deferred(AWAY, "errcode 93000", away=True)),
    (301002, Deferred(AWAY, "errcode 301002", away=True)),
    (40058, Failed(REFUSED, "errcode 40058")),
    (40096, Failed(REFUSED, "errcode 40096")),
    (60111, Failed(REFUSED, "errcode 60111")),
    (81013, Failed(REFUSED, "errcode 81013")),
    (82001, Failed(REFUSED, "errcode 82001")),
    (84061, Failed(REFUSED, "errcode 84061")),
    (12345, Failed(REFUSED, "errcode 12345")),
]
HTTP: list[tuple[int, Outcome]] = [
    (302, Deferred(AWAY, "HTTP 302", away=True)),
    (404, Deferred(AWAY, "HTTP 404", away=True)),
    (408, Deferred(LATER, "HTTP 408")),
    (429, Deferred(LATER, "HTTP 429", after_s=60.0)),
    (503, Deferred(LATER, "HTTP 503")),
    (500, Unknown(LOST, "HTTP 500")),
    (502, Unknown(LOST, "HTTP 502")),
]


@pytest.mark.parametrize(("code", "outcome"), CODES)
def test_the_code_in_an_answer_of_200_decides(code: int, outcome: Outcome) -> None:
    said = json.dumps({"errcode": code, "errmsg": "words that quote key and message"}).encode()
    assert outcome_of(Answer(200, {}, said)) == outcome


@pytest.mark.parametrize(("status", "outcome"), HTTP)
def test_each_other_status_has_its_outcome(status: int, outcome: Outcome) -> None:
    assert outcome_of(Answer(status, {}, b"")) == outcome


def test_every_line_of_the_tables_has_a_row_here() -> None:
    assert set(ERRCODES) <= {code for code, _ in CODES}
    assert all(any(status in statuses for status, _ in HTTP) for statuses, _ in STATUSES)


@pytest.mark.parametrize("body", [b"", b"ok", b"[]", b"{}", b'{"errcode": "0"}', b"\xff", b"[" * 100_000])
def test_an_answer_that_cannot_be_read_says_nothing(body: bytes) -> None:
    assert outcome_of(Answer(200, {}, body)) == Unknown(LOST, "an answer that cannot be read")


def test_half_an_answer_says_nothing() -> None:
    assert outcome_of(Answer(200, {}, b'{"errcode": 0}', whole=False)) == Unknown(LOST, "an answer that cannot be read")


def test_a_call_without_an_answer_has_its_outcome() -> None:
    assert outcome_of(TooLate()) == Deferred(Reason.HELD_UP, "it took too long until the robot could be called")
    assert outcome_of(NotWritten("ConnectError")) == Deferred(AWAY, "ConnectError", away=True)
    assert outcome_of(NoAnswer("ReadTimeout")) == Unknown(LOST, "ReadTimeout")


def written(text: str, name: str = "Ann", **said: Any) -> dict[str, Any] | NotRendered:
    head = RobotHead.model_validate(
        {"template": "t", "channel": "wecom_group", "class": "transactional", "locale": "zh", "to": "ops", **said}
    )
    template = Template("t.zh.liquid", head, {}, parse_liquid(text, "t.zh.liquid", 8, html=False), None)
    rendered = render(template, {"name": msgspec.Raw(msgspec.json.encode(name))}, None, NOW, lambda: 0.0)
    assert isinstance(rendered, Rendered)
    made = compose(Draft(request(1, channel="wecom_group", endpoint="ops"), head, rendered, None, NOW))
    if isinstance(made, NotRendered):
        return made
    assert isinstance(made, Composed)
    body: dict[str, Any] = json.loads(made.message.body)
    return body


def test_a_text_is_sent_with_its_mentions() -> None:
    assert written("新客户：{{ person.name }}\n", mentions=["@all", "li"]) == {
        "msgtype": "text",
        "text": {"content": "新客户：Ann", "mentioned_list": ["@all", "li"]},
    }
    assert written('{"x": "{{ person.name }}"}', '"}, "mentioned_list": ["@all"]') == {
        "msgtype": "text",
        "text": {"content": '{"x": ""}, "mentioned_list": ["@all"]"}'},
    }


def test_values_of_people_make_no_marks_in_markdown() -> None:
    body = written("**{{ person.name }}**", "[here](http://bad.example) <@all> `x` # *", msgtype="markdown")
    assert body == {"msgtype": "markdown", "markdown": {"content": "**［here］(http://bad.example) ＜@all＞ ｀x｀ ＃ ＊**"}}


@pytest.mark.parametrize("kind", ["text", "markdown"])
def test_a_text_longer_than_the_robot_takes_is_not_sent(kind: str) -> None:
    most = MOST_BYTES[kind]
    assert isinstance(written("字" * (most // 3), msgtype=kind), dict)
    assert isinstance(written("字" * (most // 3 + 1), msgtype=kind), NotRendered)
    assert isinstance(written("  \n", msgtype=kind), NotRendered)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("msgtype: news", "t.zh.liquid:7: msgtype: input should be 'text' or 'markdown' (found 'news')"),
        ("msgtype: markdown\nmentions: ['@all']", "t.zh.liquid:2: mentions go with `msgtype: text` only"),
        ("subject: Hi", "t.zh.liquid:7: subject: unknown key 'subject'"),
    ],
)
def test_check_says_what_is_wrong_with_a_template_and_where(tmp_path: Path, lines: str, said: str) -> None:
    front = f"---\ntemplate: t\nchannel: wecom_group\nclass: transactional\nlocale: zh\nto: ops\n{lines}\n---\nx\n"
    (tmp_path / "t.zh.liquid").write_text(front)
    assert [str(one)[: len(said)] for one in read_folder(tmp_path, heads=HEADS).problems] == [said]


def test_check_says_where_a_part_stands_that_the_channel_does_not_take(tmp_path: Path) -> None:
    front = "---\ntemplate: t\nchannel: wecom_group\nclass: transactional\nlocale: {}\nto: {}\n---\nx\n"
    (tmp_path / "t.zh.liquid").write_text(front.format("zh", "ops"))
    (tmp_path / "t.en.liquid").write_text(front.format("en", "sales"))
    (tmp_path / "t.zh.html.liquid").write_text("<p>x</p>")
    found = [str(one) for one in read_folder(tmp_path, heads=HEADS).problems]
    assert "t.zh.html.liquid:1: channel wecom_group takes no HTML part" in found
    (tmp_path / "t.zh.html.liquid").unlink()
    assert [str(one) for one in read_folder(tmp_path, heads=HEADS).problems] == ["t.zh.liquid:2: to: must be that of t.en.liquid: sales"]


@pytest.mark.parametrize("key", ["short", "with space 12345", "key=12345678", "schlüssel-1234567"])
def test_a_key_that_is_none_is_refused_without_being_told(tmp_path: Path, key: str) -> None:
    (tmp_path / "ops.key").write_text(key)
    (tmp_path / "channels.yaml").write_text("wecom_group:\n  ops: {key_file: ops.key}\n")
    with pytest.raises(DefinitionError) as refused:
        read_endpoints(tmp_path / "channels.yaml", CHANNELS)
    assert "channels.yaml:2: wecom_group.ops: key_file must hold" in str(refused.value)
    assert key not in str(refused.value)


def test_a_robot_is_paced_as_wecom_wants_it_and_its_key_is_in_no_repr(tmp_path: Path) -> None:
    (tmp_path / "ops.key").write_text("0d2c7d0e-aaaa-bbbb\n")
    (tmp_path / "channels.yaml").write_text("wecom_group:\n  ops: {key_file: ops.key}\n")
    robot = read_endpoints(tmp_path / "channels.yaml", CHANNELS)["wecom_group"]["ops"]
    assert robot.per_second == pytest.approx(20 / 60)
    assert robot.target.url == "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=0d2c7d0e-aaaa-bbbb"
    assert "0d2c7d0e" not in repr(robot)
