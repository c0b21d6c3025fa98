"""Real servers for the tests: started once a session where a test asks for them, on free ports, in temporary folders.

A test module makes topics and keys of its own under a unique prefix. `fresh_redis` is for tests that stop, kill or
flush the server.
"""

import logging
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Final

import pytest
import structlog
from hypothesis import settings

from deploy.local import ports
from deploy.local.clickhouse import ClickHouse
from deploy.local.kafka import Kafka
from deploy.local.ports import free_port
from deploy.local.process import MissingError, Process
from deploy.local.redis import Redis
from shared.contracts.slots import settle
from tests.key_secrets import KEY_SECRET

settle(8)
"""The tests' own process is one of an installation with 8 partitions; shared/testing/installation.py makes another for a test."""

os.environ.setdefault("RAPPORT_KEY_SECRET", KEY_SECRET)  # ingest and query go by it, and every key of the tests is signed by it
settings.register_profile("gate", derandomize=True, deadline=None)
settings.register_profile("fuzz", deadline=None)
settings.load_profile("gate")
"""`make test` tries the same stories each time, so that a red run is about the change before it; `make fuzz` looks for new ones."""


MOST_PROCESSES: Final = 16
PROCESS: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % MOST_PROCESSES
ports.BELOW_OUTGOING = ports.BELOW_OUTGOING[PROCESS::MOST_PROCESSES]
"""Each process of a run takes ports of its own: one that was free when it was chosen may be bound by another before its server starts."""

SLOWEST_FIRST: Final = ("e2e", "integration", "contract", "unit", "architecture")
"""Folders by how long a module of theirs may take. Modules are handed out to the processes in this order, so that none is left alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long modules first; within a module the order stays."""
    items.sort(key=lambda item: SLOWEST_FIRST.index(next((one for one in SLOWEST_FIRST if one in item.path.parts), SLOWEST_FIRST[-1])))


def _running(part: Callable[[Path, int, Path], Process], folder: Path) -> Iterator[Process]:
    """Start one part in a folder, hand it over ready, stop it; where something is missing, say so as the skip reason."""
    try:
        made = part(folder / "data", free_port(), folder / "server.log")
    except MissingError as absent:
        pytest.skip(f"not run: needs {absent}")
    with made:
        yield made


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """What a test configures of logging ends with it: a handler left behind writes to a stream that the next test has closed."""
    root, levels = logging.getLogger(), {name: logging.getLogger(name).level for name in ("aiokafka", "faust", "mode", "httpx")}
    handlers, level, settings = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**settings)
    structlog.contextvars.clear_contextvars()
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A real Kafka broker; `.bootstrap` is its address."""
    yield from _running(Kafka, tmp_path_factory.mktemp("kafka"))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A real Redis; `.url` is its address."""
    yield from _running(Redis, tmp_path_factory.mktemp("redis"))


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A real ClickHouse engine; `.url` is its HTTP address."""
    yield from _running(ClickHouse, tmp_path_factory.mktemp("clickhouse"))


@pytest.fixture
def fresh_redis(tmp_path: Path) -> Iterator[Process]:
    """A Redis of this test alone: stop, kill, pause or flush it as you like."""
    yield from _running(Redis, tmp_path / "redis")


@pytest.fixture
def fresh_kafka(tmp_path: Path) -> Iterator[Process]:
    """A broker of this test alone: stop, kill or pause it as you like."""
    yield from _running(Kafka, tmp_path / "kafka")


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A broker of this module alone, where topics and groups have fixed names."""
    yield from _running(Kafka, tmp_path_factory.mktemp("own-kafka"))


def _allow_no_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """With RAPPORT_REQUIRE_ALL=1 nothing is left out: what would be skipped fails, with the reason of the skip."""
    if os.environ.get("RAPPORT_REQUIRE_ALL") == "1" and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"left out, though RAPPORT_REQUIRE_ALL=1 allows no skip: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """One test, or its setting up."""
    report = yield
    _allow_no_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A whole module."""
    report = yield
    _allow_no_skip(report)
    return report
