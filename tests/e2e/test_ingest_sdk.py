"""Unmodified SDKs pointed at ingest by their host setting only: what arrives in Kafka, field by field, and how they retry."""

import functools
import http.server
import json
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

import httpx
import pytest

from deploy.local.kafka import Kafka
from deploy.local.ports import HOST, free_port
from deploy.local.process import Process
from shared.contracts.slots import slot
from tests.integration.ingest_service import Ingest, Logged, running
from tests.waiting import wait_until

pytestmark = pytest.mark.real

SDK = Path(__file__).parent / "sdk"
MODULES = SDK / "node_modules"
CALLS: dict[str, Any] = json.loads((SDK / "calls.json").read_text())
CHROMIUM_FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--mute-audio"),
]
Send = Callable[[Ingest, str, Path], Any]


@dataclass(frozen=True)
class Sdk:
    """How to make one SDK send, and what is particular to it. `send` is a context in which the SDK runs."""

    name: str
    library: str
    send: Send
    kinds: tuple[str, ...] = ("identify", "track", "page", "screen", "group", "alias")
    anonymous: bool = False
    """Whether it sends an anonymousId of its own with every call."""


@contextmanager
def _script(program: str, script: str, ingest: Ingest, what: str, folder: Path) -> Iterator[None]:
    child = Process(script, [program, str(SDK / script), ingest.url, ingest.write_key, what], folder / f"{script}.log", cwd=SDK)
    child.start()
    try:
        yield
        wait_until(f"{script} ends", lambda: not child.alive)
        assert child.returncode == 0, child.log_tail(60)
    finally:
        child.stop()


class _Pages(http.server.BaseHTTPRequestHandler):
    """A page, the SDK's bundle as it comes from npm, and the calls to make."""

    files: ClassVar[dict[str, Path]] = {}

    def do_GET(self) -> None:
        path = self.files.get(self.path.partition("?")[0])
        self.send_response(404 if path is None else 200)
        kind = {".js": "text/javascript", ".json": "application/json"}.get(path.suffix if path else "", "text/html")
        self.send_header("content-type", f"{kind}; charset=utf-8")
        self.end_headers()
        if path is not None:
            self.wfile.write(path.read_bytes())

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@contextmanager
def _browser(page: str, bundle: str, ingest: Ingest, what: str, folder: Path) -> Iterator[None]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("not run: needs Chromium")
    files = {"/": SDK / page, "/sdk.js": MODULES / bundle, "/calls.json": SDK / "calls.json"}
    server = http.server.ThreadingHTTPServer((HOST, 0), type("Pages", (_Pages,), {"files": files}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    query = urlencode({"url": ingest.url, "key": ingest.write_key, "what": what})
    argv = [chromium, *CHROMIUM_FLAGS, f"--user-data-dir={folder / 'chromium'}", f"http://{HOST}:{server.server_port}/?{query}"]
    child = Process("chromium", argv, folder / "chromium.log")
    child.start()
    try:
        yield
    finally:
        child.stop(5)
        server.shutdown()
        server.server_close()


def _python(script: str) -> Send:
    return functools.partial(_script, sys.executable, script)


def _node(script: str) -> Send:
    return functools.partial(_script, "node", script)


SEGMENT_PAGE = functools.partial(_browser, "segment_browser.html", "@segment/analytics-next/dist/umd/index.js")
RUDDER_PAGE = functools.partial(_browser, "rudder_browser.html", "@rudderstack/analytics-js/dist/npm/modern/bundled/umd/index.js")
NODE = pytest.mark.needs_node
BROWSER = (pytest.mark.needs_node, pytest.mark.needs_chromium)
SDKS = [
    pytest.param(Sdk("segment-python", "analytics-python", _python("segment_python.py")), id="segment-python"),
    pytest.param(Sdk("rudder-python", "analytics-python", _python("rudder_python.py")), id="rudder-python"),
    pytest.param(Sdk("segment-node", "@segment/analytics-node", _node("segment_node.cjs")), id="segment-node", marks=NODE),
    pytest.param(Sdk("rudder-node", "analytics-node", _node("rudder_node.cjs")), id="rudder-node", marks=NODE),
    pytest.param(Sdk("segment-browser", "analytics.js", SEGMENT_PAGE, anonymous=True), id="segment-browser", marks=BROWSER),
    pytest.param(
        Sdk("rudder-browser", "RudderLabs JavaScript SDK", RUDDER_PAGE, ("identify", "track", "page", "group", "alias"), anonymous=True),
        id="rudder-browser",
        marks=BROWSER,
    ),
]


@pytest.fixture(scope="session")
def npm_ci() -> None:
    """The SDKs of package-lock.json, installed once."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("not run: needs Node.js and npm")
    done = MODULES / ".package-lock.json"
    if not done.exists() or done.stat().st_mtime < (SDK / "package-lock.json").stat().st_mtime:
        subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=SDK, check=True, capture_output=True, timeout=240)


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("needs_node"):
        request.getfixturevalue("npm_ci")


@pytest.mark.parametrize("sdk", SDKS)
def test_every_kind_of_call_arrives_field_by_field(sdk: Sdk, ordinary: Ingest, tmp_path: Path) -> None:
    ingest = ordinary.new_source()
    with sdk.send(ingest, "each", tmp_path):
        logged = ingest.wait_for(len(sdk.kinds))
    by_kind = {one.event.type.value: one for one in logged}
    assert Counter(one.event.type.value for one in logged) == Counter(sdk.kinds)
    for one in logged:
        _check_common(one, sdk, ingest)
    _check_identify(by_kind["identify"])
    track, page, group, alias = (by_kind[kind] for kind in ("track", "page", "group", "alias"))
    assert (track.event.event, track.properties) == (CALLS["event"], CALLS["properties"])
    assert page.event.name == CALLS["page"]
    assert page.properties.items() >= CALLS["pageProperties"].items()
    assert (group.event.group_id, group.traits) == (CALLS["groupId"], CALLS["groupTraits"])
    assert (alias.event.previous_id, alias.event.user_id) == (CALLS["previousId"], CALLS["userId"])
    assert alias.key == f"u:{CALLS['previousId']}"
    if "screen" in sdk.kinds:
        screen = by_kind["screen"]
        assert screen.event.name == CALLS["screen"]
        assert screen.properties.items() >= CALLS["screenProperties"].items()
    assert ingest.rejected() == []


def _check_common(one: Logged, sdk: Sdk, ingest: Ingest) -> None:
    """What holds for every call of an SDK."""
    event = one.event
    assert event.source_id == ingest.source
    assert event.user_id == CALLS["userId"]
    assert (event.anonymous_id is not None) == sdk.anonymous
    assert one.partition == slot(one.key)
    if event.type.value != "alias":
        assert one.key == (f"a:{event.anonymous_id}" if sdk.anonymous else f"u:{event.user_id}")
    assert 0 < len(event.message_id) < 100
    assert one.context["library"]["name"] == sdk.library
    # One machine, one clock: what the SDK calls now is a moment before it was received.
    assert event.original_timestamp is not None
    assert event.sent_at is not None
    assert event.received_at - 60_000 < event.original_timestamp <= event.sent_at <= event.received_at
    assert event.timestamp == event.received_at - (event.sent_at - event.original_timestamp)
    assert "writeKey" not in event.extra


def _check_identify(one: Logged) -> None:
    assert one.traits.items() >= CALLS["traits"].items()
    assert one.event.ids == {"email": "ann@example.com"}


@pytest.mark.parametrize("sdk", SDKS)
def test_told_to_slow_down_an_sdk_waits_and_loses_nothing(sdk: Sdk, slow: Ingest, tmp_path: Path) -> None:
    ingest = slow.new_source()
    before = _answered(ingest, 429)
    with sdk.send(ingest, "12", tmp_path):
        logged = ingest.wait_for(12)
    assert _answered(ingest, 429) > before
    assert sorted(one.properties["n"] for one in logged) == list(range(12))


@pytest.mark.parametrize("sdk", SDKS)
def test_while_kafka_is_stopped_an_sdk_keeps_its_events_and_sends_them_after(
    sdk: Sdk, own_kafka: Kafka, on_own_kafka: Ingest, tmp_path: Path
) -> None:
    ingest = on_own_kafka.new_source()
    before = _answered(ingest, 503)
    own_kafka.pause()
    try:
        wait_until("readiness is red", lambda: httpx.get(f"{ingest.url}/readyz").status_code == 503)
        with sdk.send(ingest, "12", tmp_path):
            wait_until("the SDK was told 503", lambda: _answered(ingest, 503) > before)
            own_kafka.resume()
            logged = ingest.wait_for(12)
    finally:
        own_kafka.resume()
    # A record that was on its way when Kafka stopped may stand twice: under one messageId, so that it counts once.
    assert sorted({one.event.message_id: one.properties["n"] for one in logged}.values()) == list(range(12))


@pytest.fixture(scope="module")
def ordinary(kafka: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    with running(kafka, tmp_path_factory.mktemp("ordinary")) as ingest:
        yield ingest


@pytest.fixture(scope="module")
def slow(kafka: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """Takes five events a second of each key."""
    with running(kafka, tmp_path_factory.mktemp("slow"), rate_per_key=5) as ingest:
        yield ingest


@pytest.fixture(scope="module")
def own_kafka(kafka: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A broker of this module alone, which it may pause. (`kafka` says whether there can be one.)"""
    folder = tmp_path_factory.mktemp("own-kafka")
    with Kafka(folder / "kafka", free_port(), folder / "kafka.log") as broker:
        yield broker


@pytest.fixture(scope="module")
def on_own_kafka(own_kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    with running(own_kafka, tmp_path_factory.mktemp("on-own-kafka"), stall_seconds=0.3, delivery_timeout_seconds=1) as ingest:
        yield ingest


def _answered(ingest: Ingest, status: int) -> int:
    """How many requests were answered with this status, by the service's own count."""
    prefix = f'rapport_ingest_requests_total{{code="{status}"}} '
    lines = httpx.get(f"{ingest.inside}/metrics").text.splitlines()
    return next((int(float(line.removeprefix(prefix))) for line in lines if line.startswith(prefix)), 0)
