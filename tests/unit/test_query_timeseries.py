"""Time series: calendar buckets of a zone, without a hole, without a sum that drifts."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.query.domain import questions
from services.query.domain.calendar import begins, count, labels
from services.query.domain.catalogue import Grouping, Interval, Measure, NumericProperty
from services.query.domain.timeseries import SeriesAsked, series
from tests.query_fakes import World

ZONES = [ZoneInfo(name) for name in ("UTC", "Asia/Shanghai", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe")]
TIMES = st.integers(946_684_800, 1_893_456_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
BODY = {"event": "Order Completed", "from": "2026-03-01T00:00:00Z", "to": "2026-03-04T00:00:00Z"}


@given(TIMES, st.timedeltas(timedelta(0), timedelta(days=60)), st.sampled_from(Interval), st.sampled_from(ZONES))
def test_buckets_follow_one_another_and_cover_the_time(start: datetime, length: timedelta, interval: Interval, zone: ZoneInfo) -> None:
    end = start + length + timedelta(seconds=1)
    found = [begins(label, interval, zone) for label in labels(start, end, interval, zone)]
    assert found == sorted(set(found))
    assert found[0] <= start
    assert found[-1] < end
    assert count(start, end, interval) + 2 >= len(found)


def test_days_are_those_of_the_zone_over_a_change_of_clocks() -> None:
    zone = ZoneInfo("America/New_York")
    start, end = datetime(2026, 3, 8, tzinfo=zone), datetime(2026, 3, 10, tzinfo=zone)
    assert [begins(label, Interval.DAY, zone).isoformat() for label in labels(start, end, Interval.DAY, zone)] == [
        "2026-03-08T05:00:00+00:00",
        "2026-03-09T04:00:00+00:00",
    ]


def asked(**changed: Any) -> SeriesAsked:
    whole: dict[str, Any] = {
        "event": "Order Completed",
        "measure": Measure.COUNT,
        "of": None,
        "interval": Interval.DAY,
        "start": datetime(2026, 3, 1, tzinfo=UTC),
        "end": datetime(2026, 3, 4, tzinfo=UTC),
        "zone": ZoneInfo("UTC"),
        "group_by": None,
        "groups": 10,
    }
    return SeriesAsked(**whole | changed)


def test_days_without_events_are_zero_and_sums_stay_exact() -> None:
    rows = [{"bucket": "2026-03-01", "group": "", "value": "0.1000"}, {"bucket": "2026-03-03", "group": "", "value": "0.2000"}]
    (one,) = series(asked(measure=Measure.SUM, of=NumericProperty.REVENUE), rows)
    assert [point.value for point in one.points] == [Decimal("0.1"), Decimal(0), Decimal("0.2")]
    assert sum(point.value for point in one.points) == Decimal("0.3")


def test_groups_come_the_largest_first_each_with_every_bucket() -> None:
    rows = [{"bucket": "2026-03-01", "group": "DE", "value": 1}, {"bucket": "2026-03-02", "group": "CN", "value": 5}]
    found = series(asked(group_by=Grouping.COUNTRY), rows)
    assert [(one.group, len(one.points)) for one in found] == [("CN", 3), ("DE", 3)]
    assert [one.points for one in series(asked(), [])] == [series(asked(), [])[0].points]


@given(st.text(), st.sampled_from(Measure), st.sampled_from(Interval), st.none() | st.sampled_from(Grouping))
def test_no_word_of_the_client_stands_in_the_query(event: str, measure: Measure, interval: Interval, grouping: Grouping | None) -> None:
    of = NumericProperty.REVENUE if measure is Measure.SUM else None
    plain = questions.timeseries(asked(event="x", measure=measure, of=of, interval=interval, group_by=grouping))
    other = questions.timeseries(asked(event=event, measure=measure, of=of, interval=interval, group_by=grouping))
    assert other.sql == plain.sql
    assert other.parameters["event"] == event


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"to": "2026-02-01T00:00:00Z"}, "invalid_request"),
        ({"to": "2026-03-04T00:00:00"}, "invalid_request"),
        ({"from": "0001-01-01T00:00:00Z"}, "invalid_request"),
        ({"measure": "sum"}, "invalid_request"),
        ({"property": "revenue"}, "invalid_request"),
        ({"measure": "sum", "property": "revenue); DROP TABLE events"}, "invalid_request"),
        ({"group_by": "email"}, "invalid_request"),
        ({"time_zone": "Mars/Olympus"}, "invalid_request"),
        ({"time_zone": "../../etc/passwd"}, "invalid_request"),
        ({"time_zone": "\u0000"}, "invalid_request"),
        ({"from": "1990-01-01T00:00:00Z", "interval": "hour"}, "query_too_large"),
    ],
)
async def test_a_series_that_cannot_be_is_refused_before_anything_is_asked(changed: dict[str, str], code: str) -> None:
    world = World()
    answer = await world.post("queries/timeseries", BODY | changed)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert not world.history.asked


async def test_the_answer_has_utc_instants_and_totals() -> None:
    world = World()
    world.history.canned["timeseries"] = [{"bucket": "2026-03-02", "group": "", "value": "10.5000"}]
    body = BODY | {"measure": "sum", "property": "revenue", "time_zone": "Asia/Shanghai"}
    (one,) = (await world.post("queries/timeseries", body)).json()["data"]
    assert (one["total"], one["points"][0]) == ("10.5000", {"at": "2026-02-28T16:00:00.000Z", "value": "0.0000"})
    world.history.away = True
    answer = await world.post("queries/timeseries", BODY)
    assert (answer.status_code, answer.json()["code"]) == (503, "history_unavailable")
