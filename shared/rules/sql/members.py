"""The whole question: who is in a segment at an instant, by the rows of the warehouse.

Each needed row is read and cut up once, and gathered by person; leaves are expressions over that. Nothing is joined but merges.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from shared.contracts.events import PAGE_VIEWED, SCREEN_VIEWED
from shared.contracts.roots import roots
from shared.definitions.order import with_spoken_of
from shared.definitions.segment import Segment
from shared.rules.buckets import Calendar
from shared.rules.leaf import Leaf
from shared.rules.oracle import Past
from shared.rules.rule import All, AnyOf, NoneOf, Rule, holds
from shared.rules.sql.conditions import every, some
from shared.rules.sql.gathering import Gathering
from shared.rules.sql.query import Column, Parameters, Query, layered
from shared.rules.sql.reading import Reading

_EVERY_MERGE: Final = "SELECT DISTINCT loser, winner FROM rapport.merges"
"""So many merges in a row are followed: ClickHouse takes a thousand steps of one recursion at most."""

SETTINGS: Final = "SETTINGS short_circuit_function_evaluation = 'disable'"
"""Otherwise each AND would compute what stands before it anew for each time that it is named, in memory that grows without end."""
_EVENT_NAME: Final = f"multiIf(type = 'track', event, type = 'page', '{PAGE_VIEWED}', type = 'screen', '{SCREEN_VIEWED}', '')"
_COLUMNS: Final = "profile_id, type, event, timestamp, message_id, source_id, raw"
_NO_EVENT: Final = "SELECT DISTINCT profile_id, '', '', toDateTime64(0, 3, 'UTC'), '', '', '' FROM rapport.events"
"""Everybody who ever did anything: whoever a rule holds of without an event is among them."""


def members(segment: Segment, now: int, zone: str, others: Mapping[str, Segment] | None = None) -> Query:
    """Who is in `segment` at `now` (epoch ms), with days of `zone`: rows (person), each an id as it is after merges.

    `others`: by name, those of which its rule may speak. Raises ValueError or KeyError if there is no such zone, KeyError if one lacks.
    """
    parameters = Parameters()
    answers = _answers([segment], now, zone, parameters, others or {})
    return Query(f"SELECT person FROM ({answers}) WHERE holds[1] {SETTINGS}", parameters.values())  # noqa: S608 every value is bound


def memberships(segments: Sequence[Segment], now: int, zone: str, others: Mapping[str, Segment] | None = None) -> Query:
    """As `members`, of several at once: rows (person, holds), `holds` being true or false of each segment in the order given.

    Whoever is in none of them may be left out.
    """
    parameters = Parameters()
    return Query(f"{_answers(segments, now, zone, parameters, others or {})} {SETTINGS}", parameters.values())


def _answers(segments: Sequence[Segment], now: int, zone: str, parameters: Parameters, others: Mapping[str, Segment]) -> str:
    reading = Reading(parameters)
    gathering = Gathering(reading, Calendar(zone), now)
    answers: list[Column] = []
    of_nobody: dict[str, bool] = {}
    for place, segment in enumerate(with_spoken_of(segments, others)):
        answers.append((f"m{place}", _said(segment.when, gathering)))
        gathering.segments[segment.name] = f"m{place}"
        of_nobody[segment.name] = holds(segment.when, Past((), now, zone, of_nobody))
    rows = _rows(reading)
    if any(of_nobody.values()):
        rows = f"{rows} UNION ALL {_NO_EVENT}"
    facts = [column for value in reading.traits().values() for column in value.columns()]
    gathered = reading.aggregates() + _traits(reading)
    read = reading.members() + [column for value in reading.properties().values() for column in value.columns()]
    return f"""
        WITH RECURSIVE {roots(_EVERY_MERGE)},
        read AS ({rows}),
        theirs AS (
            SELECT if(roots.root = '', profile_id, roots.root) AS person, {_EVENT_NAME} AS event_name,
                toUnixTimestamp64Milli(timestamp) AS at, message_id, source_id, raw
            FROM read LEFT ANY JOIN roots ON roots.loser = profile_id
        ),
        gathered AS (
            SELECT {", ".join(["person", *(f"{sql} AS {alias}" for alias, sql in gathered)])}
            FROM ({layered("theirs", read)})
            GROUP BY person
        )
        SELECT person, [{", ".join(gathering.segments[one.name] for one in segments)}] AS holds
        FROM ({layered("gathered", facts + answers)})
    """  # noqa: S608 every value is bound


def _said(rule: Rule, gathering: Gathering) -> str:
    """A rule as an expression, never NULL."""
    match rule:
        case All():
            return every([_said(part, gathering) for part in rule.all])
        case AnyOf():
            return some([_said(part, gathering) for part in rule.any])
        case NoneOf():
            return f"(NOT {some([_said(part, gathering) for part in rule.none])})"
        case Leaf():
            return rule.sql(gathering)


def _traits(reading: Reading) -> list[Column]:
    """The JSON of each trait that was said last; of a null too, which is a trait's end."""
    return [
        (value.token, f"argMaxIf({value.said}, (at, message_id, source_id), {value.said} != '')") for value in reading.traits().values()
    ]


def _rows(reading: Reading) -> str:
    """The rows that anything asks for."""
    chosen = ["type = 'identify'"] if reading.traits() else []
    for name, since in reading.events.items():
        types = [f"type = 'track' AND event = {reading.parameters.text(name)}"]
        types += ["type = 'page'"] if name == PAGE_VIEWED else []
        types += ["type = 'screen'"] if name == SCREEN_VIEWED else []
        time = "" if since is None else f" AND timestamp >= fromUnixTimestamp64Milli({reading.parameters.number(since)}, 'UTC')"
        chosen += [f"{kind}{time}" for kind in types]
    return f"SELECT {_COLUMNS} FROM rapport.events FINAL WHERE {' OR '.join(f'({one})' for one in chosen)}"  # noqa: S608 as above
