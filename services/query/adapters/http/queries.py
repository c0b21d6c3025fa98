"""queries: questions about the whole history, in ClickHouse."""

from decimal import Decimal
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from services.query.domain import questions
from services.query.domain.catalogue import COLUMNS, CONTEXT_PATHS, Grouping, Interval, Measure, NumericProperty
from services.query.domain.timeseries import SeriesAsked, check, series
from services.query.parts import Parts
from shared.http.bearer import Reader
from shared.http.instants import instant
from shared.http.personal import View
from shared.http.problems import documented
from shared.http.shapes import Instant

_EARLIEST = instant(0)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is no time zone of the IANA database, such as Asia/Shanghai") from None
    return name


def _sensible(at: AwareDatetime) -> AwareDatetime:
    if not 1970 <= at.year <= 2200 or at < _EARLIEST:
        raise ValueError("lies outside the years 1970 to 2200")
    return at


When = Annotated[AwareDatetime, AfterValidator(_sensible)]


class TimeseriesRequest(BaseModel):
    """`from` is in, `to` is not. Buckets are those of the time zone's calendar."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    event: str = Field(min_length=1, max_length=200, description="a track event's name", examples=["Order Completed"])
    measure: Measure = Measure.COUNT
    of: NumericProperty | None = Field(None, alias="property", description="what the measure sum adds up")
    interval: Interval = Interval.DAY
    start: When = Field(alias="from")
    end: When = Field(alias="to")
    time_zone: Annotated[str, AfterValidator(_zone)] = Field("UTC", max_length=64, examples=["UTC", "Asia/Shanghai"])
    group_by: Grouping | None = None
    groups: int = Field(10, ge=1, le=50, description="with group_by: how many of the largest groups")


class PointShape(BaseModel):
    at: Instant = Field(description="when the bucket begins")
    value: str = Field(description="an exact decimal")


class SeriesShape(BaseModel):
    group: str | None = Field(description="null without group_by; empty where events have no such property")
    total: str | None = Field(description="of all points; null for unique people, who may return")
    points: list[PointShape]


class TimeseriesAnswer(BaseModel):
    interval: Interval
    time_zone: str
    data: list[SeriesShape]


class Catalogue(BaseModel):
    measures: list[Measure]
    intervals: list[Interval]
    properties: list[NumericProperty]
    groupings: list[Grouping]


def shown_group(grouping: Grouping | None, group: str | None, view: View) -> str | None:
    """The value that a series stands for, which a client has sent: masked unless the catalogue calls it public."""
    if grouping is None or not group:
        return group
    if grouping in COLUMNS:
        return view.text(group)
    section, path = ("context", CONTEXT_PATHS[grouping]) if grouping in CONTEXT_PATHS else ("properties", (grouping.value,))
    return str(view.leaf(section, path, group))


def router(parts: Parts) -> APIRouter:
    routes = APIRouter(tags=["queries"])

    @routes.post("/queries/timeseries", operation_id="queryTimeseries", summary="An event over time", responses=documented())
    async def timeseries(access: Reader, wanted: TimeseriesRequest) -> TimeseriesAnswer:
        """Counts, distinct people (merges resolved) or an exact sum, by calendar bucket, as one series or one a group."""
        asked = SeriesAsked(
            event=wanted.event,
            measure=wanted.measure,
            of=wanted.of,
            interval=wanted.interval,
            start=wanted.start,
            end=wanted.end,
            zone=ZoneInfo(wanted.time_zone),
            group_by=wanted.group_by,
            groups=wanted.groups,
        )
        check(asked)
        found = series(asked, await parts.history.rows(questions.timeseries(asked)))
        people = asked.measure is Measure.UNIQUE_PEOPLE
        return TimeseriesAnswer(
            interval=asked.interval,
            time_zone=wanted.time_zone,
            data=[
                SeriesShape(
                    group=shown_group(asked.group_by, one.group, parts.view(access)),
                    total=None if people else f"{sum((point.value for point in one.points), Decimal(0)):f}",
                    points=[PointShape(at=point.at, value=f"{point.value:f}") for point in one.points],
                )
                for one in found
            ],
        )

    @routes.get("/queries/catalogue", operation_id="getQueryCatalogue", summary="What queries can ask for", responses=documented())
    async def catalogue(access: Reader) -> Catalogue:
        return Catalogue(measures=list(Measure), intervals=list(Interval), properties=list(NumericProperty), groupings=list(Grouping))

    return routes
