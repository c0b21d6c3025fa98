"""A client that still sends a body which is refused gets its answer, if the body has an end."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.ingest_rig import BASIC, Rig


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    async with made.client:
        yield made


async def test_a_body_that_is_too_large_is_read_on_to_its_end_so_that_the_answer_arrives(rig: Rig) -> None:
    sent: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for number in range(5):
            sent.append(number)
            yield b"x" * 1024 * 1024

    response = await rig.client.post("/v1/track", content=body(), headers=BASIC)
    assert (response.status_code, response.json()["code"]) == (400, "body_too_large")
    assert response.headers["connection"] == "close"
    assert len(sent) == 5


async def test_a_body_without_an_end_is_hung_up_on(rig: Rig) -> None:
    sent: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for number in range(1000):
            sent.append(number)
            yield b"x" * 1024 * 1024

    response = await rig.client.post("/v1/track", content=body(), headers=BASIC)
    assert response.json()["code"] == "body_too_large"
    assert 5 < len(sent) < 30
