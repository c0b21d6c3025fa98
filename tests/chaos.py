"""Random kills under load: `python -m tests.chaos [--kills 200] [--minutes N] [--seed N] [--rate N]`.

Real Kafka, Redis and ClickHouse, all services. A shop sends through the public API, again when told to; meanwhile one process after the
other gets SIGKILL at a random moment. At the end everything is compared: sent, accepted, applied, lost, doubled, and how long each took
to come back. Ends with 1 if anything was lost or doubled, or if the state differs from that of the same log in memory.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import httpx
from rich.console import Console

from deploy.demo.messages import calls
from deploy.demo.replay import SLICE
from deploy.demo.retail import read_invoices, read_rows
from deploy.demo.sdk import Sender, batches
from deploy.local import key_secret, keys
from deploy.local.topics import NEW_PARTITIONS
from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.control import KeyKind
from shared.contracts.slots import settle
from tests.e2e.installation import Installation
from tests.integration.pipeline import Pipeline

VICTIMS = {"profile": 4, "segmentation": 3, "messaging": 3, "ingest": 2, "warehouse": 2, "redis": 1, "clickhouse": 1}
"""Part -> how often it is drawn."""
console = Console(soft_wrap=True)


class Shop(threading.Thread):
    """Sends the demo's calls round after round, at `rate` calls a second, until told to stop."""

    def __init__(self, url: str, write_key: str, rate: int) -> None:
        super().__init__(name="shop")
        self.accepted = 0
        self.stopping = threading.Event()
        self.failure: BaseException | None = None
        self._url, self._write_key, self._rate = url, write_key, rate

    def run(self) -> None:
        try:
            asyncio.run(self._send())
        except BaseException as error:
            self.failure = error

    async def _send(self) -> None:
        every = [call.body for call in calls(read_invoices(read_rows(SLICE)), 0)]
        now = datetime.now(UTC)
        async with httpx.AsyncClient(base_url=self._url) as client:
            sender = Sender(client, self._write_key)
            for turn in count():
                for batch in batches(_of_turn(body, turn, now) for body in every):
                    if self.stopping.is_set():
                        return
                    started = time.monotonic()
                    await sender.send(batch)
                    self.accepted += len(batch.calls)
                    await asyncio.sleep(max(0.0, len(batch.calls) / self._rate - (time.monotonic() - started)))


def _of_turn(body: dict[str, object], turn: int, now: datetime) -> dict[str, object]:
    """The same shop with other customers: ids of this turn."""
    out = body | {"messageId": f"{body['messageId']}-{turn}", "timestamp": now.isoformat()}
    for name in ("userId", "anonymousId"):
        if name in out:
            out[name] = f"{turn}-{out[name]}"
    traits = out.get("traits")
    if isinstance(traits, dict) and "email" in traits:
        out["traits"] = traits | {"email": f"{turn}.{traits['email']}"}
    return out


def kill_some(installation: Installation, kills: int, until: float | None, drawn: random.Random) -> list[tuple[str, float]]:
    """Kill and restart one part after the other; answers (part, seconds until it was ready again)."""
    recoveries: list[tuple[str, float]] = []
    for n in count(1):
        if n > kills or (until is not None and time.monotonic() > until):
            return recoveries
        time.sleep(drawn.uniform(0.05, 2.0))
        name = drawn.choices(list(VICTIMS), list(VICTIMS.values()))[0]
        part = installation.parts[name]
        part.kill()
        started = time.monotonic()
        part.start()
        part.wait_ready(120)
        recoveries.append((name, time.monotonic() - started))
        console.print(f"kill {n:3}: {name:<13} ready again after {recoveries[-1][1]:4.1f} s")
    raise AssertionError("count() does not end")


def warehouse_figures(url: str, expected: int, deadline_s: float) -> tuple[int, int]:
    """(rows after merging, distinct messages) in ClickHouse once it holds `expected`, or after `deadline_s`."""
    sql = "SELECT (SELECT count() FROM rapport.events FINAL), (SELECT uniqExact(source_id, message_id) FROM rapport.events)"
    end = time.monotonic() + deadline_s
    while True:
        rows, distinct = map(int, httpx.post(url, content=sql, timeout=60).text.split())
        if distinct >= expected or time.monotonic() > end:
            return rows, distinct
        time.sleep(0.5)


def main() -> int:
    parser = argparse.ArgumentParser(description="Random kills under load.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--minutes", type=float, help="go on for so long, however many kills that makes")
    parser.add_argument("--rate", type=int, default=300, help="calls a second")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with ExitStack() as stack:
        installation = Installation(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        stack.callback(installation.stop)
        installation.start()
        parts, ports = installation.parts, installation.ports
        settle(NEW_PARTITIONS)
        pipeline = Pipeline(parts["kafka"], parts["redis"], installation.home.logs)
        write_key = keys.create(KafkaConnection(pipeline.bootstrap), key_secret.of_home(installation.home), KeyKind.WRITE, "chaos").secret
        shop = Shop(f"http://127.0.0.1:{ports['ingest']}", write_key, options.rate)
        shop.start()
        until = None if options.minutes is None else time.monotonic() + options.minutes * 60
        kills = options.kills if options.minutes is None else sys.maxsize
        recoveries = kill_some(installation, kills, until, random.Random(options.seed))
        shop.stopping.set()
        shop.join()
        if shop.failure is not None:
            raise shop.failure
        return report(pipeline, shop, recoveries, f"http://127.0.0.1:{ports['clickhouse']}")


def report(pipeline: Pipeline, shop: Shop, recoveries: list[tuple[str, float]], clickhouse: str) -> int:
    """Compare everything with everything, print it, answer the exit code."""
    pipeline.wait_settled(300)
    figures = pipeline.figures()
    rows, messages = warehouse_figures(clickhouse, figures.distinct, 120)
    seconds = [took for _, took in recoveries]
    console.print(f"kills={len(recoveries)} by part: {dict(Counter(name for name, _ in recoveries))}")
    console.print(f"answered_200={shop.accepted} {figures}")
    console.print(f"clickhouse_rows={rows} clickhouse_distinct={messages}")
    console.print(f"recovery_s median={statistics.median(seconds):.1f} max={max(seconds):.1f}")
    good = figures.lost == 0 and figures.differing == 0 and rows == messages == figures.distinct >= shop.accepted
    console.print("nothing lost, nothing doubled" if good else "[bold red]something was lost or doubled[/bold red]")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
