"""Waits that end, whatever comes at once."""

import asyncio

import pytest

from shared.adapters.waiting import until_set
from tests.contract.ingest_rig import Rig


@pytest.mark.parametrize("turns", range(5))
async def test_who_is_cancelled_in_the_turn_of_the_event_ends(turns: int) -> None:
    event = asyncio.Event()
    gone_on = False

    async def wait() -> None:
        nonlocal gone_on
        await until_set(event, 60)
        gone_on = True
        await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    event.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=1)
    assert task.cancelled()
    assert gone_on is (turns > 0)


async def test_a_wait_ends_at_the_event_or_at_its_time() -> None:
    event = asyncio.Event()
    await until_set(event, 0)
    assert not event.is_set()
    event.set()
    await until_set(event, 60)


async def test_who_is_cancelled_while_the_writer_of_ingest_closes_ends() -> None:
    """The look at Kafka takes its time to end; the cancellation that comes meanwhile is for the one that waits for it."""
    rig, asked, go = Rig(), asyncio.Event(), asyncio.Event()

    async def slow(topic: str, seconds: float) -> int | None:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            await go.wait()
        return None

    rig.producer.partitions = slow  # type: ignore[method-assign]
    rig.writer.start()
    await asked.wait()
    closing = asyncio.create_task(rig.writer.close(1.0))
    for _ in range(5):
        await asyncio.sleep(0)
    closing.cancel()
    go.set()
    await asyncio.wait([closing], timeout=1)
    assert closing.cancelled()
