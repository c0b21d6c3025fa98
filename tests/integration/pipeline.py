"""The stateful services on real Kafka and Redis, fed with the demo's events, and the same events through the same stages in memory."""

import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Self

import msgspec
import redis
from confluent_kafka import Message, Producer

from deploy.demo.messages import calls
from deploy.demo.replay import SLICE
from deploy.demo.retail import read_invoices, read_rows
from deploy.local.ports import free_port
from deploy.local.process import Process
from deploy.local.settings import PROJECT
from services.messaging.channels.registry import CHANNELS, HEADS, contacts
from services.messaging.domain.planning import plans
from services.messaging.stage import Journeys
from services.profile.folder_stage import FolderStage
from services.profile.resolver_stage import ResolverStage
from services.segmentation.stage import SegmentationStage
from shared.contracts.digest import Stored, lines
from shared.contracts.events import EVENT_DECODER, EVENT_ENCODER, EventType, ReceivedEvent
from shared.contracts.headers import CAUSE, KIND, header
from shared.contracts.redis_keys import TAGS
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import EVENT_RECEIVED, EVENT_RESOLVED, SEGMENT_CHANGED
from shared.definitions.folder import read_folder
from shared.definitions.journey import Journey
from shared.definitions.segment import Segment
from shared.definitions.template import TemplateHead
from shared.rules.compiler import compile_plan
from shared.runtime.envelope import peek
from shared.runtime.meta import Meta
from shared.runtime.stage import Stage
from shared.testing.scene import Scene
from tests.applied import apply_folder
from tests.integration.topic import messages
from tests.waiting import wait_until

DEFINITIONS = PROJECT / "deploy" / "definitions"
SERVICES = ("profile", "segmentation", "messaging")


def demo_events(count: int, now: datetime) -> list[tuple[str, bytes]]:
    """The demo's last `count` calls before `now`, as ingest would key and publish them."""
    with SLICE.open("rb"):
        every = list(calls(read_invoices(read_rows(SLICE)), 0))
    shift = now - every[-1].at
    return [_received(call.body, call.at + shift) for call in islice(every, max(0, len(every) - count), None)]


def _received(body: dict[str, object], at: datetime) -> tuple[str, bytes]:
    ms = int(at.timestamp() * 1000)
    traits = body.get("traits", {})
    assert isinstance(traits, dict)
    anonymous, user = body.get("anonymousId"), body.get("userId")
    event = ReceivedEvent(
        type=EventType(str(body["type"])),
        message_id=str(body["messageId"]),
        source_id="shop",
        timestamp=ms,
        received_at=ms,
        original_timestamp=ms,
        anonymous_id=None if anonymous is None else str(anonymous),
        user_id=None if user is None else str(user),
        event=str(body["event"]) if "event" in body else None,
        name=str(body["name"]) if "name" in body else None,
        ids={"email": str(traits["email"])} if "email" in traits else {},
        properties=msgspec.Raw(json.dumps(body.get("properties", {})).encode()),
        traits=msgspec.Raw(json.dumps(traits).encode()),
        context=msgspec.Raw(json.dumps(body.get("context", {})).encode()),
    )
    return f"a:{anonymous}" if anonymous is not None else f"u:{user}", EVENT_ENCODER.encode(event)


@dataclass(frozen=True)
class Figures:
    """`accepted`: records in event.received; `distinct`: without repeated message ids; `resolved`: causes in event.resolved.

    `repeated`: resolved records beyond one a cause, which readers drop. `differing`: lines of the digest that are not as in memory.
    """

    accepted: int
    distinct: int
    resolved: int
    repeated: int
    differing: int
    first_difference: str = ""

    @property
    def lost(self) -> int:
        return self.distinct - self.resolved

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in vars(self).items() if value != "") + f" lost={self.lost}"


class Pipeline:
    """Topics, and workers that come and go. One broker and one Redis of its own."""

    def __init__(self, kafka: Process, redis_server: Process, folder: Path, smtp_url: str = "smtp://127.0.0.1:9") -> None:
        self.bootstrap: str = kafka.bootstrap  # type: ignore[attr-defined]
        self.redis_url: str = redis_server.url  # type: ignore[attr-defined]
        self.sent: list[tuple[str, bytes]] = []
        self._smtp_url = smtp_url
        self._folder = folder
        self.waiting_for = ""
        self._runs: Counter[str] = Counter()
        self._workers: list[Process] = []
        self._producer = Producer({"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 5})
        made = Process(
            "topics", [sys.executable, "-m", "deploy.local.topics"], folder / "topics.log", {"RAPPORT_KAFKA_BOOTSTRAP": self.bootstrap}
        )
        made.start()
        wait_until("topics", lambda: not made.alive)
        assert made.returncode == 0, made.log_tail()
        apply_folder(self.bootstrap)

    def worker(self, service: str, failpoint: str = "", module: str = "", **settings: str) -> Process:
        """A service's process, not started. `module`: what runs in the place of its main."""
        self._runs[service] += 1
        port = free_port()
        env = {
            "KAFKA_BOOTSTRAP": self.bootstrap,
            "REDIS_URL": self.redis_url,
            "SMTP_URL": self._smtp_url,
            "HEALTH_PORT": str(port),
            "SESSION_TIMEOUT_SECONDS": "2",
            "DISPATCH_LEASE_SECONDS": "1",
            "FAILPOINT": failpoint,
            **{name.upper(): value for name, value in settings.items()},
        }
        log = self._folder / f"{service}-{self._runs[service]}.log"
        argv = [sys.executable, "-m", module or f"services.{service}.main"]
        variables = {f"RAPPORT_{name}": value for name, value in env.items()}
        self._workers.append(Process(service, argv, log, variables, PROJECT, f"http://127.0.0.1:{port}/readyz"))
        return self._workers[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever a test that failed left running ends with it."""
        for worker in self._workers:
            if worker.alive:
                worker.kill()

    def send(self, events: Sequence[tuple[str, bytes]]) -> None:
        """Append events to event.received; returns when all are durable."""
        for key, value in events:
            while True:
                try:
                    self._producer.produce(EVENT_RECEIVED, key=key, value=value, partition=slot(key))
                    break
                except BufferError:
                    self._producer.poll(0.1)
        assert self._producer.flush(60) == 0
        self.sent.extend(events)

    def client(self) -> "redis.Redis":
        return redis.Redis.from_url(self.redis_url)

    def metas(self, stage: str) -> list[Meta]:
        with self.client() as client:
            found = [client.hgetall(f"{{{TAGS[stage]}:{p}}}:m") for p in range(partition_count())]
        return [Meta.decode({name.decode(): value.decode() for name, value in fields.items()}) for fields in found]

    def wait_settled(self, deadline_s: float = 90.0) -> None:
        """Return once every stage has applied all that stands in its inputs but clock records."""
        try:
            wait_until("every stage has applied everything", self._settled, deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.waiting_for}") from error

    def _settled(self) -> bool:
        try:
            for stage in stages():
                fences = [meta.fences for meta in self.metas(stage.name)]
                for topic in stage.inputs:
                    ends = self._ends(topic)
                    if any(fences[p].get(topic, 0) < ends[p] for p in range(partition_count())):
                        self.waiting_for = (
                            f"{stage.name} on {topic}: {[fences[p].get(topic, 0) for p in range(partition_count())]} of {ends}"
                        )
                        return False
        except redis.RedisError:
            return False
        return True

    def _ends(self, topic: str) -> list[int]:
        """Per partition, the offset after the last record that is no clock record."""
        ends = [0] * partition_count()
        for message in self.log(topic):
            if header(message.headers() or (), KIND) != b"clock":
                ends[message.partition() or 0] = (message.offset() or 0) + 1
        return ends

    def log(self, topic: str) -> list[Message]:
        """Every record of a topic."""
        return messages(self.bootstrap, topic)

    def stored(self) -> list[Stored]:
        """What each stage knows under each key that has not moved away."""
        found = []
        with self.client() as client:
            for stage, tag in TAGS.items():
                keys = [key.decode() for key in client.scan_iter(f"{{{tag}:*}}:s:*", count=5000)]
                for start in range(0, len(keys), 5000):
                    page = keys[start : start + 5000]
                    with client.pipeline(transaction=False) as pipe:
                        for key in page:
                            pipe.zrange(key.replace(":s:", ":x:", 1), 0, -1, withscores=True)
                        sides = pipe.execute()
                    for key, raw, side in zip(page, client.mget(page), sides, strict=True):
                        winner, _, blob = peek(raw)
                        if winner is None:
                            found.append(Stored(stage, key.split(":s:", 1)[1], blob, [(score, member) for member, score in side]))
        return found

    def figures(self) -> Figures:
        """The ledger of what stands in the log and in Redis."""
        received = [message for message in self.log(EVENT_RECEIVED) if header(message.headers() or (), KIND) is None]
        events = [((message.key() or b"").decode(), message.value() or b"") for message in received]
        distinct = {(event.source_id, event.message_id) for event in (EVENT_DECODER.decode(value) for _, value in events)}
        log = self.log(EVENT_RESOLVED)
        resolved = [message for message in log if header(message.headers() or (), KIND) is None]
        causes = {header(message.headers() or (), CAUSE) for message in resolved}
        expected = set(undisturbed(events, log, self.log(SEGMENT_CHANGED)))
        different = sorted(expected ^ set(lines(self.stored())))
        first = repr(different[:3])[:2000] if different else ""
        return Figures(len(events), len(distinct), len(causes), len(resolved) - len(causes), len(different), first)

    def assert_equals_undisturbed(self) -> Figures:
        """The stored state equals that of the same log through the same stages in memory, where nothing ever fails."""
        figures = self.figures()
        print(figures)  # noqa: T201 - the ledger of the run
        assert figures.accepted == len(self.sent), figures
        assert figures.lost == 0, figures
        assert figures.differing == 0, figures
        return figures


def stages() -> tuple[Stage[Any, Any], ...]:
    """The stages as the services' main.py make them of the definitions that ship."""
    folder = read_folder(DEFINITIONS, "en", heads=HEADS).needed(Segment, Journey, TemplateHead)
    segments = [one.definition for one in folder.of(Segment)]
    return (
        ResolverStage(),
        FolderStage(),
        SegmentationStage(compile_plan(segments, "UTC")),
        Journeys(contacts(CHANNELS), plans(folder.of(Journey), folder.templates), folder.templates.person_names, folder.templates.endpoint),
    )


def undisturbed(events: Sequence[tuple[str, bytes]], resolved: Sequence[Message], transitions: Sequence[Message]) -> list[bytes]:
    """The lines of the digest of the same stages in memory, where nothing fails.

    The resolver runs over `events`; the others over the log that was written, clock records where they stand, each cause once. Journeys
    read the transitions that were said: at which instant a person entered follows from what the clocks were then.
    """
    resolver, folder, segmentation, journeys = stages()
    first, second, third = Scene(resolver), Scene(folder, segmentation), Scene(journeys)
    for key, value in events:
        first.log.append(EVENT_RECEIVED, key, value)
    for scene in (second, third):
        _copy(resolved, EVENT_RESOLVED, scene)
    _copy(transitions, SEGMENT_CHANGED, third)
    for scene in (first, second, third):
        scene.settle()
    return lines([*first.stored(), *second.stored(), *third.stored()])


def _copy(messages: Sequence[Message], topic: str, scene: Scene) -> None:
    seen = set()
    for message in messages:
        headers = list(message.headers() or ())
        cause = header(headers, CAUSE)
        if cause is None or cause not in seen:
            seen.add(cause)
            scene.log.append(topic, (message.key() or b"").decode(), message.value(), headers, message.partition())


def shuffled(events: Sequence[tuple[str, bytes]], seed: int) -> list[tuple[str, bytes]]:
    """The same events in another order of arrival."""
    out = list(events)
    random.Random(seed).shuffle(out)
    return out


def in_an_hour_of_today() -> datetime:
    """The present, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)
