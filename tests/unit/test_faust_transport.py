"""A rebalance while the consumer fetches: the worker goes on. What is no longer its own its slots refuse (stage_worker.py)."""

from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import IllegalStateError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from shared.runtime.faust_transport import Consumer, ConsumerThread
from shared.runtime.stage import ReadRecord

HERE, GONE = TP("t", 0), TP("t", 1)


class Rebalancing(Consumer):
    """Of two fetched partitions one is ours no longer: aiokafka knows it, and says so to whoever asks for it."""

    def __init__(self, flow_active: bool) -> None:  # Faust's own needs a running app
        self.flow_active = flow_active
        self.app = SimpleNamespace(consumer_generation_id=7, linger_ms=0)
        self.sought = 0

    should_stop = False
    _buffered_partitions = frozenset[TP]()

    async def _wait_next_records(self, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's signature
        return {tp: [ReadRecord(tp.topic, tp.partition, 3, 1, b"k", b"v", ())] for tp in (GONE, HERE)}, None

    def _gather(self, fetched: int) -> None:
        return

    async def perform_seek(self) -> None:
        self.sought += 1
        raise IllegalStateError(f"No current assignment for partition {GONE}")

    def highwater(self, tp: TP) -> int:
        if tp == GONE:
            raise IllegalStateError(f"No current assignment for partition {GONE}")
        return 4


@pytest.mark.parametrize("flow_active", [False, True])
async def test_a_partition_that_went_to_another_worker_meanwhile_does_not_end_this_one(flow_active: bool) -> None:
    consumer = Rebalancing(flow_active)
    taken = [tp async for tp, _ in consumer.getmany(0.1)]
    assert taken == ([GONE, HERE] if flow_active else [])
    assert consumer.sought == (0 if flow_active else 1)


class Fetched:
    """What the broker has answered for one partition: more than one call takes."""

    def __init__(self, records: int) -> None:
        self.left = records


async def test_of_partitions_of_which_much_has_been_fetched_each_is_handed_over_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    fetcher = SimpleNamespace(_records=OrderedDict({HERE: Fetched(3), GONE: Fetched(1)}))

    async def first_of_all(_: Any, consumer: Any, active: Any, timeout: Any = None, max_records: Any = None) -> dict[TP, list[int]]:  # noqa: ASYNC109
        """As aiokafka hands over: the first that has something, and again the same until it has nothing left."""
        tp, fetched = next(iter(consumer._fetcher._records.items()))
        fetched.left -= 1
        if not fetched.left:
            del consumer._fetcher._records[tp]
        return {tp: [1]}

    monkeypatch.setattr(AIOKafkaConsumerThread, "_fetch_records", first_of_all)
    thread = object.__new__(ConsumerThread)
    taken = [tp for _ in range(4) for tp in await thread._fetch_records(SimpleNamespace(_fetcher=fetcher), set())]
    assert taken == [HERE, GONE, HERE, HERE]
