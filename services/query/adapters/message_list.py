"""All messages, each in its last state, a page at a time.

Every state of a message has a place in time, and only the place of the last one is shown. Places are read by key, newest first, and the
messages that stand there by theirs: neither walks all messages.
"""

from typing import Any, Final

from services.query.domain import questions
from services.query.domain.questions import Key
from services.query.parts import History

PLACES: Final = 500
"""Places looked at in one round; so many ids go into one question."""
MOST_ROUNDS: Final = 20


async def page(
    history: History, status: str | None, journey: str | None, after: Key | None, limit: int
) -> tuple[list[dict[str, Any]], Key | None]:
    """At most `limit` messages behind `after` (at ms, dispatch id), newest first, and behind what to go on; None if nothing is left.

    Where many places belong to earlier states a page may be short and yet not the last. Raises HistoryAway, HistoryTooMuch.
    """
    found: list[dict[str, Any]] = []
    for _ in range(MOST_ROUNDS):
        size = min(PLACES, 3 * (limit - len(found)) + 10)
        places = await history.rows(questions.message_places(status, journey, after, size))
        ids = list(dict.fromkeys(place["dispatch_id"] for place in places))
        rows = await history.rows(questions.messages(ids)) if ids else []
        last = {(row["dispatch_id"], row["turn"]): row for row in rows}
        for place in places:
            after = (place["at_ms"], place["dispatch_id"])
            row = last.pop((place["dispatch_id"], place["turn"]), None)
            if row is not None:
                found.append(row)
                if len(found) == limit:
                    return found, after
        if len(places) < size:
            return found, None
    return found, after
