"""Sends calls to POST /v1/batch the way an SDK does: in order, gzip, Basic auth, and again when told to wait."""

import asyncio
import base64
import gzip
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from shared.runtime.backoff import Backoff

MOST_CALLS = 100
LARGEST_BATCH_BYTES = 450_000
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
LONGEST_TOLD_SECONDS = 60.0
"""A server that says Retry-After is obeyed up to here."""
GIVE_UP_SECONDS = 300.0
REQUEST_SECONDS = 60.0
AGAIN = frozenset({408, 429, 500, 502, 503, 504})


class SendError(Exception):
    """The calls cannot be delivered; the message says why, in the server's words where it has any."""


def told_pause(told: str, otherwise: float) -> float:
    """Seconds to wait after an answer with this Retry-After: as told, LONGEST_TOLD_SECONDS at most; `otherwise` if it says no seconds."""
    return min(float(told), LONGEST_TOLD_SECONDS) if told.isdecimal() else otherwise


@dataclass(frozen=True, slots=True)
class Batch:
    """Calls that travel together, encoded one by one."""

    calls: tuple[bytes, ...]

    def body(self, sent_at: datetime) -> bytes:
        """The gzip-compressed body of one attempt."""
        stamp = sent_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return gzip.compress(b'{"sentAt":"%s","batch":[%s]}' % (stamp.encode(), b",".join(self.calls)), compresslevel=1)


def batches(bodies: Iterable[dict[str, Any]]) -> Iterator[Batch]:
    """Pack calls in order, MOST_CALLS and LARGEST_BATCH_BYTES at most in each (one larger call travels alone)."""
    packed: list[bytes] = []
    size = 0
    for body in bodies:
        encoded = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        if packed and (len(packed) == MOST_CALLS or size + len(encoded) > LARGEST_BATCH_BYTES):
            yield Batch(tuple(packed))
            packed, size = [], 0
        packed.append(encoded)
        size += len(encoded) + 1
    if packed:
        yield Batch(tuple(packed))


class Sender:
    """One SDK's connection to the ingest service."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        write_key: str,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`client` has the base URL of the ingest service."""
        self._client = client
        self._sleep = sleep
        self._clock = clock
        secret = base64.b64encode(f"{write_key}:".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {secret}",
            "Content-Type": "application/json",
            "Content-Encoding": "gzip",
        }

    async def send(self, batch: Batch) -> None:
        """Deliver one batch; waits as the server says (told_pause) while it is overloaded or down. Raises SendError."""
        backoff, attempt, give_up = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS), 0, self._clock() + GIVE_UP_SECONDS
        while True:
            answer, why = await self._try(batch, attempt)
            if answer is not None and answer.status_code == 200:
                return
            if answer is not None and answer.status_code not in AGAIN:
                raise SendError(f"ingest refused a batch: {why}")
            if self._clock() > give_up:
                raise SendError(f"ingest took nothing for {GIVE_UP_SECONDS:g} s: {why}")
            await self._sleep(told_pause(answer.headers.get("Retry-After", "") if answer is not None else "", backoff.next()))
            attempt += 1

    async def _try(self, batch: Batch, attempt: int) -> tuple[httpx.Response | None, str]:
        headers = self._headers | ({"X-Retry-Count": str(attempt)} if attempt else {})
        try:
            answer = await self._client.post("/v1/batch", content=batch.body(datetime.now(UTC)), headers=headers)
        except httpx.TransportError as error:
            return None, str(error) or type(error).__name__
        return answer, f"{answer.status_code} {answer.text[:300]}"


async def send_all(packed: Sequence[Batch], url: str, write_key: str, start: int, on_sent: Callable[[int, int], None]) -> None:
    """Send the batches from number `start` on; `on_sent(batches, calls)` hears after each how many are through in all.

    Raises SendError.
    """
    through = sum(len(batch.calls) for batch in packed[:start])
    async with httpx.AsyncClient(base_url=url, timeout=REQUEST_SECONDS, trust_env=False) as client:
        sender = Sender(client, write_key)
        for number, batch in enumerate(packed[start:], start + 1):
            await sender.send(batch)
            through += len(batch.calls)
            on_sent(number, through)
