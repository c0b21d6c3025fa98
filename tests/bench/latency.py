"""From HTTP 200 to what follows from it, under a steady load: people who never were before order something, and are looked for.

Redis is asked every few milliseconds, ClickHouse less often, so that the asking costs little; both show in the figures.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import redis.asyncio as redis

from shared.contracts.membership_blob import members_index
from shared.contracts.redis_keys import index_key, state_key
from shared.contracts.slots import slot
from tests.bench import yardstick
from tests.bench.generator import sending
from tests.bench.system import NotMeasuredError, System
from tests.bench.usage import cpu_us, usage

BACKGROUND_RATE, BACKGROUND_BATCH = 1_000.0, 20
SEGMENT = "new_customer"
WARM_SECONDS = 3.0
PROBES_A_SECOND = 10.0
REDIS_POLL_SECONDS = 0.002
CLICKHOUSE_POLL_SECONDS = 0.05
PATIENCE_SECONDS = 30.0
REQUEST, PROFILE, MEMBER, ROW = "request", "profile", "segment", "clickhouse"


@dataclass
class Probe:
    """One person's order. `seen`: what became visible, and how many seconds after the answer."""

    person: str
    message_id: str
    answered: float
    request_s: float
    seen: dict[str, float] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"u:{self.person}"


@dataclass(frozen=True)
class Latency:
    """Seconds. `missing`: how many of the probes were not seen in PATIENCE_SECONDS; they count as that long."""

    p50: float
    p99: float
    highest: float
    probes: int
    missing: int


@dataclass(frozen=True)
class Steady:
    """At BACKGROUND_RATE: latencies by what became visible and of the request itself, that of the bare chain beside them, and CPU
    microseconds an event, by part.
    """

    latency: dict[str, Latency]
    yardstick: Latency
    cpu_us: Mapping[str, float]


def measure(system: System, made: Path, seconds: float, warehouse: bool) -> Steady:
    """All of it in one run, so that it can be compared. Raises NotMeasuredError."""
    with sending(system, made, BACKGROUND_RATE, BACKGROUND_BATCH, WARM_SECONDS + seconds + PATIENCE_SECONDS) as generator:
        time.sleep(WARM_SECONDS)
        before, began = usage(system), time.monotonic()
        with yardstick.beside(system) as chain:
            probes = asyncio.run(Probing(system, warehouse).run(seconds))
            after, took = usage(system), time.monotonic() - began
            bare = chain.stop()
        told = generator.stop()
    system.check_alive()
    if told.refused:
        raise NotMeasuredError(f"the background load was refused: {told.refused}")
    if not probes or not bare.seconds:
        raise NotMeasuredError("no probe was answered" if not probes else "nothing came through the bare chain")
    found = {what: latency([probe.seen.get(what) for probe in probes]) for what in (PROFILE, MEMBER, *([ROW] if warehouse else []))}
    return Steady(
        {REQUEST: latency([probe.request_s for probe in probes])} | found,
        latency([*bare.seconds, *[None] * bare.lost]),
        cpu_us(before, after, int(BACKGROUND_RATE * took) + len(probes)),
    )


def latency(seconds: Sequence[float | None]) -> Latency:
    """Of at least one probe; None is one that was not seen."""
    every = sorted(PATIENCE_SECONDS if one is None else one for one in seconds)
    return Latency(_quantile(every, 0.5), _quantile(every, 0.99), every[-1], len(every), sum(one is None for one in seconds))


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed."""
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


class Probing:
    """Sends orders of new people, `a_second` of them, and looks until they are seen."""

    def __init__(self, system: System, warehouse: bool, a_second: float = PROBES_A_SECOND) -> None:
        self._a_second = a_second
        self._env = system.env
        self._warehouse = warehouse
        self._run = f"probe-{system.next_trial()}"
        self._waiting: dict[str, dict[str, Probe]] = {PROFILE: {}, MEMBER: {}, ROW: {}}
        self._sending = True

    async def run(self, seconds: float) -> list[Probe]:
        """Send for `seconds`, look until all was seen or patience ended."""
        looking = [asyncio.create_task(self._look_in_redis())]
        if self._warehouse:
            looking.append(asyncio.create_task(self._look_in_clickhouse()))
        try:
            probes = await self._send(seconds)
            end = time.monotonic() + PATIENCE_SECONDS
            self._sending = False
            while any(self._waiting.values()) and time.monotonic() < end:
                await asyncio.sleep(0.05)
                for look in looking:
                    if look.done():
                        look.result()
        finally:
            for look in looking:
                look.cancel()
            await asyncio.gather(*looking, return_exceptions=True)
        return probes

    async def _send(self, seconds: float) -> list[Probe]:
        probes: list[Probe] = []
        began = time.monotonic()
        auth = (self._env["RAPPORT_WRITE_KEY"], "")
        async with httpx.AsyncClient(base_url=self._env["RAPPORT_INGEST_URL"], auth=auth, trust_env=False) as client:
            while (at := time.monotonic()) - began < seconds:
                person = f"{self._run}-{len(probes)}"
                message = f"{person}-order"
                order = {"order_id": message, "revenue": 19.5, "total": 19.5, "currency": "GBP"}
                body = {"userId": person, "messageId": message, "event": "Order Completed", "properties": order}
                answer = await client.post("/v1/track", json=body)
                if answer.status_code != 200:
                    raise NotMeasuredError(f"a probe was answered {answer.status_code}: {answer.text[:200]}")
                now = time.monotonic()
                probe = Probe(person, message, now, now - at)
                probes.append(probe)
                for what in (PROFILE, MEMBER, *([ROW] if self._warehouse else [])):
                    self._waiting[what][message] = probe
                await asyncio.sleep(max(0.0, began + len(probes) / self._a_second - time.monotonic()))
        return probes

    def _saw(self, what: str, message: str, now: float) -> None:
        probe = self._waiting[what].pop(message)
        probe.seen[what] = max(0.0, now - probe.answered)

    async def _look_in_redis(self) -> None:
        async with redis.Redis.from_url(self._env["RAPPORT_REDIS_URL"]) as client:
            while True:
                asked = list(self._questions())
                if asked:
                    async with client.pipeline(transaction=False) as pipe:
                        for what, probe in asked:
                            _ask(pipe, what, probe)
                        answers = await pipe.execute()
                    now = time.monotonic()
                    for (what, probe), answer in zip(asked, answers, strict=True):
                        if answer not in (None, 0):
                            self._saw(what, probe.message_id, now)
                await asyncio.sleep(REDIS_POLL_SECONDS)

    def _questions(self) -> Iterator[tuple[str, Probe]]:
        for what in (PROFILE, MEMBER):
            for probe in self._waiting[what].values():
                yield what, probe

    async def _look_in_clickhouse(self) -> None:
        sql = (
            "SELECT message_id FROM rapport.events WHERE type = 'track' AND event = 'Order Completed' AND day >= today() - 1 "
            "AND message_id IN splitByChar(',', {asked:String}) FORMAT TSV"
        )
        async with httpx.AsyncClient(base_url=self._env["RAPPORT_CLICKHOUSE_URL"], trust_env=False, timeout=30) as client:
            while True:
                waiting = list(self._waiting[ROW])
                if waiting:
                    answer = await client.post("/", params={"query": sql, "param_asked": ",".join(waiting)})
                    if answer.status_code != 200:
                        raise NotMeasuredError(f"ClickHouse answers {answer.status_code}: {answer.text[:300]}")
                    now = time.monotonic()
                    for message in answer.text.split():
                        if message in self._waiting[ROW]:
                            self._saw(ROW, message, now)
                await asyncio.sleep(CLICKHOUSE_POLL_SECONDS)


def _ask(pipe: Any, what: str, probe: Probe) -> None:
    if what == PROFILE:
        pipe.exists(state_key("folder", probe.id))
    else:
        pipe.zscore(index_key("segmentation", slot(probe.id), members_index(SEGMENT)), probe.id)
