"""What the control service stands on, as protocols: real ones stand in adapters/ and in shared/reading, tests hand in fakes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.control.adapters.definitions import AppliedDefinitions
from services.control.domain.replaying import Append
from services.control.metrics import Metrics
from shared.adapters.partitions import PartitionsOfLog
from shared.contracts.control import KeyKind
from shared.contracts.key_signature import KeySecrets
from shared.contracts.rebuilds import RebuildChanged
from shared.definitions.catalogue import Catalogue
from shared.http.access import Access, Scope
from shared.http.idempotency import Answered
from shared.http.key_access import KeyAccess, KeyStore
from shared.http.personal import View
from shared.http.sealing import Sealer
from shared.reading.live import KeySpace
from shared.reading.ports import History, LogReads


class LogAppends(Protocol):
    """Kafka, written. Raises LogAway."""

    async def append(self, records: Sequence[Append]) -> None: ...


class RebuildOrders(Protocol):
    """The orders to rebuild a view, as the log has them."""

    @property
    def orders(self) -> list[RebuildChanged]:
        """Newest first."""

    def caught_up(self, seconds: float) -> bool: ...


class RejectedReplays(Protocol):
    """Ingest's replay. Raises Refused."""

    async def replay(self, record: bytes) -> None: ...


@dataclass(frozen=True)
class Parts:
    """All of it. `stores`: the keys of each kind as the log has them, signed by `key_secrets`; `access` looks into those of kind `query`.

    `catalogue` answers what keys without the scope `personal` may see now.
    `partitions`: their number, as it is read from Kafka; None where it is settled otherwise. `zone`, `default_locale`: of the next set.
    """

    space: KeySpace
    history: History
    reads: LogReads
    appends: LogAppends
    replays: RejectedReplays
    stores: Mapping[KeyKind, KeyStore]
    key_secrets: KeySecrets
    access: KeyAccess
    sealer: Sealer
    answered: Answered
    metrics: Metrics
    catalogue: Callable[[], Catalogue]
    partitions: PartitionsOfLog | None = None
    orders: RebuildOrders | None = None
    definitions: AppliedDefinitions | None = None
    zone: str = "UTC"
    default_locale: str = "en"

    def view(self, access: Access) -> View:
        """How this key sees people."""
        return View(access.may(Scope.PERSONAL), self.catalogue())
