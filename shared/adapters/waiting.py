"""Waits that end."""

import asyncio
import contextlib


async def until_set(event: asyncio.Event, seconds: float) -> None:
    """Until `event` is set, but no longer than `seconds`. Who is cancelled meanwhile ends, also if the event comes in the same turn."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
