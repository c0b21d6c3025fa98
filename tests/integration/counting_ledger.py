"""The ledger of a run of the counting stage on real servers: what was sent, applied, published, lost and doubled."""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.local.ports import free_port
from deploy.local.process import Process
from services.control.domain.replaying import Place, replayed
from shared.contracts.failed import FAILED_DECODER
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import RECORD_FAILED, TURN_RECORDED
from shared.runtime.envelope import peek
from shared.testing.counting import Counting, Tally
from tests.integration.topic import messages
from tests.waiting import wait_until

PEOPLE = 300


@dataclass(frozen=True)
class Figures:
    sent: int
    applied: int
    published: int
    lost: int
    doubled_in_state: int
    doubled_in_log: int
    dead_letters: int

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in vars(self).items())


class CountingRun:
    """One stage, its topics under a prefix of its own, one or more workers that come and go."""

    def __init__(self, kafka: Process, redis_server: Process, prefix: str, folder: Path) -> None:
        self.bootstrap: str = kafka.bootstrap  # type: ignore[attr-defined]
        self.redis_url: str = redis_server.url  # type: ignore[attr-defined]
        self.prefix = prefix
        self.stage = Counting(prefix=prefix)
        self.sent = 0
        self.sums: Counter[str] = Counter()
        self._folder = folder
        self._workers = 0
        self._producer = Producer({"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 5})
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        names = {*self.stage.inputs, *self.stage.output_topics(), TURN_RECORDED} - set(admin.list_topics(timeout=10).topics)
        config = {"message.timestamp.type": "LogAppendTime"}
        for future in admin.create_topics([NewTopic(name, partition_count(), 1, config=config) for name in names]).values():
            future.result(30)

    def send(self, count: int, **item: object) -> None:
        """Append `count` records over PEOPLE keys, each adding 1; returns when all are durable."""
        for _ in range(count):
            key = f"u:{self.sent % PEOPLE}"
            value = json.dumps({"add": 1, "n": self.sent, **item}).encode()
            while True:
                try:
                    self._producer.produce(self.stage.inputs[0], key=key, value=value, partition=slot(key))
                    break
                except BufferError:
                    self._producer.poll(0.1)
            self.sent += 1
            self.sums[key] += 1
        assert self._producer.flush(60) == 0

    def send_one(self, key: str, **item: object) -> None:
        """Append one record for `key`, not yet durable."""
        self._producer.produce(self.stage.inputs[0], key=key, value=json.dumps({"add": 1, **item}).encode(), partition=slot(key))
        self._producer.poll(0)

    def send_raw(self, key: str, value: bytes) -> None:
        self._producer.produce(self.stage.inputs[0], key=key, value=value, partition=slot(key))
        assert self._producer.flush(60) == 0

    def worker(self, **env: str) -> Process:
        """A worker process, not started. `env` without the prefix RAPPORT_."""
        self._workers += 1
        port = free_port()
        settings = {
            "KAFKA_BOOTSTRAP": self.bootstrap,
            "REDIS_URL": self.redis_url,
            "HEALTH_PORT": str(port),
            "GROUP_PREFIX": self.prefix,
            "SESSION_TIMEOUT_SECONDS": "2",
            **{name.upper(): value for name, value in env.items()},
        }
        variables = {f"RAPPORT_{name}": value for name, value in settings.items() if not name.startswith("COUNTING_")}
        variables |= {name: value for name, value in settings.items() if name.startswith("COUNTING_")} | {"COUNTING_PREFIX": self.prefix}
        argv = [sys.executable, "-m", "shared.testing.counting_worker"]
        log = self._folder / f"worker-{self._workers}.log"
        return Process("worker", argv, log, variables, check=f"http://127.0.0.1:{port}/readyz")

    @contextmanager
    def working(self, **env: str) -> Iterator[Process]:
        """A worker that runs meanwhile."""
        with self.worker(**env) as process:
            yield process

    def client(self) -> "redis.Redis":
        return redis.Redis.from_url(self.redis_url)

    def applied(self) -> int:
        """Records behind the fences."""
        with self.client() as client:
            fences = [client.hget(f"{{pro:{p}}}:m", f"f|{self.stage.inputs[0]}") for p in range(partition_count())]
        return sum(int(fence or 0) for fence in fences)

    def wait_applied(self, deadline_s: float = 60.0, count: int | None = None) -> None:
        wanted = self.sent if count is None else count
        wait_until(f"{wanted} records applied", lambda: self._answers() and self.applied() >= wanted, deadline_s)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                client.ping()
        except redis.RedisError:
            return False
        return True

    def tallies(self) -> dict[str, Tally]:
        with self.client() as client:
            keys = [key.decode() for key in client.scan_iter("{pro:*}:s:*", count=1000)]
            blobs = client.mget(keys) if keys else []
        return {key.split(":s:", 1)[1]: self.stage.load(peek(blob)[2]) for key, blob in zip(keys, blobs, strict=True)}

    def log(self, topic: str) -> list[tuple[str, bytes, dict[str, bytes]]]:
        """(key, value, headers) of every record of a topic."""
        return [((m.key() or b"").decode(), m.value() or b"", dict(m.headers() or ())) for m in messages(self.bootstrap, topic)]

    def replay_dead_letters(self) -> int:
        """Append every dead letter of this run to its stage's loop topic, as the query API does; answers how many."""
        replays = 0
        for message in messages(self.bootstrap, RECORD_FAILED):
            letter = FAILED_DECODER.decode(message.value() or b"")
            if letter.topic == self.stage.inputs[0]:
                again = replayed(letter, Place(message.partition() or 0, message.offset() or 0))
                self._producer.produce(self.stage.inputs[3], again.value, again.key, again.partition, headers=list(again.headers))
                replays += 1
        assert self._producer.flush(60) == 0
        return replays

    def figures(self) -> Figures:
        """Lost and doubled, judged by what states and readers hold: readers drop repeated causes."""
        tallies = self.tallies()
        applied = sum(tally.count for tally in tallies.values())
        records = self.log(self.stage.out)
        causes = Counter(headers["cause"] for _, _, headers in records)
        doubled = sum(max(0, tallies[key].count - wanted) for key, wanted in self.sums.items() if key in tallies)
        letters = [letter for letter in self.log(RECORD_FAILED) if self.prefix.encode() in letter[1]]
        return Figures(self.sent, applied, len(causes), self.sent - len(causes), doubled, len(records) - len(causes), len(letters))

    def assert_exactly_once(self) -> Figures:
        """Every record counted once in its state, and each running total published under one cause."""
        figures = self.figures()
        print(figures)  # noqa: T201 - the ledger of the run
        tallies = self.tallies()
        assert {key: (tally.count, tally.total) for key, tally in tallies.items()} == {key: (n, n) for key, n in self.sums.items()}, figures
        totals: defaultdict[str, dict[bytes, int]] = defaultdict(dict)
        for key, value, headers in self.log(self.stage.out):
            totals[key][headers["cause"]] = int(value)
        assert {key: sorted(found.values()) for key, found in totals.items()} == {
            key: list(range(1, n + 1)) for key, n in self.sums.items()
        }, figures
        return figures
