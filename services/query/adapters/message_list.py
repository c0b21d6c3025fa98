"""All messages, each in its last state, a page at a time.

Every state of a message has a place in time, and only the place of the last one is shown. Places are read by key, newest first; which of
them are last ones, and what stands there, by the ids of their messages. No question walks all messages.
"""

from typing import Any, Final

from services.query.domain import questions
from services.query.domain.questions import Key
from shared.reading.ports import History

PLACES: Final = 500
"""Places looked at in one round; so many ids go into one question."""
MOST_ROUNDS: Final = 20
STATES: Final = 3
"""That most messages go through: so many places are looked at for each, unless one state is asked for."""


async def page(
    history: History, status: str | None, journey: str | None, after: Key | None, limit: int
) -> tuple[list[dict[str, Any]], Key | None]:
    """At most `limit` messages behind `after` (at ms, dispatch id), newest first, and behind what to go on; None if nothing is left.

    Where many places belong to earlier states a page may be short and yet not the last. Raises HistoryAway, HistoryTooMuch.
    """
    found: dict[str, int] = {}
    for _ in range(MOST_ROUNDS):
        size = min(PLACES, (STATES if status is None else 1) * (limit - len(found)) + 10)
        places = await history.rows(questions.message_places(status, journey, after, size))
        ids = list(dict.fromkeys(place["dispatch_id"] for place in places))
        told = await history.rows(questions.last_turns(ids)) if ids else []
        last = {row["dispatch_id"]: row["turn"] for row in told}
        for place in places:
            after = (place["at_ms"], place["dispatch_id"])
            if last.get(place["dispatch_id"]) == place["turn"]:
                found[place["dispatch_id"]] = place["turn"]
                if len(found) == limit:
                    return await _whole(history, found), after
        if len(places) < size:
            return await _whole(history, found), None
    return await _whole(history, found), after


async def _whole(history: History, turns: dict[str, int]) -> list[dict[str, Any]]:
    """These messages, in this order. One that is gone meanwhile, because it has gone on, is left out."""
    ids = list(turns)
    rows = {}
    for start in range(0, len(ids), PLACES):
        for row in await history.rows(questions.messages(ids[start : start + PLACES])):
            rows[row["dispatch_id"], row["turn"]] = row
    return [rows[one] for one in turns.items() if one in rows]
