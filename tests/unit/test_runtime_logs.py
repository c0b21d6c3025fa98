"""Log lines: what libraries say at level error though nothing is wrong is left out, and nothing else is."""

import logging

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError
from mode.threads import ServiceThread

from shared.runtime.logs import configure_logs

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
