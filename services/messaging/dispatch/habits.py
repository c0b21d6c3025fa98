"""How a slot of the dispatcher behaves: sizes and waits."""

from dataclasses import dataclass, field
from typing import Final

from services.messaging.dispatch.book import Keeping
from services.messaging.domain.patience import Patience

LISTED: Final = 200
"""Most messages that are listed as waiting in one transaction."""

IDLE_S: Final = 1.0
"""A slot without work looks so often whether its books are to be kept."""


@dataclass(frozen=True)
class Habits:
    """`batch`: most messages of a slot looked at in one round. `lease_s`: a provider call must begin so soon after `sending` was recorded.

    `fenced_pause_s`: who was overtaken waits so long before it takes over in turn; Kafka's group will have told it by then if the slot
    is another's now. `gather_s`: so long an end waits for others to be recorded with it.
    """

    batch: int = 32
    lease_s: float = 5.0
    gate_pause_s: float = 0.5
    fenced_pause_s: float = 10.0
    gather_s: float = 0.005
    patience: Patience = field(default_factory=Patience)
    keeping: Keeping = field(default_factory=Keeping)
