"""Buckets as ClickHouse counts them: the windows of segments can be said in SQL and mean the same."""

import random

import httpx
import pytest

from deploy.local.process import Process
from shared.rules.buckets import Calendar, Unit

pytestmark = pytest.mark.real

ZONES = ["UTC", "Asia/Shanghai", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo", "Africa/Casablanca"]
DAY = 86_400_000


@pytest.mark.parametrize("zone", ZONES)
def test_ages_in_buckets_are_clickhouses_date_differences(clickhouse: Process, zone: str) -> None:
    rnd = random.Random(zone)
    start = 1_350_000_000_000  # 2012, when Sao Paulo still had nights without a midnight
    pairs = [(at, at + rnd.randrange(400 * DAY)) for at in (start + rnd.randrange(4_500 * DAY) for _ in range(5_000))]
    rows = ",".join(f"({at},{now})" for at, now in pairs)
    sql = f"""
        SELECT dateDiff('day', a, b, {{zone:String}}), dateDiff('hour', a, b, 'UTC'), dateDiff('minute', a, b, 'UTC')
        FROM (SELECT fromUnixTimestamp64Milli(p.1, 'UTC') AS a, fromUnixTimestamp64Milli(p.2, 'UTC') AS b
              FROM (SELECT arrayJoin(CAST([{rows}] AS Array(Tuple(Int64, Int64)))) AS p))
        FORMAT JSONCompactEachRow
    """  # noqa: S608 numbers that were made here
    url: str = clickhouse.url  # type: ignore[attr-defined]
    settings = {"param_zone": zone, "output_format_json_quote_64bit_integers": "0", "max_query_size": "10000000"}
    reply = httpx.post(url, params=settings, content=sql, timeout=60)
    assert reply.status_code == 200, reply.text[:2000]
    calendar = Calendar(zone)

    def ages(at: int, now: int) -> list[int]:
        return [calendar.bucket(unit, now) - calendar.bucket(unit, at) for unit in (Unit.DAY, Unit.HOUR, Unit.MINUTE)]

    found = [[int(age) for age in line.strip("[]").split(",")] for line in reply.text.splitlines()]
    assert found == [ages(at, now) for at, now in pairs]
