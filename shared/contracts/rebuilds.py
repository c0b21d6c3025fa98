"""Orders to rebuild a view: records of a compacted control topic. The control service appends them, the workers concerned follow them.

An order has a generation, greater than that of every order before it. A slot (or a partition of the warehouse) whose own generation is
smaller than the newest order's forgets what it has and reads the log again; it notes the generation with what it keeps, so an order is
carried out once, whoever dies on the way. How far it has come is read from there: nobody writes progress into the topic.

A copy of a store from before an order looks as if it had yet to be carried out. So an order holds for `LIFE_MS` only: who puts back a copy
later than that is not told to forget it.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from shared.contracts.days import DAY_MS


class View(StrEnum):
    """What can be rebuilt."""

    WAREHOUSE = "warehouse"
    PROFILE = "profile"
    SEGMENTATION = "segmentation"
    MESSAGING = "messaging"


STAGES: Final[Mapping[View, tuple[str, ...]]] = MappingProxyType(
    {View.PROFILE: ("resolver", "folder"), View.SEGMENTATION: ("segmentation",), View.MESSAGING: ("journeys",)}
)
"""The stages whose slots a view is, in the order in which they are rebuilt. The warehouse has none: its view is ClickHouse's tables."""


class RebuildChanged(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One order; the record's key is its `id`. Times in epoch milliseconds.

    `from_ms`: the warehouse reads records again that the log took from then on; 0: all. `cancelled_at`: slots that have not begun do not.
    `accept_loss`: a slot forgets also what nobody can give back; without it such a slot keeps what it has.
    """

    id: str
    view: View
    generation: int
    asked_at: int
    asked_by: str
    from_ms: int = 0
    accept_loss: bool = False
    cancelled_at: int | None = None


class Ordered(NamedTuple):
    """What has been ordered of a view, however long ago: generations of the newest order, and of the newest that accepts loss; 0: none."""

    generation: int = 0
    accepted: int = 0


LIFE_MS: Final = 7 * DAY_MS
"""What has not begun by then does not begin any more; what has begun goes on."""

REBUILD_DECODER: Final = msgspec.json.Decoder(RebuildChanged)


def newest(orders: Iterable[RebuildChanged], view: View) -> RebuildChanged | None:
    """The order that holds for a view now."""
    wanted = [order for order in orders if order.view is view and order.cancelled_at is None]
    return max(wanted, key=lambda order: order.generation, default=None)


def ordered(orders: Iterable[RebuildChanged], view: View | None) -> Ordered:
    """Of a view; of no view nothing is ordered."""
    known = list(orders)
    every = None if view is None else newest(known, view)
    accepting = None if view is None else newest([order for order in known if order.accept_loss], view)
    return Ordered(0 if every is None else every.generation, 0 if accepting is None else accepting.generation)


def holding(orders: Iterable[RebuildChanged], view: View, now_ms: int) -> RebuildChanged | None:
    """The order that whoever keeps a view heeds at `now_ms` (epoch milliseconds)."""
    order = newest(orders, view)
    return order if order is not None and now_ms - order.asked_at < LIFE_MS else None


def view_of(stage: str) -> View | None:
    """The view that a stage belongs to."""
    return next((view for view, stages in STAGES.items() if stage in stages), None)
