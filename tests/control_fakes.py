"""The control service on stores in memory."""

from services.control.app import build
from services.control.metrics import Metrics
from services.control.parts import Parts
from shared.contracts.control import KeyKind
from shared.http.app import Api
from shared.http.idempotency import Answered
from shared.http.key_access import KeyAccess
from shared.http.sealing import Sealer
from tests.api_stores import SHIPPED_CATALOGUE, Client, Stores
from tests.key_secrets import SECRETS


def control_parts(stores: Stores) -> Parts:
    """What the service stands on, all of it in memory."""
    return Parts(
        space=stores.space,
        history=stores.history,
        reads=stores.log,
        appends=stores.log,
        replays=stores.replays,
        stores=stores.keys,
        key_secrets=SECRETS,
        access=KeyAccess(stores.keys[KeyKind.QUERY], lambda: stores.now_ms),
        sealer=Sealer(b"another secret of the tests"),
        answered=Answered(),
        metrics=Metrics(),
        catalogue=lambda: SHIPPED_CATALOGUE,
        orders=stores.log,
        definitions=stores.definitions.applied,
    )


class World(Stores, Client):
    """Everything in memory, the application over it, and a client with the full key."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = control_parts(self)
        self.app: Api = build(self.parts)
