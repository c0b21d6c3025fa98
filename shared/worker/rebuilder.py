"""Carries out orders to rebuild a view: slot after slot of this process forgets what it has and reads the log again."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol

import structlog

from shared.contracts.rebuilds import RebuildChanged, View, view_of
from shared.worker.stage_worker import StageWorker

PERIOD_S: Final = 1.0
_log = structlog.get_logger("rebuild")


class Orders(Protocol):
    def ordered(self, view: View) -> RebuildChanged | None:
        """The order that holds for a view."""


class Rebuilder:
    """One slot at a time: the others go on with what comes in. A slot notes the order it was forgotten for, so none is twice."""

    def __init__(self, workers: Sequence[StageWorker], orders: Orders) -> None:
        self._workers = workers
        self._orders = orders

    async def run(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_S)
            for worker in self._workers:  # in the order of the stages: what is upstream comes first
                await rebuild_next(worker, self._orders)


async def rebuild_next(worker: StageWorker, orders: Orders) -> None:
    """Rebuild every slot of a stage that has not been since the newest order. The order may be cancelled between two slots."""
    stage = worker.stage.name
    view = view_of(stage)
    while view is not None:
        order = orders.ordered(view)
        slots = worker.slots.values()
        waiting = [slot for slot in slots if slot.token is not None and order is not None and slot.meta.generation < order.generation]
        if order is None or not waiting:
            return
        slot = min(waiting, key=lambda slot: slot.partition)
        _log.warning("rebuilding", stage=stage, slot=slot.partition, order=order.id, left=len(waiting))
        await worker.finish(slot, partial(slot.rebuild, order.generation, order.accept_loss))
