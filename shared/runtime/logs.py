"""Log lines: one JSON object each on standard error, personal fields masked."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

PERSONAL: Final = frozenset(
    {"email", "phone", "to", "address", "name", "first_name", "last_name", "firstName", "lastName", "user_id", "ip"}
)
HARMLESS: Final = (
    # mode's own check found that its loop did not run for 3 s; the watchdog looks after a loop that stands still (watchdog.py)
    re.compile(r"Thread keepalive is not responding\.\.\.$"),
    # a broker that starts, or makes its topic of offsets, has no coordinator yet; aiokafka asks again, and readiness says so
    re.compile(r"^Group Coordinator Request failed: \[Error 15\] GroupCoordinatorNotAvailableError"),
)
"""What libraries log at level error though nothing is wrong. It is left out unless the level is DEBUG."""
REPEATING: Final = ("aiokafka", "faust", "mode")
"""Libraries that say of each try that it has failed."""
SELDOM_S: Final = 30.0
_EMAIL = re.compile(r"([^@\s\"']{1,2})[^@\s\"']*@([^@\s\"']+)")


def mask(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Masks values under personal names, and e-mail addresses anywhere."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = "***" if name in PERSONAL else _EMAIL.sub(r"\1***@\2", value)
    return event


def means_something(record: logging.LogRecord) -> bool:
    """Whether a line is none of those that libraries log for nothing."""
    return record.levelno < logging.ERROR or not any(noise.search(record.getMessage()) for noise in HARMLESS)


class Seldom(logging.Filter):
    """Of what a library logs again and again (one message, whatever stands in it) a line in SELDOM_S; it says how many were left out.

    While a broker is away aiokafka logs some thousand lines in ten seconds, and what we wait for is said by lines of our own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(REPEATING):
            return True
        place = (record.pathname, record.lineno)
        at, left_out = self._said.get(place, (-SELDOM_S, 0))
        if record.created - at < SELDOM_S:
            self._said[place] = at, left_out + 1
            return False
        self._said[place] = record.created, 0
        if left_out:
            record.msg, record.args = f"{record.getMessage()} (and {left_out} times more in the last {record.created - at:.0f} s)", ()
        return True


def configure_logs(level: str, service: str) -> None:
    """Set up structlog and the standard library's loggers alike. Raises ValueError for an unknown level."""
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"RAPPORT_LOG_LEVEL: {level!r} is no level (DEBUG, INFO, WARNING, ERROR)")
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            mask,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=structlog.processors.JSONRenderer(),
            foreign_pre_chain=[structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True), mask],
        )
    )
    if number > logging.DEBUG:
        handler.addFilter(means_something)
        handler.addFilter(Seldom())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    structlog.contextvars.bind_contextvars(service=service)
    for noisy in ("aiokafka", "faust", "mode", "faust.transport.drivers.aiokafka"):
        logging.getLogger(noisy).setLevel(max(number, logging.WARNING))
