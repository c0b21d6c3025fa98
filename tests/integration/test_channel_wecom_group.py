"""The robot of a WeCom group over real sockets: a server that checks path, key and body, and refuses in answers of HTTP 200."""

import json
import logging
from collections.abc import Iterator

import pytest

from deploy.local.ports import free_port
from services.messaging.adapters.outbound import Target
from services.messaging.channels.wecom_group import Notice, Robot, RobotProvider
from services.messaging.domain.outcome import Deferred, Failed, Outcome, Sent, Unknown
from services.messaging.domain.reasons import Reason
from tests.recording_http import CUT, HANG, Answer, RecordingHttp, Reply, Request

KEY = "693axxx6-7aoc-4bc4-97a0-0ec2sifa5aaa"
BODY = json.dumps({"msgtype": "text", "text": {"content": "新客户"}}).encode()


def said(code: int) -> Reply:
    return Reply(200, json.dumps({"errcode": code, "errmsg": "ok" if code == 0 else f"no, key={KEY}"}).encode())


class WeCom:
    """Takes what the protocol allows; `codes`: its answers, one by one, before it takes anything."""

    def __init__(self) -> None:
        self.codes: list[Answer] = []
        self.taken: list[str] = []

    def __call__(self, request: Request) -> Answer:
        if request.method != "POST" or not request.path.startswith("/cgi-bin/webhook/send?key="):
            return Reply(404)
        if request.path.removeprefix("/cgi-bin/webhook/send?key=") != KEY:
            return said(93000)
        if self.codes:
            return self.codes.pop(0)
        message = json.loads(request.body)
        kind = message.get("msgtype")
        if kind not in ("text", "markdown") or len(message.get(kind, {}).get("content", "").encode()) not in range(1, 2049):
            return said(40058)
        self.taken.append(message[kind]["content"])
        return said(0)


@pytest.fixture
def wecom() -> Iterator[tuple[WeCom, RecordingHttp]]:
    robot = WeCom()
    with RecordingHttp(robot) as server:
        yield robot, server


async def send(
    url: str, *, key: str = KEY, private: bool = True, reply_s: float = 5.0, body: bytes = BODY, times: int = 1
) -> list[Outcome]:
    target = Target(f"{url}/cgi-bin/webhook/send?key={key}", private, None, 5.0, reply_s, keeps=False)
    provider = RobotProvider("ops", Robot(target, 20 / 60))
    outcomes = [await provider.send(Notice("0" * 32, body), lambda: True) for _ in range(times)]
    await provider.close()
    return outcomes


async def test_a_notice_arrives_by_path_and_key(wecom: tuple[WeCom, RecordingHttp]) -> None:
    robot, server = wecom
    assert await send(server.url) == [Sent()]
    assert robot.taken == ["新客户"]


async def test_no_key_and_no_word_of_the_provider_gets_into_a_log_or_an_outcome(
    wecom: tuple[WeCom, RecordingHttp], caplog: pytest.LogCaptureFixture
) -> None:
    robot, server = wecom
    robot.codes = [said(81013), CUT, Reply(302, headers={"Location": f"http://x.example/?key={KEY}"}), HANG]
    with caplog.at_level(logging.INFO):
        outcomes = await send(server.url, reply_s=0.3, times=4)
        outcomes += await send(f"http://127.0.0.1:{free_port()}", times=1)
        outcomes += await send(server.url, key="another-key-of-12345")
    assert KEY not in repr(outcomes)
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (said(-1), Deferred(Reason.TRY_LATER, "errcode -1")),
        (said(45009), Deferred(Reason.TRY_LATER, "errcode 45009", after_s=60.0)),
        (said(60020), Deferred(Reason.PROVIDER_AWAY, "errcode 60020", away=True)),
        (said(82001), Failed(Reason.REFUSED, "errcode 82001")),
        (Reply(200, b"<html>"), Unknown(Reason.REPLY_LOST, "an answer that cannot be read")),
        (Reply(200, endless=True), Unknown(Reason.REPLY_LOST, "an answer that cannot be read")),
        (Reply(502), Unknown(Reason.REPLY_LOST, "HTTP 502")),
        (Reply(302, headers={"Location": "https://x.example/"}), Deferred(Reason.PROVIDER_AWAY, "HTTP 302", away=True)),
    ],
)
async def test_each_answer_is_understood(wecom: tuple[WeCom, RecordingHttp], answer: Answer, expected: Outcome) -> None:
    robot, server = wecom
    robot.codes = [answer]
    assert await send(server.url) == [expected]


async def test_a_wrong_key_and_a_text_that_is_too_long_are_told_apart(wecom: tuple[WeCom, RecordingHttp]) -> None:
    _, server = wecom
    assert await send(server.url, key="another-key-of-12345") == [Deferred(Reason.PROVIDER_AWAY, "errcode 93000", away=True)]
    long = json.dumps({"msgtype": "text", "text": {"content": "x" * 2049}}).encode()
    assert await send(server.url, body=long) == [Failed(Reason.REFUSED, "errcode 40058")]


@pytest.mark.parametrize("answer", [CUT, HANG])
async def test_after_the_request_was_written_no_answer_is_unknown(wecom: tuple[WeCom, RecordingHttp], answer: str) -> None:
    robot, server = wecom
    robot.codes = [answer]
    [outcome] = await send(server.url, reply_s=0.3)
    assert isinstance(outcome, Unknown)


async def test_a_server_that_is_not_there_or_is_our_own_was_told_nothing(wecom: tuple[WeCom, RecordingHttp]) -> None:
    _, server = wecom
    [gone] = await send(f"http://127.0.0.1:{free_port()}")
    [own] = await send(server.url, private=False)
    assert isinstance(gone, Deferred)
    assert isinstance(own, Deferred)
    assert gone.away
    assert own.away
    assert server.connections == 0


async def test_each_notice_has_a_connection_of_its_own(wecom: tuple[WeCom, RecordingHttp]) -> None:
    """One that was kept may be closed just as the next notice is written: nobody could say whether that was taken."""
    _, server = wecom
    assert await send(server.url, times=3) == [Sent()] * 3
    assert server.connections == 3
