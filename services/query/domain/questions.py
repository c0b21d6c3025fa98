# ruff: noqa: S608 names come from this file and the catalogue only; every value is bound
"""Every question to ClickHouse. Values are bound; names come from this file and the catalogue only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.query.domain.catalogue import COLUMNS, CONTEXT_PATHS, Grouping, Interval, Measure, NumericProperty
from services.query.domain.instants import epoch_ms
from services.query.domain.timeseries import SeriesAsked

Key = tuple[int | str, ...]


@dataclass(frozen=True)
class Question:
    """One question. `name` tells it in logs; `sql` binds every value as `{name:Type}`; no value stands in the text."""

    name: str
    sql: str
    parameters: Mapping[str, Any]


_MS: Final = "toUnixTimestamp64Milli"
_PERSON: Final = "profile_id = {person:String} OR profile_id IN (SELECT loser FROM rapport.canonical_ids WHERE canonical = {person:String})"
"""Everybody who is this person now. The view knows a merge as soon as its row is in; the dictionary would follow later."""


def events(person: str, type_: str | None, event: str | None, after: Key | None, limit: int) -> Question:
    """Events of a person and of all who were merged into them, newest first, behind `after` (timestamp ms, partition, offset)."""
    where, parameters = _where(
        (_PERSON, {"person": person}),
        ("type = {type:String}", {"type": type_}),
        ("event = {event:String}", {"event": event}),
        ("(timestamp, _partition, _offset) < (fromUnixTimestamp64Milli({a0:Int64}), {a1:UInt32}, {a2:Int64})", _after(after)),
    )
    return Question(
        "events",
        f"""
        SELECT message_id, source_id, type, event, name, profile_id, user_id, anonymous_id,
            {_MS}(timestamp) AS timestamp_ms, {_MS}(original_timestamp) AS original_ms, {_MS}(sent_at) AS sent_ms,
            {_MS}(received_at) AS received_ms, raw, _partition AS partition, _offset AS offset
        FROM rapport.events FINAL
        {where}
        ORDER BY timestamp DESC, _partition DESC, _offset DESC
        LIMIT {{limit:UInt32}}
        """,
        parameters | {"limit": limit},
    )


def messages(person: str | None, status: str | None, journey: str | None, after: Key | None, limit: int) -> Question:
    """The last state of each message, newest first, behind `after` (at ms, dispatch id)."""
    inner, parameters = _where((_PERSON, {"person": person}), ("journey = {journey:String}", {"journey": journey}))
    outer, more = _where(
        ("status = {status:String}", {"status": status}), ("(at_ms, dispatch_id) < ({a0:Int64}, {a1:String})", _after(after))
    )
    return Question(
        "messages",
        f"""
        SELECT * FROM (
            SELECT dispatch_id, argMax(status, at) AS status, argMax(reason, at) AS reason, argMax(provider, at) AS provider,
                argMax(provider_message_id, at) AS provider_message_id, argMax(to_masked, at) AS to_masked,
                any(journey) AS journey, any(step) AS step, argMax(profile_id, at) AS profile_id, any(channel) AS channel,
                any(template) AS template, {_MS}(max(at)) AS at_ms
            FROM (SELECT * FROM rapport.messages FINAL {inner})
            GROUP BY dispatch_id
        )
        {outer}
        ORDER BY at_ms DESC, dispatch_id DESC
        LIMIT {{limit:UInt32}}
        """,
        parameters | more | {"limit": limit},
    )


def transitions(segment: str, transition: str | None, after: Key | None, limit: int) -> Question:
    """Transitions of one segment, newest decided first, behind `after` (decided ms, profile id, transition)."""
    where, parameters = _where(
        ("segment = {segment:String}", {"segment": segment}),
        ("transition = {transition:String}", {"transition": transition}),
        ("(decided_ms, profile_id, transition) < ({a0:Int64}, {a1:String}, {a2:String})", _after(after)),
    )
    return Question(
        "transitions",
        f"""
        SELECT profile_id, segment, toString(transition) AS transition, version, by_event,
            {_MS}(at) AS at_ms, {_MS}(decided_at) AS decided_ms
        FROM rapport.segment_transitions FINAL
        {where}
        ORDER BY decided_ms DESC, profile_id DESC, transition DESC
        LIMIT {{limit:UInt32}}
        """,
        parameters | {"limit": limit},
    )


def conflicts(after: Key | None, limit: int) -> Question:
    """Each pair of conflicting users once, with the newest word on it, newest first, behind `after` (at ms, one, two)."""
    where, parameters = _where(("(at_ms, one, two) < ({a0:Int64}, {a1:String}, {a2:String})", _after(after)))
    return Question(
        "conflicts",
        f"""
        SELECT * FROM (
            SELECT one, two, argMax(why, at) AS why, {_MS}(max(at)) AS at_ms FROM rapport.identity_conflicts FINAL GROUP BY one, two
        )
        {where}
        ORDER BY at_ms DESC, one DESC, two DESC
        LIMIT {{limit:UInt32}}
        """,
        parameters | {"limit": limit},
    )


def flushed() -> Question:
    """When rows last reached the tables, and how many events there are.

    The parts that inserts made tell it; minutes after the last one, when all are merged, it is the time of that merge.
    """
    return Question(
        "flushed",
        """
        SELECT toUnixTimestamp(if(inserted > 0, inserted, changed)) * 1000 AS flushed_ms, events FROM (
            SELECT maxIf(modification_time, level = 0) AS inserted, max(modification_time) AS changed,
                sumIf(rows, active AND table = 'events') AS events
            FROM system.parts WHERE database = 'rapport' AND table IN ('events', 'segment_transitions', 'messages', 'profiles')
        )
        """,
        {},
    )


_BUCKET: Final = {
    Interval.HOUR: "toString(toUnixTimestamp(toStartOfHour(timestamp, {zone:String})))",
    Interval.DAY: "toString(toDate(timestamp, {zone:String}))",
    Interval.WEEK: "toString(toMonday(timestamp, {zone:String}))",
    Interval.MONTH: "toString(toDate(toStartOfMonth(timestamp, {zone:String})))",
}

_MERGED: Final = "LEFT ANY JOIN rapport.canonical_ids AS moved ON moved.loser = profile_id"
_CANONICAL: Final = "if(moved.canonical = '', profile_id, moved.canonical)"


def timeseries(asked: SeriesAsked) -> Question:
    """Rows (bucket, group, value) of the largest groups; a group's size is its measure over the whole time."""
    value = _value(asked.measure)
    merged, person = ("", "''") if asked.measure is not Measure.UNIQUE_PEOPLE else (_MERGED, _CANONICAL)
    group = "''" if asked.group_by is None else _group(asked.group_by)
    chosen = f"SELECT bucket, group, {value} AS value FROM chosen"
    if asked.group_by is not None:
        chosen += f" WHERE group IN (SELECT group FROM chosen GROUP BY group ORDER BY {value} DESC, group LIMIT {{groups:UInt32}})"
    return Question(
        "timeseries",
        f"""
        WITH chosen AS (
            SELECT {_BUCKET[asked.interval]} AS bucket, {group} AS group, {_number(asked.of)} AS number, {person} AS person
            FROM rapport.events FINAL
            {merged}
            WHERE type = 'track' AND event = {{event:String}}
                AND timestamp >= fromUnixTimestamp64Milli({{start:Int64}}) AND timestamp < fromUnixTimestamp64Milli({{end:Int64}})
        )
        {chosen}
        GROUP BY bucket, group
        """,
        {
            "event": asked.event,
            "start": epoch_ms(asked.start),
            "end": epoch_ms(asked.end),
            "zone": asked.zone.key,
            "groups": asked.groups,
        },
    )


def _value(measure: Measure) -> str:
    match measure:
        case Measure.COUNT:
            return "count()"
        case Measure.UNIQUE_PEOPLE:
            return "uniqExact(person)"
        case Measure.SUM:
            return "sum(number)"


def _where(*conditions: tuple[str, Mapping[str, Any] | None]) -> tuple[str, dict[str, Any]]:
    """The conditions whose values are all given, and those values."""
    given = [(sql, values) for sql, values in conditions if values is not None and None not in values.values()]
    parameters: dict[str, Any] = {}
    for _, values in given:
        parameters |= values
    return ("WHERE " + " AND ".join(f"({sql})" for sql, _ in given) if given else "", parameters)


def _after(after: Key | None) -> dict[str, Any] | None:
    return None if after is None else {f"a{at}": value for at, value in enumerate(after)}


def _group(grouping: Grouping) -> str:
    """The grouping's value as text, empty where there is none."""
    if grouping in COLUMNS:
        return f"ifNull(toString({grouping.value}), '')"
    path = CONTEXT_PATHS.get(grouping)
    field = f"properties.{grouping.value}" if path is None else "context." + ".".join(path)
    return f"ifNull(toString({field}), '')"


def _number(of: NumericProperty | None) -> str:
    """The property as an exact decimal, read from its text; 0 where it is none."""
    if of is None:
        return "toDecimal128(0, 4)"
    if of is NumericProperty.REVENUE:
        return "toDecimal128(ifNull(revenue, 0), 4)"
    return f"toDecimal128OrZero(ifNull(toString(properties.{of.value}), ''), 4)"
