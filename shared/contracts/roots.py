"""Who somebody became, in SQL over the warehouse's rows of merges: from loser to winner, to the root."""

from collections.abc import Callable
from typing import Final

MOST_MERGES: Final = 999
"""So many merges in a row are followed: ClickHouse evaluates a recursive query in at most 1,000 steps."""


def merges_of(losers: str) -> str:
    """The merges that `losers`, a SELECT of ids, have lost."""
    return f"SELECT DISTINCT loser, winner FROM rapport.merges WHERE loser IN ({losers})"  # noqa: S608 texts of ours


def roots(first: str, merges: Callable[[str], str] = merges_of) -> str:
    """The table `roots` (loser, root) of a `WITH RECURSIVE`: the root of each loser of `first`, a SELECT of loser and winner.

    `merges` gives the merges that a SELECT of ids has lost. Found by key from merge to merge; nobody else's merges are read.
    A reader joins it by LEFT ANY JOIN. Within it no ANY: of several losers of one winner it takes one along, and leaves the others.
    """
    further = merges("SELECT winner FROM chain")
    return f"""chain AS (
            SELECT loser, winner, 1 AS steps FROM ({first})
            UNION ALL
            SELECT chain.loser AS loser, further.winner AS winner, chain.steps + 1 AS steps
            FROM chain INNER JOIN ({further}) AS further ON further.loser = chain.winner
            WHERE chain.steps < {MOST_MERGES}
        ), roots AS (SELECT loser, argMax(winner, steps) AS root FROM chain GROUP BY loser)"""  # noqa: S608 texts of ours
