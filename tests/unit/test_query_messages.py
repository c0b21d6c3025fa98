"""The list of all messages: pages without a gap or a repeat, however many states each message has been through."""

import bisect
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.query.adapters import message_list
from services.query.adapters.message_list import MOST_ROUNDS, PLACES
from services.query.domain.questions import Key
from shared.reading.keeping import Standing
from shared.reading.questions import Question

State = tuple[int, str, int]
"""(at ms, dispatch id, turn)"""


class States:
    """A history that holds these states of messages, asked as ClickHouse is."""

    def __init__(self, states: Sequence[State]) -> None:
        self._rising = sorted(states)
        self._last = {one: max(turn for _, each, turn in states if each == one) for _, one, _ in states}
        self.asked = self.looked_at = 0

    async def notes(self, question: Question) -> list[dict[str, Any]]:
        return await self.rows(question)

    async def standing(self) -> Standing:
        return Standing()

    async def rows(self, question: Question) -> list[dict[str, Any]]:
        self.asked += 1
        given = question.parameters
        if question.name in ("messages", "last_turns"):
            wanted = set(given["dispatch_ids"])
            return [self._row(one) for one in self.listed() if one[1] in wanted]
        start = bisect.bisect_left(self._rising, (given["a0"], given["a1"])) if "a0" in given else len(self._rising)
        places = [self._row(one) for one in reversed(self._rising[max(0, start - given["limit"]) : start])]
        self.looked_at += len(places)
        return places

    async def answers(self) -> bool:
        return True

    def listed(self) -> list[State]:
        return [one for one in reversed(self._rising) if one[2] == self._last[one[1]]]

    def _row(self, state: State) -> dict[str, Any]:
        return {"at_ms": state[0], "dispatch_id": state[1], "turn": state[2]}


async def every(history: States, limit: int) -> list[State]:
    """All pages."""
    found: list[State] = []
    after: Key | None = None
    while True:
        rows, after = await message_list.page(history, None, None, after, limit)
        assert len(rows) <= limit
        found += [(row["at_ms"], row["dispatch_id"], row["turn"]) for row in rows]
        if after is None:
            return found


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abcdefgh")), max_size=60), st.integers(1, 12))
async def test_each_message_is_listed_once_at_the_place_of_its_last_state(told: list[tuple[int, str]], limit: int) -> None:
    history = States([(at, one, turn) for turn, (at, one) in enumerate(told)])
    assert await every(history, limit) == history.listed()


async def test_a_page_among_earlier_states_only_is_short_and_leads_on() -> None:
    many = MOST_ROUNDS * PLACES + 100
    history = States([(1000 + n, "busy", n) for n in range(many)] + [(1, "busy", many), (0, "calm", 0)])
    rows, after = await message_list.page(history, None, None, None, PLACES)
    assert rows == []
    assert after is not None
    assert history.asked <= 3 * MOST_ROUNDS
    assert [one for _, one, _ in await every(history, 1000)] == ["busy", "calm"]


async def test_a_page_of_one_state_looks_at_hardly_more_places_than_it_shows() -> None:
    """Among ten million messages a rare state lies far apart."""
    history = States([(n, f"m{n}", n) for n in range(1_000)])
    rows, after = await message_list.page(history, "failed", None, None, 100)
    assert (len(rows), after) == (100, (900, "m900"))
    assert history.looked_at <= 110
