"""The dispatcher with all its channels on real servers, killed in the middle: a webhook is never unknown, a robot holds up nobody."""

import base64
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.kafka import Kafka
from deploy.local.process import Process
from shared.contracts.changes import MessageRequested, MessageStatus
from tests.applied import apply_folder
from tests.integration.messaging_installation import PREFIX, Installation, process_metric, request
from tests.integration.test_channel_webhook import is_signed
from tests.recording_http import HANG, Answer, RecordingHttp, Reply, Request
from tests.waiting import wait_until

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

MESSAGES = 40
SECRET = bytes(range(40, 80))
ROBOT_KEY = "0d2c7d0e-aaaa-bbbb"
HEAD = "---\ntemplate: {name}\nchannel: {channel}\nclass: transactional\nlocale: en\n{more}\n---\nNews of {{{{ segment }}}}\n"
PATIENT = {"session_timeout_seconds": "10", "dispatch_lease_seconds": "5"}


@pytest.fixture
def house(own_kafka: Kafka, fresh_redis: Process, tmp_path: Path) -> Iterator[Installation]:
    assert fresh_redis.check is not None
    house = Installation(own_kafka.bootstrap, fresh_redis.check, tmp_path)
    house.upstream_is_caught_up()
    with house.mail:
        yield house
        house.close()


class Receiver:
    """A webhook's: refuses what is not signed, and keeps every body by its id."""

    def __init__(self) -> None:
        self.bodies: dict[str, set[bytes]] = {}
        self.calls: Counter[str] = Counter()

    def __call__(self, request: Request) -> Answer:
        if not is_signed(request, SECRET):
            return Reply(401)
        self.calls[request.headers["webhook-id"]] += 1
        self.bodies.setdefault(request.headers["webhook-id"], set()).add(request.body)
        return Reply(204)


def settings(house: Installation, folder: Path, hook: str, robot: str) -> dict[str, str]:
    """Of an installation with a template for each channel, a webhook and a robot."""
    definitions = folder / "definitions"
    definitions.mkdir()
    heads = {"hook": ("webhook", "to: crm"), "robot": ("wecom_group", "to: ops"), "mail": ("email", "subject: Hi")}
    for name, (channel, more) in heads.items():
        (definitions / f"{name}.en.liquid").write_text(HEAD.format(name=name, channel=channel, more=more))
    apply_folder(house.bootstrap, definitions, group_prefix=PREFIX)
    (folder / "crm.secret").write_text("whsec_" + base64.b64encode(SECRET).decode())
    (folder / "ops.key").write_text(ROBOT_KEY)
    channels = {
        "webhook": {"crm": {"url": f"{hook}/hook", "secret_file": "crm.secret", "private": True, "connections": 4}},
        "wecom_group": {"ops": {"base": f"{robot}/cgi-bin", "key_file": "ops.key", "private": True}},
    }
    (folder / "channels.yaml").write_text(json.dumps(channels))
    return {"channels_file": str(folder / "channels.yaml")}


def hook_request(name: str, number: int, **changes: Any) -> MessageRequested:
    said = {"channel": "webhook", "endpoint": "crm", "template": "hook", "message_class": "transactional", "segment": "important"}
    return request(name, number, **(said | changes))


FAILPOINTS = [
    ("dispatcher.before_sending", 3),
    ("dispatcher.after_sending", 2),
    ("dispatcher.after_provider", 2),
    ("dispatcher.after_settled", 2),
]


@pytest.mark.parametrize(("failpoint", "nth"), FAILPOINTS)
def test_killed_at_any_point_every_webhook_is_sent_and_none_is_unknown(
    house: Installation, tmp_path: Path, failpoint: str, nth: int
) -> None:
    receiver = Receiver()
    with RecordingHttp(receiver) as server:
        ways = settings(house, tmp_path, server.url, server.url)
        wanted = [hook_request(f"hook{FAILPOINTS.index((failpoint, nth))}", number) for number in range(MESSAGES)]
        house.ask(wanted)
        first = house.process(failpoint=f"{failpoint}:{nth}", dispatch_batch="4", **ways)
        first.start()
        wait_until(f"the process passes {failpoint} {nth} times", lambda: not first.alive)
        with house.process(**ways):
            wait_until("every message is settled", lambda: house.settled(wanted))
    ledger = house.ledger(wanted)
    assert {entry.status for entry in ledger.values()} == {MessageStatus.SENT}
    assert set(receiver.bodies) == {one.dispatch_id for one in wanted}
    assert {len(bodies) for bodies in receiver.bodies.values()} == {1}, "a repeat is the same request"
    assert {entry.provider for entry in ledger.values()} == {"webhook/crm"}
    finals = Counter(one.dispatch_id for one in house.told(wanted) if one.status is MessageStatus.SENT)
    assert set(finals.values()) == {1}


def test_a_robot_that_hangs_and_is_killed_holds_up_no_mail_and_is_unknown_alone(house: Installation, tmp_path: Path) -> None:
    receiver = Receiver()
    with RecordingHttp(lambda request: HANG) as robot, RecordingHttp(receiver) as server:
        ways = settings(house, tmp_path, server.url, robot.url)
        notices = [
            request("robot", number, channel="wecom_group", endpoint="ops", template="robot", message_class="transactional", segment="x")
            for number in range(20)
        ]
        mails = [request("robot-mail", number, template="mail", segment="x") for number in range(20)]
        hooks = [hook_request("robot-hook", number) for number in range(20)]
        process = house.process(**PATIENT, **ways)
        process.start()
        house.ask(notices)
        wait_until("the robot has been called", lambda: len(robot.requests) >= 1)
        house.ask([*mails, *hooks])
        wait_until("mails and webhooks are sent all the same", lambda: house.settled([*mails, *hooks]))
        assert {entry.status for entry in house.ledger([*mails, *hooks]).values()} == {MessageStatus.SENT}
        assert robot.requests[0].path == f"/cgi-bin/webhook/send?key={ROBOT_KEY}"
        assert process_metric(process, "rapport_provider_places_used") >= 1
        called = len(robot.requests)
        process.kill()
        with house.process(**PATIENT, **ways):
            unknown = wait_until(
                "the notice that was on its way is unknown",
                lambda: [entry for entry in house.ledger(notices).values() if entry.status is MessageStatus.UNKNOWN],
            )
        assert {entry.reason for entry in unknown} <= {"crashed", "reply_lost"}
        assert called <= 2
        told = (house.folder / "0.log").read_text() + (house.folder / "1.log").read_text()
        assert ROBOT_KEY not in told


def test_an_endpoint_that_is_gone_is_called_once_a_process_and_a_number_tells_it(house: Installation, tmp_path: Path) -> None:
    with RecordingHttp(lambda request: Reply(410)) as server:
        ways = settings(house, tmp_path, server.url, server.url)
        first = [hook_request("gone", 0)]
        with house.process(**PATIENT, **ways) as process:
            house.ask(first)
            wait_until("the first has failed", lambda: house.settled(first))
            later = [hook_request("gone", number) for number in range(1, 11)]
            house.ask(later)
            wait_until("all have failed", lambda: house.settled(later))
            assert process_metric(process, "rapport_provider_off") == 1
    assert {(entry.status.value, entry.reason) for entry in house.ledger([*first, *later]).values()} == {("failed", "endpoint_gone")}
    assert [one.path for one in server.requests].count("/hook") == 1
