"""What a person costs in Redis: the demo's people are played in, then every key is asked for its size."""

import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from os import environ
from typing import Any

import redis

from deploy.local.settings import PROJECT
from shared.contracts.redis_keys import TAGS
from shared.runtime.envelope import peek
from tests.bench.system import NotMeasuredError, System

REPLAY_SECONDS = 600.0
PAGE = 1_000
SORTS = {"m": "meta", "o": "outbox", "t": "timers", "x": "last events", "i": "indexes", "n": "caps"}


@dataclass(frozen=True)
class Bytes:
    """MEMORY USAGE of keys of one sort: how many, the median of one, all together."""

    keys: int
    median: float
    total: int


@dataclass(frozen=True)
class ProfileBytes:
    """`profiles`: states of the folder; `others`: everything else by what it is. `replayed`: events of the demo, within `seconds`."""

    profiles: Bytes
    others: dict[str, Bytes]
    replayed: int
    seconds: float


def replay_demo(system: System) -> tuple[int, float]:
    """Play the demo's slice in through the public API; answers events and seconds. Raises NotMeasuredError."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "deploy.demo.replay"],
        env={**environ, **system.env},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=REPLAY_SECONDS,
        check=False,
    )
    if done.returncode:
        raise NotMeasuredError(f"the demo could not be replayed: {done.stderr[-500:]}")
    return int(done.stdout.split()[-1]), time.monotonic() - began


def weigh(system: System, replayed: int, seconds: float) -> ProfileBytes:
    """Sizes of all keys. Raises NotMeasuredError when there is no profile."""
    sizes: dict[str, list[int]] = defaultdict(list)
    with redis.Redis.from_url(system.env["RAPPORT_REDIS_URL"]) as client:
        for what, size in _sizes(client):
            sizes[what].append(size)
    profiles = sizes.pop("folder state", [])
    if not profiles:
        raise NotMeasuredError("Redis holds no profile")
    return ProfileBytes(_bytes(profiles), {what: _bytes(found) for what, found in sorted(sizes.items())}, replayed, seconds)


def _bytes(sizes: list[int]) -> Bytes:
    return Bytes(len(sizes), statistics.median(sizes), sum(sizes))


def _sizes(client: redis.Redis) -> Iterator[tuple[str, int]]:
    """(what it is, bytes with key and overhead) of every key."""
    stages = {tag: stage for stage, tag in TAGS.items()}
    page: list[str] = []
    for key in client.scan_iter("{*", count=PAGE):
        page.append(key.decode())
        if len(page) == PAGE:
            yield from _page(client, page, stages)
            page = []
    yield from _page(client, page, stages)


def _page(client: redis.Redis, page: list[str], stages: dict[str, str]) -> Iterator[tuple[str, int]]:
    states = [key for key in page if ":s:" in key]
    blobs: dict[str, Any] = dict(zip(states, client.mget(states), strict=True)) if states else {}
    with client.pipeline(transaction=False) as pipe:
        for key in page:
            pipe.memory_usage(key, samples=0)
        found = pipe.execute()
    for key, size in zip(page, found, strict=True):
        if size is not None:
            yield _what(key, blobs.get(key), stages), int(size)


def _what(key: str, blob: bytes | None, stages: dict[str, str]) -> str:
    stage = stages.get(key[1:4], key[1:4])
    sort = key.split(":", 2)[2][:1]
    if sort != "s" or blob is None:
        return f"{stage} {SORTS.get(sort, sort)}"
    return f"{stage} marker" if peek(blob)[0] is not None else f"{stage} state"
