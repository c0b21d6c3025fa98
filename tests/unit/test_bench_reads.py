"""The benchmark of reading asks each GET of the query API, in each of its ways, what it would answer."""

import httpx
import pytest

from tests.api_fakes import World
from tests.api_stores import ADMIN
from tests.bench import reads

WORLD = World()
WAYS = reads.ways(WORLD.document())


@pytest.mark.parametrize("name", WAYS)
async def test_what_the_benchmark_asks_is_no_bad_question(name: str) -> None:
    asked = httpx.URL(reads.asked(WAYS[name], 7, cursor=""))
    query = {one: value for one, value in asked.params.items() if value}
    answer = await WORLD.get(asked.raw_path.decode().partition("?")[0].removeprefix("/api/v1/"), ADMIN, **query)
    assert answer.status_code in (200, 404), answer.text
