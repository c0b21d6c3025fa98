"""The local catcher of webhooks and notices, over the channels file that a run on one machine writes."""

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.local.hooks import HookCatcher, channels_file, secret_file, write_channels
from deploy.local.ports import free_port
from deploy.local.settings import Home
from services.messaging.channels.endpoints import read_endpoints
from services.messaging.channels.registry import CHANNELS
from services.messaging.channels.webhook import Hook, WebhookProvider
from services.messaging.channels.wecom_group import Notice, RobotProvider
from services.messaging.domain.outcome import Failed, Outcome, Sent
from services.messaging.domain.reasons import Reason

ID = "0123456789abcdef" * 2
HOOK = json.dumps({"type": "customer.important", "data": {"message": "你好"}}).encode()
NOTICE = json.dumps({"msgtype": "text", "text": {"content": "你好"}}).encode()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / ".rapport")
    home.make()
    return home


async def sent(home: Home) -> list[Outcome]:
    found = read_endpoints(channels_file(home), CHANNELS)
    hook, robot = WebhookProvider("crm", found["webhook"]["crm"]), RobotProvider("ops", found["wecom_group"]["ops"])
    outcomes = [await hook.send(Hook(ID, HOOK), lambda: True), await robot.send(Notice(ID, NOTICE), lambda: True)]
    await hook.close()
    await robot.close()
    return outcomes


async def test_what_is_posted_is_kept_by_channel_and_nothing_of_a_robots_key(home: Home) -> None:
    with HookCatcher(home, free_port(), home.logs / "hooks.log"):
        assert await sent(home) == [Sent(), Sent()]
    kept: dict[str, Any] = {path.name.rpartition("-")[2]: json.loads(path.read_text()) for path in home.hooks.iterdir()}
    assert kept["webhook.json"]["body"] == json.loads(HOOK)
    assert kept["webhook.json"]["headers"]["webhook-id"] == ID
    assert kept["wecom_group.json"] == {
        "path": "/cgi-bin/webhook/send",
        "headers": {"content-type": "application/json"},
        "body": json.loads(NOTICE),
    }
    assert {path.stat().st_mode & 0o777 for path in home.hooks.iterdir()} == {0o600}
    key = (home.channels / "ops.key").read_text().strip()
    told = (home.logs / "hooks.log").read_text() + "".join(path.read_text() for path in home.hooks.iterdir())
    assert key not in told


async def test_what_is_not_signed_by_the_secret_is_refused(home: Home) -> None:
    with HookCatcher(home, free_port(), home.logs / "hooks.log"):
        secret_file(home).write_text("whsec_" + "QUJD" * 8)
        assert (await sent(home))[0] == Failed(Reason.REFUSED, "HTTP 401")
    assert [path.name.rpartition("-")[2] for path in home.hooks.iterdir()] == ["wecom_group.json"]


def test_secrets_are_made_once_and_closed_to_others_and_the_port_follows_the_run(home: Home) -> None:
    write_channels(home, 8026)
    before = secret_file(home).read_text()
    write_channels(home, 8099)
    assert secret_file(home).read_text() == before
    assert read_endpoints(channels_file(home), CHANNELS)["webhook"]["crm"].target.url == "http://127.0.0.1:8099/hooks/crm"
    assert {path.stat().st_mode & 0o777 for path in home.channels.iterdir()} == {0o600}
