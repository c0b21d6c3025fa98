"""rebuilds: orders to make a view again, their progress, and what an order could not bring back. The workers concerned do the work."""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Path, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.control.adapters.http.keys import IdempotencyKey
from services.control.domain.rebuilding import (
    Progress,
    State,
    gone,
    held_for_good,
    loses,
    next_generation,
    not_in_rows,
    of_rows,
    of_slots,
    readers,
    state,
    words,
)
from services.control.domain.replaying import Append
from services.control.parts import Parts, RebuildOrders
from shared.contracts.kept_rows import PROGRESS, Noted, latest
from shared.contracts.rebuilds import STAGES, RebuildChanged, View
from shared.contracts.redis_keys import meta_key
from shared.contracts.slots import partition_count
from shared.contracts.topics import EVENT_RECEIVED, EVENT_RESOLVED, REBUILD_CHANGED
from shared.http.bearer import Admin
from shared.http.instants import epoch_ms, instant, instant_or_none, rfc3339
from shared.http.problems import documented
from shared.http.reasons import RETRY_SECONDS, Code, Refused
from shared.http.shapes import Instant, Page
from shared.reading.away import HistoryAway, HistoryTooMuch
from shared.reading.inputs import inputs, partitions
from shared.reading.questions import Load, Question
from shared.runtime.meta import Meta

FOLLOW_SECONDS: Final = 2.0
MOST_LISTED: Final = 100
BELOW: Final = "SELECT count() AS rows FROM rapport.events WHERE _offset < arrayElement({starts:Array(Int64)}, _partition + 1)"

RebuildId = Annotated[str, Path(pattern="^[0-9a-f]{16}$")]


class RebuildRequest(BaseModel):
    """`from` is for the warehouse alone: a live view is always read from the beginning."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    view: View
    from_: AwareDatetime | None = Field(None, alias="from", description="the warehouse loads what the log took since; all without it")
    accept_loss: bool = Field(False, description="forget also what is lost for good by it: see `loses` and `message` of rebuilds:plan")


class ProgressShape(BaseModel):
    parts: int = Field(description="slots of the view's stages; partitions of the log for the warehouse")
    begun: int
    done: int
    records_read: int
    records: int = Field(description="of the log, and of ClickHouse where a slot that has begun is folded from its rows")


class RebuildShape(BaseModel):
    id: str
    view: View
    state: State
    asked_at: Instant
    asked_by: str
    from_: Instant | None = Field(serialization_alias="from")
    progress: ProgressShape | None = Field(description="null while the store that knows it does not answer")


class PlanShape(BaseModel):
    """What an order could not bring back. `message` says all of it."""

    view: View
    records: int = Field(description="to be read")
    gone_records: int = Field(description="that have left the log")
    log_begins_at: Instant | None = Field(description="when the log took the oldest event that it has; null if it has all")
    kept_rows: int | None = Field(description="events of before that in ClickHouse; null where that does not matter or is not known")
    loses: bool = Field(description="neither the log nor ClickHouse has all that the view would forget: an order needs accept_loss")
    message: str


class _Orders:
    """Orders as they stand, how far each has come, and what one could not bring back."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def followed(self) -> RebuildOrders:
        """Raises Refused (503) until all orders are known."""
        if self._parts.orders is None or not await asyncio.to_thread(self._parts.orders.caught_up, FOLLOW_SECONDS):
            raise Refused(503, Code.LOG_UNAVAILABLE, "the orders have not been read to their end yet", retry_after=RETRY_SECONDS)
        return self._parts.orders

    async def stood(self, view: View) -> Callable[[int], Progress] | None:
        """How far a view has come with a generation; None while the store that knows it does not answer."""
        if view is View.WAREHOUSE:
            try:
                noted = latest(await self._noted())
            except (HistoryAway, HistoryTooMuch):
                return None
            return lambda generation: of_rows(generation, noted)
        stages = STAGES[view]
        places = sorted({where for stage in stages for where in partitions(inputs(stage))})
        starts, ends = await asyncio.gather(self._parts.reads.starts(places), self._parts.reads.ends(places))
        slots = await self._metas(view)
        return lambda generation: of_slots(generation, slots, starts, ends)

    async def shapes(self, wanted: Sequence[RebuildChanged], known: Sequence[RebuildChanged]) -> list[RebuildShape]:
        """Each of the `wanted` among all that are `known`; a view is looked at once, however many orders it has had."""
        views = sorted({order.view for order in wanted})
        stood = dict(zip(views, await asyncio.gather(*map(self.stood, views)), strict=True))
        return [_shape(order, known, None if (come := stood[order.view]) is None else come(order.generation)) for order in wanted]

    async def shape(self, order: RebuildChanged, known: Sequence[RebuildChanged]) -> RebuildShape:
        return (await self.shapes([order], known))[0]

    async def plan(self, view: View) -> PlanShape:
        places = sorted({where for reader in readers(view) for where in partitions(inputs(reader))})
        starts, ends = await asyncio.gather(self._parts.reads.starts(places), self._parts.reads.ends(places))
        lost = gone(view, starts)
        events = EVENT_RECEIVED if view is View.PROFILE else EVENT_RESOLVED
        began = await self._parts.reads.began([where for where in places if where[0] == events]) if lost else None
        kept = await self.below([starts.get((EVENT_RESOLVED, p), 0) for p in range(partition_count())]) if lost else None
        metas = await self._metas(view) if lost and view is not View.WAREHOUSE else {}
        not_kept, held = await self._not_kept(view, starts, metas) if metas else None, held_for_good(metas)
        return PlanShape(
            view=view,
            records=sum(ends[where] - starts[where] for where in places),
            gone_records=lost,
            log_begins_at=instant_or_none(began or 0),
            kept_rows=kept,
            loses=loses(view, lost, not_kept, held),
            message=words(view, lost, None if began is None else rfc3339(instant(began)), kept, not_kept, held),
        )

    async def _not_kept(self, view: View, starts: Mapping[tuple[str, int], int], metas: Mapping[str, Sequence[Meta]]) -> str | None:
        """Why ClickHouse cannot give the view what has left the log; None if it can."""
        try:
            noted = await self._noted()
            hole = (await self._parts.history.standing()).hole
        except (HistoryAway, HistoryTooMuch):
            noted, hole = None, None
        return not_in_rows(view, starts, noted, hole, [meta for slots in metas.values() for meta in slots])

    async def _noted(self) -> list[Noted]:
        return [Noted(**row) for row in await self._parts.history.notes(Question("progress", PROGRESS, {}, Load.STATUS))]

    async def _metas(self, view: View) -> dict[str, list[Meta]]:
        stages, count = STAGES[view], partition_count()
        hashes = await self._parts.space.hashes([meta_key(stage, slot) for stage in stages for slot in range(count)])
        metas = [Meta.decode(fields) for fields in hashes]
        return {stage: metas[n * count : (n + 1) * count] for n, stage in enumerate(stages)}

    async def below(self, starts: list[int]) -> int | None:
        try:
            rows = await self._parts.history.notes(Question("below", BELOW, {"starts": starts}))
        except (HistoryAway, HistoryTooMuch):
            return None
        return int(rows[0]["rows"]) if rows else None

    async def append(self, order: RebuildChanged) -> None:
        await self._parts.appends.append([Append(REBUILD_CHANGED, 0, order.id.encode(), msgspec.json.encode(order))])


def router(parts: Parts) -> APIRouter:
    routes, orders = APIRouter(tags=["rebuilds"]), _Orders(parts)

    @routes.get("/rebuilds:plan", operation_id="planRebuild", summary="What a rebuild could not bring back", responses=documented())
    async def planned(access: Admin, view: Annotated[View, Query()]) -> PlanShape:
        return await orders.plan(view)

    @routes.get("/rebuilds", operation_id="listRebuilds", summary="Orders to rebuild, newest first", responses=documented())
    async def listed(access: Admin) -> Page[RebuildShape]:
        known = (await orders.followed()).orders
        return Page(data=await orders.shapes(known[:MOST_LISTED], known))

    @routes.get("/rebuilds/{rebuild_id}", operation_id="getRebuild", summary="One order and how far it is", responses=documented(404))
    async def one(access: Admin, rebuild_id: RebuildId) -> RebuildShape:
        known = (await orders.followed()).orders
        return await orders.shape(found(known, rebuild_id), known)

    @routes.post("/rebuilds", operation_id="createRebuild", summary="Rebuild a view", status_code=201, responses=documented(409))
    async def create(access: Admin, request: Request, wanted: RebuildRequest, idempotency_key: IdempotencyKey = None) -> RebuildShape:
        """Refused (409 `would_lose`) where a live view would forget what neither log nor ClickHouse has, unless `accept_loss` is set."""
        if wanted.from_ is not None and wanted.view is not View.WAREHOUSE:
            raise Refused(400, Code.INVALID_REQUEST, "from: only the warehouse can be loaded from an instant on", "from")

        async def make() -> RebuildShape:
            expected = await orders.plan(wanted.view)
            if expected.loses and not wanted.accept_loss:
                raise Refused(409, Code.WOULD_LOSE, f"{expected.message} Set accept_loss to do it all the same.", "accept_loss")
            followed, now = await orders.followed(), time.time_ns() // 1_000_000
            order = RebuildChanged(
                id=secrets.token_hex(8),
                view=wanted.view,
                generation=next_generation(followed.orders, now),
                asked_at=now,
                asked_by=access.id,
                accept_loss=wanted.accept_loss,
                from_ms=0 if wanted.from_ is None else max(0, epoch_ms(wanted.from_)),
            )
            await orders.append(order)
            return await orders.shape(order, (await orders.followed()).orders)

        return await parts.answered.once(access.id, "createRebuild", idempotency_key, await request.body(), make)

    @routes.delete("/rebuilds/{rebuild_id}", operation_id="cancelRebuild", summary="Cancel an order", responses=documented(404))
    async def cancel(access: Admin, rebuild_id: RebuildId) -> RebuildShape:
        """Slots that have not begun do not begin; those that have go on, since they have forgotten what they had."""
        order = found((await orders.followed()).orders, rebuild_id)
        if order.cancelled_at is None:
            order = msgspec.structs.replace(order, cancelled_at=time.time_ns() // 1_000_000)
            await orders.append(order)
        return await orders.shape(order, (await orders.followed()).orders)

    return routes


def _shape(order: RebuildChanged, known: Sequence[RebuildChanged], come: Progress | None) -> RebuildShape:
    told = None
    if come is not None:
        told = ProgressShape(parts=come.parts, begun=come.begun, done=come.done, records_read=come.read, records=come.records)
    return RebuildShape(
        id=order.id,
        view=order.view,
        state=state(order, known, come, time.time_ns() // 1_000_000),
        asked_at=instant(order.asked_at),
        asked_by=order.asked_by,
        from_=instant_or_none(order.from_ms),
        progress=told,
    )


def found(known: list[RebuildChanged], rebuild_id: str) -> RebuildChanged:
    """Raises Refused (404)."""
    order = next((order for order in known if order.id == rebuild_id), None)
    if order is None:
        raise Refused(404, Code.UNKNOWN_REBUILD, "there is no rebuild of that id")
    return order
