"""What the query service stands on: real parts stand in adapters/ and in shared/reading, tests hand in fakes."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from services.query.adapters.people import People
from services.query.domain.segments import KnownSegment
from shared.adapters.applied_sets import AppliedSets
from shared.adapters.partitions import PartitionsOfLog
from shared.definitions.catalogue import Catalogue
from shared.http.access import Access, Scope
from shared.http.key_access import KeyAccess, KeyStore
from shared.http.metrics import HttpMetrics
from shared.http.personal import View
from shared.http.sealing import Sealer
from shared.reading.live import KeySpace
from shared.reading.ports import History, LogOffsets


@dataclass(frozen=True)
class Parts:
    """All of it. `keys`: the query keys as the log has them; `access` looks into them.

    `segments` answers those that hold now, by name; `catalogue` what keys without the scope `personal` may see.
    `sets`: of definitions; segments are certain once they have been read. `partitions`: their number, as it is read from Kafka. Either is
    None where it is settled otherwise.
    """

    space: KeySpace
    people: People
    history: History
    offsets: LogOffsets
    keys: KeyStore
    access: KeyAccess
    sealer: Sealer
    segments: Callable[[], tuple[KnownSegment, ...]]
    catalogue: Callable[[], Catalogue]
    metrics: HttpMetrics
    phone_region: str | None = None
    partitions: PartitionsOfLog | None = None
    sets: AppliedSets | None = None
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000

    def view(self, access: Access) -> View:
        """How this key sees people."""
        return View(access.may(Scope.PERSONAL), self.catalogue())
