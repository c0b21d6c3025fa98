"""Stops a bad deploy: a slot on which the records of most people fail must not put its whole log among the dead letters.

Keys are counted, not records: one person counts once, whatever they send. A slot whose brake has caught commits nothing of the batch, logs
why, and stands still for a pause. Then the batch passes, with its failures as dead letters. So nobody who finds a record that cannot be
folded stops a slot for good. While most keys go on failing, each pause is twice as long as the last. A new owner of the slot begins with
the first pause. A slot of the resolver that stands still holds the clock, and with it every timer.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

import structlog

WINDOW: Final = 1000
LEAST: Final = 100
"""Fewer keys that fail never catch: a few bad events of some clients are ordinary."""
LONGEST_PAUSE_S: Final = 600.0
CAUSES_NAMED: Final = 3
_log = structlog.get_logger("runtime")


class FailedKey(NamedTuple):
    """Why a key's last record failed (`reason (kind of error)`), and where it stands. `key` is masked."""

    key: str
    cause: str
    where: str


class Folded(Protocol):
    """What the brake sees of a batch."""

    counts: dict[str, int]
    passed: set[str]
    failed: dict[str, FailedKey]


class Caught(NamedTuple):
    """`words` say what happened and what to do, without a person's data."""

    pause_s: float
    words: str


def masked(key: str) -> str:
    """Tells keys apart in a log without naming anybody."""
    return "#" + sha256(key.encode("utf-8", "replace")).hexdigest()[:8]


class Brake:
    """Looks at the keys of the last `WINDOW` records of a slot."""

    def __init__(self, ratio: float, first_pause_s: float) -> None:
        self._ratio = ratio
        self._first_pause_s = first_pause_s
        self._recent: deque[tuple[int, AbstractSet[str], Mapping[str, FailedKey]]] = deque()
        self._records = self._calm = self._times = self._failing = 0

    async def hold(self, batch: Folded, slot: str, tell: Callable[[str | None], None]) -> None:
        """Stand still for a while if `batch`, not yet committed, catches. `tell` is given the words, and None afterwards."""
        caught = self.check(batch.counts["folded"] + batch.counts["failed"], batch.passed, batch.failed, slot)
        if caught is None:
            return
        _log.error("most records fail", detail=caught.words)
        tell(caught.words)
        try:
            await asyncio.sleep(caught.pause_s)
        finally:
            tell(None)

    def check(self, records: int, passed: AbstractSet[str], failed: Mapping[str, FailedKey], slot: str) -> Caught | None:
        """Called before a batch of `records` is committed; `passed` and `failed` are its keys. `slot`: its name in words."""
        if not records:
            return None
        self._recent.append((records, passed, failed))
        self._records += records
        self._failing += len(failed)
        while self._records > WINDOW and len(self._recent) > 1:
            gone, _, keys = self._recent.popleft()
            self._records -= gone
            self._failing -= len(keys)
        self._calm += records
        if self._calm > WINDOW:
            self._times = 0
        if self._failing < LEAST:  # so are the keys: most batches need not look closer
            return None
        bad = {key: one for _, _, keys in self._recent for key, one in keys.items()}
        total = len(bad.keys() | {key for _, keys, _ in self._recent for key in keys})
        if len(bad) < LEAST or len(bad) <= self._ratio * total:
            return None
        pause_s = min(self._first_pause_s * 2**self._times, LONGEST_PAUSE_S)
        self._times, self._calm, self._records, self._failing = self._times + 1, 0, 0, 0
        self._recent.clear()
        return Caught(pause_s, self._words(slot, bad, total, pause_s))

    def _words(self, slot: str, bad: Mapping[str, FailedKey], total: int, pause_s: float) -> str:
        causes = Counter(one.cause for one in bad.values())
        examples = {one.cause: one for one in bad.values()}
        told = "; ".join(
            f"{cause}: {times} keys, one of them {examples[cause].key} at {examples[cause].where}"
            for cause, times in causes.most_common(CAUSES_NAMED)
        )
        return (
            f"{slot} stands still for {pause_s:.0f} s: records of {len(bad)} of the last {total} keys could not be folded (limit "
            f"{self._ratio:.0%}). {told}. Nothing of this batch is committed. A bad deploy: roll it back now, and nothing is lost. Else do "
            "nothing: after the pause they are set aside and the rest goes on; GET /api/v1/dead-letters shows each by its offset"
        )
