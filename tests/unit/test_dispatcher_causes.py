"""Causes of message.changed go up from record to record and from owner to owner, whatever becomes of transactions.

Readers drop what is lower.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st

from services.messaging.adapters import kafka_ledger
from services.messaging.adapters.kafka_ledger import KafkaLedger
from services.messaging.dispatch.ports import Change
from services.messaging.dispatch.records import told
from services.messaging.domain.ledger import Ledger, entry_of
from services.messaging.domain.standing import Standing
from shared.contracts.changes import MessageStatus
from shared.contracts.headers import CAUSE, Cause, header
from shared.contracts.topics import DISPATCH_RECORDED, MESSAGE_CHANGED
from shared.runtime.ports import Fenced, LogAway
from tests.unit.dispatcher_world import NOW, request

ABORT = KafkaException(KafkaError(KafkaError._TIMED_OUT, "not delivered", False, False, True))
DOUBT = KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer", False, True, False))


class Broker:
    """One partition of the ledger and what message.changed was told. `fails`: what the next commits raise, one by one; None: nothing."""

    def __init__(self) -> None:
        self.end = 0
        self.causes: list[int] = []
        self.fails: list[Exception | None] = []
        self.ledgers = 0


class OneProducer:
    """A transaction whose records never reached the broker leaves nothing in its log."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._entries, self._told = 0, list[int]()

    def init_transactions(self, timeout: float) -> None:
        self._entries, self._told = 0, []

    def begin_transaction(self) -> None:
        self._entries, self._told = 0, []

    def produce(self, topic: str, *rest: object, headers: Sequence[tuple[str, bytes]] = (), **options: object) -> None:
        if topic == DISPATCH_RECORDED:
            self._entries += 1
        if topic == MESSAGE_CHANGED:
            raw = header(headers, CAUSE)
            assert raw is not None
            self._told.append(Cause.decode(raw).offset)

    def commit_transaction(self, timeout: float) -> None:
        failure = self._broker.fails.pop(0) if self._broker.fails else None
        if failure is not None:
            raise failure
        self._broker.causes += self._told
        self._broker.end += self._entries + 1
        self._entries, self._told = 0, []

    def abort_transaction(self, timeout: float) -> None:
        self._entries, self._told = 0, []


class OneReader:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def read(self) -> SimpleNamespace:
        return SimpleNamespace(ledger=Ledger(), end=self._broker.end, standing=b"", checkpoints=0, entries=0)

    def close(self) -> None: ...


def end(number: int) -> Change:
    entry = entry_of(request(number), number, MessageStatus.SENT, NOW, "u:1", 1)
    return Change(entry, told(entry))


STEPS = st.lists(st.tuples(st.integers(1, 5), st.lists(st.sampled_from([ABORT, DOUBT]), max_size=4), st.booleans()), max_size=20)


@pytest.fixture(scope="module")
def executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1)


@given(steps=STEPS)
async def test_no_owner_ever_tells_of_an_end_below_one_that_was_told(
    executor: ThreadPoolExecutor, steps: list[tuple[int, list[Any], bool]]
) -> None:
    """Transactions are given up or in doubt, again and again, as in a long outage of Kafka; then another owner comes."""
    broker = Broker()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka_ledger, "_producer", lambda *_: OneProducer(broker))
        patch.setattr(kafka_ledger, "LedgerReader", lambda *_: OneReader(broker))
        make: Callable[[], KafkaLedger] = lambda: KafkaLedger(cast(Any, None), "g", 0, executor, Standing())  # noqa: E731
        ledger, wanted = make(), 0
        await ledger.take_over()
        for count, fails, leaves in steps:
            broker.fails = list(fails)
            changes = [end(number) for number in range(count)]
            while True:
                try:
                    await ledger.record(changes)
                    break
                except LogAway:
                    continue
            wanted += count
            if leaves:
                ledger.close()
                ledger = make()
                await ledger.take_over()
    assert len(broker.causes) == wanted
    assert broker.causes == sorted(set(broker.causes)), "a reader would drop an end"


async def test_a_takeover_that_comes_late_fences_nobody(executor: ThreadPoolExecutor) -> None:
    """It was asked for, and the slot was given up before its thread came to it."""
    made: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka_ledger, "_producer", lambda *_: made.append("producer"))
        ledger = KafkaLedger(cast(Any, None), "g", 0, executor, Standing())
        ledger.close()
        with pytest.raises(Fenced):
            await ledger.take_over()
    assert made == []
