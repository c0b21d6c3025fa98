"""system: where every stage stands, from Redis and Kafka; when the warehouse last wrote, from ClickHouse. What does not answer is said."""

import asyncio
from enum import StrEnum
from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel, Field

from services.control.domain.flushed import flushed
from services.control.domain.standing import STAGES, StageStanding, standing
from services.control.parts import Parts
from shared.contracts.redis_keys import meta_key
from shared.contracts.slots import NotSettled, partition_count
from shared.http.bearer import Reader
from shared.http.instants import instant_or_none
from shared.http.problems import documented
from shared.http.shapes import Instant
from shared.reading.inputs import Where, inputs, partitions
from shared.reading.keeping import Standing
from shared.reading.pools import Glance
from shared.reading.ports import standing_now
from shared.runtime.meta import Meta

WAREHOUSE: Final = "warehouse"


class InputShape(BaseModel):
    topic: str
    lag_records: int


class SlotShape(BaseModel):
    partition: int
    commits: int
    rebuilding: bool
    clock: Instant | None
    lag_records: int
    fences: dict[str, int] = Field(description="topic to the next offset to apply")


class StageShape(BaseModel):
    """`lag_records`: not yet applied. `clock`: the stage's own time at its last commit; an idle stage does not commit."""

    stage: str
    started: bool
    rebuilding: bool
    clock: Instant | None
    lag_records: int
    inputs: list[InputShape]
    slots: list[SlotShape]


class WarehouseState(StrEnum):
    WHOLE = "whole"
    LOST = "lost"
    REBUILDING = "rebuilding"
    UNKNOWN = "unknown"


class WarehouseShape(BaseModel):
    state: WarehouseState = Field(description="lost: ClickHouse lacks rows that were written to it; rebuilding: they are loaded again")
    detail: str | None = Field(description="what is missing and what to do")
    lag_records: int | None = Field(description="records of its topics that it has not committed")
    last_flush: Instant | None = Field(description="the last time at which rows reached ClickHouse")
    events: int | None


class StoreShape(BaseModel):
    answers: bool


class Status(BaseModel):
    """What is not known is null, and `stores` says which store does not answer."""

    rebuilding: bool | None = Field(
        description="some slot is being rebuilt; null while Redis or Kafka does not answer and no slot is known to be"
    )
    stages: list[StageShape] | None = Field(description="null while Redis or Kafka does not answer")
    warehouse: WarehouseShape
    stores: dict[str, StoreShape] = Field(description="redis, kafka, clickhouse")


def router(parts: Parts, group_prefix: str) -> APIRouter:
    routes = APIRouter(tags=["system"])

    async def acked(reader: str) -> dict[Where, int]:
        return await parts.reads.committed(f"{group_prefix}-{reader}", partitions(inputs(reader)))

    async def metas() -> list[Meta]:
        keys = [meta_key(stage, partition) for stage in STAGES for partition in range(partition_count())]
        return [Meta.decode(fields) for fields in await parts.space.hashes(keys)]

    async def offsets() -> tuple[dict[Where, int], dict[Where, int], list[dict[Where, int]]]:
        every = sorted({where for reader in (*STAGES, WAREHOUSE) for where in partitions(inputs(reader))})
        ends, starts = await asyncio.gather(parts.reads.ends(every), parts.reads.starts(every))
        return ends, starts, list(await asyncio.gather(*(acked(reader) for reader in (*STAGES, WAREHOUSE))))

    slots_now, log_now = Glance(metas, NotSettled), Glance(offsets, NotSettled)
    flushed_now, kept_now = Glance(lambda: parts.history.rows(flushed())), Glance(lambda: standing_now(parts.history))

    @routes.get("/system/status", operation_id="getSystemStatus", summary="Where every stage stands", responses=documented())
    async def status(access: Reader) -> Status:
        """Answers within a second whatever is down or slow: what it cannot know is null."""
        slots, log, last, kept = await asyncio.gather(slots_now(), log_now(), flushed_now(), kept_now())
        stages: list[StageShape] | None = None
        warehouse_lag = None
        if log is not None:
            ends, starts, committed = log
            if slots is not None:
                stages = [
                    _stage(standing(stage, slots[n * partition_count() : (n + 1) * partition_count()], ends, starts, committed[n]))
                    for n, stage in enumerate(STAGES)
                ]
            done = committed[-1]
            warehouse_lag = sum(max(0, ends[at] - max(done.get(at, 0), starts[at])) for at in partitions(inputs(WAREHOUSE)) if at in ends)
        row = last[0] if last else {}
        return Status(
            rebuilding=any(meta.rebuilding for meta in slots or ()) or (None if stages is None else False),
            stages=stages,
            warehouse=WarehouseShape(
                state=_state(kept),
                detail=None if kept is None else kept.hole,
                lag_records=warehouse_lag,
                last_flush=instant_or_none(row.get("flushed_ms")),
                events=row.get("events") if last else None,
            ),
            stores={
                "redis": StoreShape(answers=slots is not None),
                "kafka": StoreShape(answers=log is not None),
                "clickhouse": StoreShape(answers=kept is not None),
            },
        )

    return routes


def _state(kept: Standing | None) -> WarehouseState:
    if kept is None:
        return WarehouseState.UNKNOWN
    if kept.lost is not None:
        return WarehouseState.LOST
    return WarehouseState.REBUILDING if kept.left else WarehouseState.WHOLE


def _stage(one: StageStanding) -> StageShape:
    return StageShape(
        stage=one.stage,
        started=one.started,
        rebuilding=one.rebuilding,
        clock=instant_or_none(one.clock),
        lag_records=one.lag,
        inputs=[InputShape(topic=each.topic, lag_records=each.lag) for each in one.inputs],
        slots=[
            SlotShape(
                partition=slot.partition,
                commits=slot.seq,
                rebuilding=slot.rebuilding,
                clock=instant_or_none(slot.clock),
                lag_records=slot.lag,
                fences=dict(slot.fences),
            )
            for slot in one.slots
        ],
    )
