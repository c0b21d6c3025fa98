"""Stops a bad deploy: a worker that fails most of its records must not shovel the log into the dead letters."""

from collections import deque
from collections.abc import Mapping
from typing import Final

from shared.runtime.ports import Halted

WINDOW: Final = 1000
LEAST: Final = 100
"""Fewer failures than this never halt: a few bad events of one client are ordinary."""


class Brake:
    """Looks at the last `WINDOW` records of a slot."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._recent: deque[tuple[int, int]] = deque()
        self._folded = 0
        self._failed = 0

    def check(self, counts: Mapping[str, int], stage: str, example: str | None = None) -> None:
        """Called before a batch is committed; `example` is one of its failures, in words.

        Raises Halted if too many of the last records failed.
        """
        folded, failed = counts["folded"], counts["failed"]
        if not folded and not failed:
            return
        self._recent.append((folded, failed))
        self._folded += folded
        self._failed += failed
        while self._folded + self._failed > WINDOW and len(self._recent) > 1:
            old_folded, old_failed = self._recent.popleft()
            self._folded -= old_folded
            self._failed -= old_failed
        total = self._folded + self._failed
        if self._failed >= LEAST and self._failed > self._ratio * total:
            raise Halted(
                f"{self._failed} of the last {total} records of stage {stage} could not be folded (limit {self._ratio:.0%}), one of them: "
                f"{example}. Nothing of this chunk was committed; what failed before it is in rapport.record.failed.v1. Mend the cause "
                "and start again; RAPPORT_DEAD_LETTER_HALT_RATIO=1 goes on anyway"
            )
