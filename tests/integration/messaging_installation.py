"""What messaging runs in, for tests: a broker, a Redis, a mailbox, the stages before it played by hand, and messaging as real processes."""

import email
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
import redis
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from deploy.local.mail import MailCatcher
from deploy.local.ports import HOST, free_port
from deploy.local.process import Process
from deploy.local.settings import PROJECT
from deploy.local.topics import TopicSettings, ensure
from services.messaging.adapters.gate import UPSTREAM
from services.messaging.domain.ledger import entry_of
from shared.contracts.changes import CHANGE_ENCODER, MESSAGE_CHANGED_DECODER, MessageChanged, MessageRequested, MessageStatus
from shared.contracts.headers import CAUSE, Cause, header
from shared.contracts.journey_blob import Consent, Fact, Person, encode_person
from shared.contracts.ledger import CHECKPOINT_DECODER, LEDGER_DECODER, LEDGER_ENCODER, OPEN, LedgerEntry
from shared.contracts.redis_keys import COMMIT, LIFE, REBUILDING, meta_key, state_key
from shared.contracts.slots import partition_count, slot
from shared.contracts.topics import DISPATCH_CHECKPOINTED, DISPATCH_RECORDED, EVENT_RESOLVED, MESSAGE_CHANGED, MESSAGE_REQUESTED, TOPICS
from shared.runtime.envelope import Entry, close_entry
from tests.applied import apply_folder
from tests.integration.topic import messages
from tests.waiting import wait_until

DEADLINE_S = 60.0
PREFIX = "shop"
"""Of the consumer groups: not the default, so that whatever does not heed it is seen."""


def request(name: str, number: int, **changes: Any) -> MessageRequested:
    """Message `number` of test `name`, to a person of its own."""
    now = time.time_ns() // 1_000_000
    base = MessageRequested(
        dispatch_id=f"{abs(hash_of(name)):016x}{number:016x}",
        entry_id=f"{number:032x}",
        journey="keep_important",
        journey_version=1,
        step="steps[0]",
        profile_id=f"u:{name}-{number}",
        channel="email",
        template="keep_important",
        message_class="marketing",
        requested_at=now,
        expires_at=now + 3600_000,
    )
    return msgspec.structs.replace(base, **changes)


def process_metric(process: Process, name: str) -> float:
    """The sum over all labels of a metric of a running process; 0 if it has none."""
    assert process.check is not None
    text = httpx.get(process.check.replace("/readyz", "/metrics"), timeout=10).text
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(rf"{name}[ {{]", line))


def hash_of(name: str) -> int:
    """A number of 64 bits that stays the same from run to run."""
    return int.from_bytes(name.encode().ljust(8, b"\0")[-8:], "big")


class Installation:
    """One broker and one Redis, given; a mailbox and processes of messaging, made here. Close it at the end."""

    def __init__(self, bootstrap: str, redis_url: str, folder: Path, *, is_applied: bool = True) -> None:
        """`is_applied`: the shipped definitions hold."""
        self.bootstrap, self.redis_url, self.folder = bootstrap, redis_url, folder
        self.redis = redis.Redis.from_url(redis_url)
        self.smtp_port = free_port()
        self.mail = MailCatcher(folder / "mail", self.smtp_port, folder / "mail.log")
        self.processes: list[Process] = []
        ensure(AdminClient({"bootstrap.servers": bootstrap, "log_level": 2}), TOPICS, TopicSettings(kafka_bootstrap=bootstrap))
        if is_applied:
            apply_folder(bootstrap, group_prefix=PREFIX)
        self._producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2", "log_level": 2})

    def close(self) -> None:
        for process in self.processes:
            process.resume()
            process.kill()
        self.mail.stop()
        self.redis.close()

    def process(self, **settings: str) -> Process:
        """A process of messaging, not yet started. `settings`: further RAPPORT_ variables, in lower case."""
        port = free_port()
        env = {
            "RAPPORT_KAFKA_BOOTSTRAP": self.bootstrap,
            "RAPPORT_REDIS_URL": self.redis_url,
            "RAPPORT_SMTP_URL": f"smtp://{HOST}:{self.smtp_port}",
            "RAPPORT_MAIL_FROM": "Shop <shop@example.com>",
            "RAPPORT_HEALTH_PORT": str(port),
            "RAPPORT_SESSION_TIMEOUT_SECONDS": "2",
            "RAPPORT_GROUP_PREFIX": PREFIX,
            "RAPPORT_DISPATCH_LEASE_SECONDS": "1",
            "RAPPORT_MESSAGING_PARTS": "dispatcher",
            "RAPPORT_PROVIDER_RETRY_FIRST_SECONDS": "0.2",
            "RAPPORT_PROVIDER_RETRY_LONGEST_SECONDS": "1",
            "RAPPORT_RETRY_FIRST_SECONDS": "0.5",
        } | {f"RAPPORT_{name.upper()}": value for name, value in settings.items()}
        number = len(self.processes)
        argv = [sys.executable, "-m", "services.messaging.main"]
        made = Process(f"messaging-{number}", argv, self.folder / f"{number}.log", env, PROJECT, f"http://{HOST}:{port}/readyz")
        self.processes.append(made)
        return made

    def upstream_is_caught_up(self, stages: Iterable[str] = UPSTREAM) -> None:
        for stage in stages:
            for partition in range(partition_count()):
                self.redis.hset(meta_key(stage, partition), mapping={REBUILDING: "0", COMMIT: 5, LIFE: 1000})

    def upstream_moves_on(self) -> None:
        """Each slot of each stage makes a commit."""
        for stage in UPSTREAM:
            for partition in range(partition_count()):
                self.redis.hincrby(meta_key(stage, partition), COMMIT)

    def upstream_begins_anew(self) -> None:
        """Each stage has noticed that Redis went back, and has refolded."""
        for stage in UPSTREAM:
            for partition in range(partition_count()):
                self.redis.hset(meta_key(stage, partition), mapping={REBUILDING: "0", COMMIT: 2, LIFE: 2000})

    def looks_at_the_gate(self) -> int:
        """How often the dispatcher has looked at all stages upstream."""
        calls: int = self.redis.info("commandstats").get("cmdstat_hmget", {"calls": 0})["calls"]
        return calls // (len(UPSTREAM) * partition_count())

    def copy_of_redis(self) -> dict[bytes, bytes]:
        return {key: self.redis.dump(key) for key in self.redis.keys("*")}  # type: ignore[misc]

    def put_back(self, copy: Mapping[bytes, bytes]) -> None:
        """Redis holds what it held then, at once, as if its file of then had been put under it."""
        with self.redis.pipeline(transaction=True) as pipe:
            pipe.flushdb()
            for key, value in copy.items():
                pipe.restore(key, 0, value)
            pipe.execute()

    def know(self, profile_id: str, email_address: str | None, consent: bool = True) -> None:
        """Put a person where journeys would keep them."""
        fact = None if email_address is None else Fact(1, "m", "s", json.dumps(email_address).encode())
        person = Person({} if fact is None else {"email": fact}, consents={"email": Consent(1, "m", "s", consent)})
        entry: Entry[Person] = Entry()
        entry.state = person
        self.redis.set(state_key("journeys", profile_id), close_entry(entry, encode_person(person)))

    def ask(self, requests: Iterable[MessageRequested]) -> None:
        """Put requests where journeys would, and their people too."""
        requests = list(requests)
        for one in requests:
            self.know(one.profile_id, f"{one.profile_id.partition(':')[2]}@example.com")
        self.ask_without_knowing(requests)

    def ask_without_knowing(self, requests: Iterable[MessageRequested]) -> None:
        """Put requests where journeys would."""
        for one in requests:
            self._producer.produce(MESSAGE_REQUESTED, CHANGE_ENCODER.encode(one), one.profile_id.encode(), slot(one.profile_id))
        assert self._producer.flush(30) == 0

    def ask_with_ends(self, requests: Sequence[MessageRequested], status: MessageStatus, ago_ms: int) -> dict[str, LedgerEntry]:
        """As `ask`, and put the ends of these messages where a dispatcher of `ago_ms` ago recorded them; answers those."""
        found = {}
        places = Counter(self.ends_of_requests())
        for number, one in enumerate(requests):
            partition, cause = slot(one.profile_id), Cause("journeys", EVENT_RESOLVED, slot(one.profile_id), number, 0).encode()
            entry = entry_of(one, places[partition], status, one.requested_at - ago_ms, one.profile_id, 1, cause.decode())
            places[partition] += 1
            self.know(one.profile_id, "old@example.com")
            self.produce(MESSAGE_REQUESTED, one.profile_id, CHANGE_ENCODER.encode(one), [(CAUSE, cause)])
            self.produce(DISPATCH_RECORDED, one.dispatch_id, LEDGER_ENCODER.encode(entry), [], partition)
            found[one.dispatch_id] = entry
        self.flush()
        return found

    def slots_of(self, requests: Iterable[MessageRequested]) -> set[int]:
        return {slot(one.profile_id) for one in requests}

    def checkpointed(self, requests: Iterable[MessageRequested]) -> bool:
        """Whether the ids of these messages stand in checkpoints."""
        saved = {
            part.ids[at : at + 16].hex()
            for record in self.read(DISPATCH_CHECKPOINTED)
            for part in CHECKPOINT_DECODER.decode(record.value()).new
            for at in range(0, len(part.ids), 16)
        }
        return {one.dispatch_id for one in requests} <= saved

    def ends_of_requests(self) -> dict[int, int]:
        """Partition -> offset behind the last request."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "ends", "log_level": 2})

        def look() -> dict[int, int]:
            try:
                return {
                    p: consumer.get_watermark_offsets(TopicPartition(MESSAGE_REQUESTED, p), timeout=10)[1] for p in range(partition_count())
                }
            except KafkaException:  # a topic that was just made
                return {}

        found = wait_until("every partition has a leader", look)
        consumer.close()
        return found

    def read_again_from_the_beginning(self) -> None:
        """Set the dispatcher's offsets back to 0; no process of it may run."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": f"{PREFIX}-dispatcher", "log_level": 2})
        consumer.commit(offsets=[TopicPartition(MESSAGE_REQUESTED, p, 0) for p in range(partition_count())], asynchronous=False)
        consumer.close()

    def requests_leave_the_log(self) -> int:
        """As if all requests were older than Kafka keeps them; answers how many offsets went."""
        ends = self.ends_of_requests()
        wanted = [TopicPartition(MESSAGE_REQUESTED, partition, end) for partition, end in ends.items()]
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 2})  # answers come as long as it lives
        for done in admin.delete_records(wanted).values():
            done.result(30)
        return sum(ends.values())

    def produce(self, topic: str, key: str, value: bytes, headers: list[tuple[str, bytes]], partition: int | None = None) -> None:
        """Put one record where it belongs; it is there after `flush`."""
        self._producer.produce(topic, value, key.encode(), slot(key) if partition is None else partition, headers=headers)

    def flush(self) -> None:
        assert self._producer.flush(30) == 0

    def read(self, topic: str) -> list[Any]:
        """Every committed record of a topic."""
        return messages(self.bootstrap, topic)

    def ledger(self, wanted: Iterable[MessageRequested]) -> dict[str, LedgerEntry]:
        """The last entry of each of these messages."""
        asked = {one.dispatch_id for one in wanted}
        entries = (LEDGER_DECODER.decode(record.value()) for record in self.read(DISPATCH_RECORDED))
        return {entry.dispatch_id: entry for entry in entries if entry.dispatch_id in asked}

    def records(self) -> Counter[str]:
        """Dispatch id -> how many records the ledger has of it."""
        return Counter(LEDGER_DECODER.decode(record.value()).dispatch_id for record in self.read(DISPATCH_RECORDED))

    def settled(self, wanted: Iterable[MessageRequested]) -> bool:
        wanted = list(wanted)
        ledger = self.ledger(wanted)
        return len(ledger) == len(wanted) and not any(entry.status in OPEN for entry in ledger.values())

    def told(self, wanted: Iterable[MessageRequested]) -> list[MessageChanged]:
        """What message.changed says of these messages, after dropping repeats by cause as its readers do; there must be none to drop."""
        asked = {one.dispatch_id for one in wanted}
        seen: dict[tuple[int, str], tuple[int, int]] = {}
        found = []
        for record in self.read(MESSAGE_CHANGED):
            raw = header(record.headers(), CAUSE)
            assert raw is not None
            cause = Cause.decode(raw)
            lane = (record.partition(), cause.lane)
            assert (cause.offset, cause.nth) > seen.get(lane, (-1, -1)), "a reader would drop this"
            seen[lane] = (cause.offset, cause.nth)
            change = MESSAGE_CHANGED_DECODER.decode(record.value())
            if change.dispatch_id in asked:
                found.append(change)
        return found

    def mails(self) -> Counter[str]:
        """Dispatch id -> how many e-mails came that carry it."""
        found: Counter[str] = Counter()
        for path in (self.folder / "mail").glob("[!.]*.eml"):
            match = re.fullmatch(r"<([0-9a-f]{32})@example\.com>", str(email.message_from_bytes(path.read_bytes())["Message-ID"]))
            assert match is not None
            found[match.group(1)] += 1
        return found

    def committed(self) -> Mapping[int, int]:
        consumer = Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": f"{PREFIX}-dispatcher", "enable.auto.commit": False, "log_level": 2}
        )
        found = consumer.committed([TopicPartition(MESSAGE_REQUESTED, partition) for partition in range(partition_count())], timeout=10)
        consumer.close()
        return {where.partition: max(where.offset, 0) for where in found}

    def balance(self, wanted: Iterable[MessageRequested]) -> dict[str, int]:
        """Check that every message is accounted for, and answer how they ended."""
        wanted = list(wanted)
        ledger, mails = self.ledger(wanted), self.mails()
        ended = {change.dispatch_id: change.status for change in self.told(wanted) if change.status not in OPEN}
        for one in wanted:
            entry, mailed = ledger[one.dispatch_id], mails[one.dispatch_id]
            assert ended[one.dispatch_id] is entry.status
            match entry.status:
                case MessageStatus.SENT:
                    assert mailed == 1, entry
                case MessageStatus.UNKNOWN:
                    assert mailed <= 1, entry
                case _:
                    assert mailed == 0, entry
        finals = Counter(change.dispatch_id for change in self.told(wanted) if change.status not in OPEN)
        assert set(finals.values()) == {1}, "each end is told once"
        return dict(Counter(entry.status.value for entry in ledger.values()))
