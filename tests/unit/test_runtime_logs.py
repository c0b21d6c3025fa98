"""Log lines: what libraries say at level error though nothing is wrong is left out, and nothing else is."""

import logging

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError
from mode.threads import ServiceThread

from shared.runtime.logs import Seldom, configure_logs

COORDINATOR = "Group Coordinator Request failed: %s"  # aiokafka/consumer/group_coordinator.py


def said(capsys: pytest.CaptureFixture[str], level: str, logger: str, message: str, *arguments: object) -> bool:
    configure_logs(level, "test")
    logging.getLogger(logger).error(message, *arguments)
    return bool(capsys.readouterr().err)


class Asleep:
    """What mode's check asks of a thread; it has not run since long ago, and stops after one look."""

    last_wakeup_at = 1.0
    should_stop = False
    log = logging.getLogger("mode.threads")

    async def sleep(self, _: float) -> None:
        pass

    async def _wakeup_timer_in_thread(self) -> None:
        self.should_stop = True


async def test_modes_own_check_of_its_thread_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """By the library's own code, so that another wording in a newer release fails here."""
    for level, expected in (("INFO", False), ("DEBUG", True)):
        configure_logs(level, "test")
        await ServiceThread._keepalive2(Asleep())
        assert ("keepalive" in capsys.readouterr().err) is expected


def test_a_broker_that_has_no_coordinator_yet_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    logger = "aiokafka.consumer.group_coordinator"
    assert not said(capsys, "INFO", logger, COORDINATOR, GroupCoordinatorNotAvailableError())
    assert said(capsys, "DEBUG", logger, COORDINATOR, GroupCoordinatorNotAvailableError())
    for other in (GroupAuthorizationFailedError("group"), NotCoordinatorForGroupError()):
        assert said(capsys, "INFO", logger, COORDINATOR, other)


@pytest.mark.parametrize("message", ["Thread crashed", "Thread keepalive is not responding: it ended", "keepalive", "Heartbeat failed"])
def test_other_errors_are_said(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "ERROR", "mode.threads", message)


def test_what_a_library_says_of_each_try_is_said_once_in_a_while_with_how_often_it_was_left_out() -> None:
    seldom, said = Seldom(), []
    for second in (*range(100), 200):
        record = logging.LogRecord("aiokafka.client", logging.ERROR, "client.py", 7, "Unable connect to node %d", (second,), None)
        record.created = float(second)
        if seldom.filter(record):
            said.append(record.getMessage())
    assert said == [
        "Unable connect to node 0",
        *(f"Unable connect to node {second} (and 29 times more in the last 30 s)" for second in (30, 60, 90)),
        "Unable connect to node 200 (and 9 times more in the last 110 s)",
    ]
    ours = logging.LogRecord("runtime", logging.ERROR, "slot.py", 7, "ours", (), None)
    assert all(seldom.filter(ours) for _ in range(3))
