"""The query service on stores in memory."""

from services.query.adapters.people import People
from services.query.app import build
from services.query.domain.segments import KnownSegment
from services.query.parts import Parts
from shared.adapters.prometheus import Registry
from shared.http.app import Api
from shared.http.key_access import KeyAccess
from shared.http.metrics import HTTP_METRICS, HttpMetrics
from shared.http.sealing import Sealer
from tests.api_stores import SHIPPED_CATALOGUE, Client, Stores

SEGMENTS = (
    KnownSegment("big_spenders", 7, "高消费", "Big spenders", None, {"count": 5}, "segment: big_spenders\n"),
    KnownSegment("new_customer", 8, "新客", "New customers", "Bought once", {"count": 1}, "segment: new_customer\n"),
)


def query_parts(stores: Stores) -> Parts:
    """What the service stands on, all of it in memory."""
    return Parts(
        space=stores.space,
        people=People(stores.space),
        history=stores.history,
        offsets=stores.log,
        keys=stores.query_keys,
        access=KeyAccess(stores.query_keys, lambda: stores.now_ms),
        sealer=Sealer(b"a secret of the tests"),
        segments=lambda: SEGMENTS,
        metrics=HttpMetrics(Registry("query", HTTP_METRICS)),
        catalogue=lambda: SHIPPED_CATALOGUE,
        now_ms=lambda: stores.now_ms,
    )


class World(Stores, Client):
    """Everything in memory, the application over it, and a client with the full key."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = query_parts(self)
        self.app: Api = build(self.parts)
