# ruff: noqa: S608 names come from this file and the catalogue only; every value is bound
"""Every question to ClickHouse. Values are bound; names come from this file and the catalogue only."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from services.query.domain.catalogue import COLUMNS, CONTEXT_PATHS, Grouping, Interval, Measure, NumericProperty
from services.query.domain.timeseries import SeriesAsked
from shared.contracts.ledger import OPEN
from shared.contracts.roots import merges_of, roots
from shared.http.instants import epoch_ms
from shared.reading.questions import Load, Question

Key = tuple[int | str, ...]


_MS: Final = "toUnixTimestamp64Milli"
_IDS: Final = """WITH RECURSIVE ids AS (
            SELECT arrayJoin({ids:Array(String)}) AS id
            UNION ALL
            SELECT loser AS id FROM rapport.merges_by_winner WHERE winner IN (SELECT id FROM ids) AND loser NOT IN {ids:Array(String)}
        )"""
"""A person's ids: those that are bound, and whoever went up in one of these, found by key. What the live view knows of them saves steps."""


_THEIRS: Final = "profile_id IN (SELECT id FROM ids)"
_COPY: Final = "type, event, day, source_id, message_id, sender"
"""The sorting key of events: rows that have it in common are copies. FINAL is asked for those that the person has, since a thousand ids may
stand in any granule, and FINAL of all of them puts the whole table in order first."""


_MESSAGES: Final = f"""
        SELECT dispatch_id, turn, toString(status) AS status, reason, provider, provider_message_id, to_masked, journey, step, profile_id,
            channel, template, {_MS}(at) AS at_ms
        FROM rapport.message_latest"""


def events(ids: Sequence[str], type_: str | None, event: str | None, after: Key | None, limit: int) -> Question:
    """Events of a person, newest first, behind `after` (timestamp ms, partition, offset).

    `ids`: of the person, as far as they are known; whoever was merged into one of these is found.
    """
    theirs, parameters = _where(
        (_THEIRS, {"ids": list(ids)}),
        ("type = {type:String}", {"type": type_}),
        ("event = {event:String}", {"event": event}),
    )
    behind, place = _where(
        ("(timestamp, _partition, _offset) < (fromUnixTimestamp64Milli({a0:Int64}), {a1:UInt32}, {a2:Int64})", _after(after)),
    )
    return Question(
        "events",
        f"""
        {_IDS}
        SELECT message_id, source_id, type, event, name, profile_id, user_id, anonymous_id,
            {_MS}(timestamp) AS timestamp_ms, {_MS}(original_timestamp) AS original_ms, {_MS}(sent_at) AS sent_ms,
            {_MS}(received_at) AS received_ms, raw, _partition AS partition, _offset AS offset
        FROM rapport.events FINAL
        {theirs} AND ({_COPY}) IN (SELECT {_COPY} FROM rapport.events {theirs}) {behind.replace("WHERE", "AND", 1)}
        ORDER BY timestamp DESC, _partition DESC, _offset DESC
        LIMIT {{limit:UInt32}}
        """,
        parameters | place | {"limit": limit},
    )


def messages_of(ids: Sequence[str], after: Key | None, limit: int) -> Question:
    """The last state of each message to a person, newest first, behind `after` (at ms, dispatch id)."""
    where, parameters = _where(("(at_ms, dispatch_id) < ({a0:Int64}, {a1:String})", _after(after)))
    return Question(
        "messages_of",
        f"""
        {_IDS}
        SELECT * FROM (
            {_MESSAGES}
            WHERE dispatch_id IN (SELECT dispatch_id FROM rapport.message_people WHERE {_THEIRS})
            ORDER BY turn DESC LIMIT 1 BY dispatch_id
        )
        {where}
        ORDER BY at_ms DESC, dispatch_id DESC
        LIMIT {{limit:UInt32}}
        """,
        parameters | {"ids": list(ids), "limit": limit},
    )


def message_places(status: str | None, journey: str | None, after: Key | None, limit: int) -> Question:
    """Where states of messages stand, newest first, behind `after` (at ms, dispatch id). A later state of the same message may exist.

    Messages go on from an open state, so nearly all that ever had one have it no more: those that have it are found among the last states.
    """
    table = "message_latest" if status in OPEN else "message_times"
    where, parameters = _where(
        ("status = {status:String}", {"status": status}),
        ("journey = {journey:String}", {"journey": journey}),
        ("(at, dispatch_id) < (fromUnixTimestamp64Milli({a0:Int64}, 'UTC'), {a1:String})", _after(after)),
        ("at <= fromUnixTimestamp64Milli({a0:Int64}, 'UTC')", _after(after)),
    )
    return Question(
        "message_places",
        f"""
        SELECT {_MS}(at) AS at_ms, dispatch_id, turn FROM rapport.{table}
        {where}
        ORDER BY at DESC, dispatch_id DESC, turn DESC
        LIMIT {{limit:UInt32}}
        """,
        parameters | {"limit": limit},
    )


def last_turns(dispatch_ids: Sequence[str]) -> Question:
    """Which state of these messages is the last."""
    return Question(
        "last_turns",
        """
        SELECT dispatch_id, max(turn) AS turn FROM rapport.message_latest WHERE dispatch_id IN {dispatch_ids:Array(String)}
        GROUP BY dispatch_id
        """,
        {"dispatch_ids": list(dispatch_ids)},
    )


def messages(dispatch_ids: Sequence[str]) -> Question:
    """The last state of these messages, and what is left of earlier ones: `turn` tells which is which, at less cost than FINAL."""
    return Question("messages", f"{_MESSAGES} WHERE dispatch_id IN {{dispatch_ids:Array(String)}}", {"dispatch_ids": list(dispatch_ids)})


def transitions(segment: str, transition: str | None, after: Key | None, limit: int) -> Question:
    """Transitions of one segment, newest decided first, behind `after` (decided ms, profile id, transition).

    Read backwards along the table's own order; copies of a row stand side by side there, and one of them is taken.
    """
    decided = "fromUnixTimestamp64Milli({a0:Int64}, 'UTC')"
    where, parameters = _where(
        ("segment = {segment:String}", {"segment": segment}),
        ("transition = {transition:String}", {"transition": transition}),
        (f"(decided_at, profile_id, transition) < ({decided}, {{a1:String}}, {{a2:String}})", _after(after)),
        (f"decided_at <= {decided}", _after(after)),
    )
    return Question(
        "transitions",
        f"""
        SELECT profile_id, segment, transition, version, by_event, reason, {_MS}(at) AS at_ms, {_MS}(decided_at) AS decided_ms
        FROM rapport.segment_transitions
        {where}
        ORDER BY decided_at DESC, profile_id DESC, transition DESC
        LIMIT 1 BY decided_at, profile_id, transition, version, at, by_event
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


_BUCKET: Final = {
    Interval.HOUR: "toString(toUnixTimestamp(toStartOfHour(timestamp, {zone:String})))",
    Interval.DAY: "toString(toDate(timestamp, {zone:String}))",
    Interval.WEEK: "toString(toMonday(timestamp, {zone:String}))",
    Interval.MONTH: "toString(toDate(toStartOfMonth(timestamp, {zone:String})))",
}

_CHOSEN: Final = """type = 'track' AND event = {event:String}
                AND timestamp >= fromUnixTimestamp64Milli({start:Int64}) AND timestamp < fromUnixTimestamp64Milli({end:Int64})"""
_ROOTS: Final = roots(merges_of(f"SELECT profile_id FROM rapport.events WHERE {_CHOSEN}"))
_MERGED: Final = "LEFT ANY JOIN roots ON roots.loser = profile_id"
_PERSON: Final = "if(roots.root = '', profile_id, roots.root)"


def timeseries(asked: SeriesAsked) -> Question:
    """Rows (bucket, group, value) of the largest groups; a group's size is its measure over the whole time."""
    value = _value(asked.measure)
    people = asked.measure is Measure.UNIQUE_PEOPLE
    known, merged, person = ("", "", "''") if not people else (f"RECURSIVE {_ROOTS}, ", _MERGED, _PERSON)
    group = "''" if asked.group_by is None else _group(asked.group_by)
    chosen = f"SELECT bucket, group, {value} AS value FROM chosen"
    if asked.group_by is not None:
        chosen += f" WHERE group IN (SELECT group FROM chosen GROUP BY group ORDER BY {value} DESC, group LIMIT {{groups:UInt32}})"
    return Question(
        "timeseries",
        f"""
        WITH {known}chosen AS (
            SELECT {_BUCKET[asked.interval]} AS bucket, {group} AS group, {_number(asked.of)} AS number, {person} AS person
            FROM rapport.events FINAL
            {merged}
            WHERE {_CHOSEN}
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
        Load.SERIES,
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
