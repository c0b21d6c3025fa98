"""Records of a followed topic that count for nothing: said in a line of the log now and then, so that whoever may write fills no log."""

import time
from collections import Counter
from enum import StrEnum
from typing import Final

import structlog

TOLD_AGAIN_SECONDS: Final = 30.0


class RefusedRecords:
    """Of one follower's thread. `message` is the line, `about` what stands beside the counts by reason."""

    def __init__(self, logger: str, message: str, **about: str) -> None:
        self._log = structlog.get_logger(logger)
        self._message, self._about = message, about
        self._untold: Counter[str] = Counter()
        self._told = float("-inf")

    def note(self, reason: StrEnum) -> None:
        self._untold[reason.value] += 1

    def tell(self) -> None:
        """Log what was refused since the last line, at most every TOLD_AGAIN_SECONDS. Neither keys nor values are told."""
        if not self._untold or time.monotonic() - self._told < TOLD_AGAIN_SECONDS:
            return
        self._log.error(self._message, **self._about, **self._untold)
        self._untold.clear()
        self._told = time.monotonic()
