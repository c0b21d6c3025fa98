"""Store and log as a slot relies on them: the same claims on the fakes and on real Redis and Kafka."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.local.process import Process
from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.kafka_log import KafkaLog, Publisher
from shared.adapters.redis_store import RedisStore, connect
from shared.adapters.store_settings import Address
from shared.contracts.slots import partition_count
from shared.runtime.archived import NEVER
from shared.runtime.envelope import Entry, close_entry
from shared.runtime.ports import Commit, Fenced, Log, LogAway, RolledBack, StateStore
from shared.runtime.stage import IndexOp, Output
from shared.testing.fakes import FakeLog, FakeRedis

BACKENDS = ["fake", pytest.param("real", marks=pytest.mark.real)]


@pytest.fixture(params=BACKENDS)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[StateStore]:
    if request.param == "fake":
        yield FakeRedis().store("folder", 3)
        return
    client = connect(Address(request.getfixturevalue("fresh_redis").url))
    yield RedisStore(client, "folder", 3)
    await client.aclose()


@pytest.fixture(params=BACKENDS)
async def log(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Log, str]]:
    topic = f"ports-{uuid4().hex[:8]}"
    if request.param == "fake":
        yield FakeLog(page=3), topic
        return
    kafka: Process = request.getfixturevalue("kafka")
    bootstrap: str = kafka.bootstrap  # type: ignore[attr-defined]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (made,) = admin.create_topics([NewTopic(topic, partition_count(), 1)]).values()
    made.result(30)
    publisher = Publisher(KafkaConnection(bootstrap), "ports")
    real = KafkaLog(KafkaConnection(bootstrap), publisher)
    await led(real, topic)
    yield real, topic
    real.close_readers()
    publisher.close()


async def led(log: Log, topic: str) -> None:
    """Return when every partition of a new topic has its leader: some are "not leader" for a moment, and whoever asks tries again."""
    async with asyncio.timeout(30):
        while True:
            try:
                await log.bounds([(topic, partition) for partition in range(partition_count())])
            except LogAway:
                await asyncio.sleep(0.05)
            else:
                return


def commit(token: str, seq: int, **changes: object) -> Commit:
    return Commit(token, seq, {"seq": str(seq)}, changes.pop("states", {}), **changes)  # type: ignore[arg-type]


async def test_a_commit_is_read_back_whole(store: StateStore) -> None:
    assert await store.take_over("one") == ({}, b"")
    timers = {"b": 20, "a": 20, "c": 10}
    sides = [("a", 1.0, b"first"), ("a", 2.0, b"second"), ("a", 3.0, b"third")]
    await store.commit(commit("one", 1, states={"a": b"\x00A", "b": b"B"}, timers=timers, sides=sides, side_cap=2, outbox=b"out"))
    assert await store.load(["a", "nobody", "b"], 1 << 20) == [b"\x00A", None, b"B"]
    assert await store.due(20, 10) == ["c", "a", "b"]
    assert await store.due(20, 2) == ["c", "a"]
    assert await store.due(9, 10) == []
    assert await store.first_due() == 10
    assert await store.sides(["a", "b"]) == [[(2.0, b"second"), (3.0, b"third")], []]
    assert await store.take_over("two") == ({"seq": "1"}, b"out")


async def test_a_load_ends_with_the_state_that_exceeds_its_limit(store: StateStore) -> None:
    await store.take_over("one")
    states = {f"k{n}": bytes([n]) * 1000 for n in range(40)}
    await store.commit(Commit("one", 1, {"seq": "1"}, states))
    keys = ["none", *states]
    assert await store.load(keys, 1 << 20) == [None, *states.values()]
    assert await store.load(keys, 2500) == [None, *list(states.values())[:3]]
    assert await store.load(keys, 25_000) == [None, *list(states.values())[:26]]
    assert await store.load(["k7", "k8"], 1) == [states["k7"]]


async def test_an_index_is_read_whole_and_asked_for_members(store: StateStore) -> None:
    await store.take_over("one")
    ops = [IndexOp("absorbed:u:1", name, 0.0) for name in ("a:1", "a:2", "a:3")]
    await store.commit(commit("one", 1, indexes=[*ops, IndexOp("absorbed:u:1", "a:2", None)]))
    found = await store.indexes(["absorbed:u:1", "absorbed:u:2"])
    assert [sorted(members) for members in found] == [["a:1", "a:3"], []]
    asked = [("absorbed:u:1", "a:3"), ("absorbed:u:1", "a:2"), ("absorbed:u:2", "a:1")]
    assert await store.in_index(asked) == [True, False, False]


@pytest.mark.real
async def test_however_many_members_and_second_blobs_are_asked_for_redis_is_asked_once(fresh_redis: Process) -> None:
    client = connect(Address(fresh_redis.url))  # type: ignore[attr-defined]
    store = RedisStore(client, "folder", 3)
    await store.take_over("one")
    await store.commit(commit("one", 1, indexes=[IndexOp("absorbed:u:1", "a:7", 0.0)], sides=[("a:7", 1.5, b"x"), ("a:7", 2.0, b"y")]))
    ids = [f"a:{n}" for n in range(1000)]
    assert (await store.sides(ids))[:9] == [[]] * 7 + [[(1.5, b"x"), (2.0, b"y")], []]  # and the script is known from now on
    await client.config_resetstat()
    assert [one for one, there in zip(ids, await store.in_index([("absorbed:u:1", one) for one in ids]), strict=True) if there] == ["a:7"]
    await store.sides(ids)
    assert (await store.sides([]), await store.in_index([])) == ([], [])
    asked = {name.removeprefix("cmdstat_"): stats["calls"] for name, stats in (await client.info("commandstats")).items()}
    await client.aclose()
    assert (asked["zmscore"], asked["evalsha"], asked.get("zscore", 0)) == (1, 2, 0)


async def test_an_index_is_read_page_by_page_in_the_order_of_its_bytes(store: StateStore) -> None:
    await store.take_over("one")
    members = ["u:é", "u:10", "u:9", "a:z", "u:😀"]
    await store.commit(commit("one", 1, indexes=[IndexOp("met", member, 0.0) for member in members]))
    wanted = sorted(members, key=str.encode)
    found: list[str] = []
    while page := await store.index_page("met", found[-1] if found else "", 2):
        found += page
    assert found == wanted
    assert await store.index_page("nobody", "", 2) == []


async def test_states_of_a_release_without_an_index_are_put_into_it_without_markers_and_for_the_owner_only(store: StateStore) -> None:
    await store.take_over("one")
    states = {f"u:{n}": close_entry(Entry(), b"x") for n in range(1200)} | {"u:merged": b"\x01u:1"}
    await store.commit(commit("one", 1, states=states))
    await store.index_states("one", "met")
    assert await store.index_page("met", "", 5000) == sorted(set(states) - {"u:merged"})
    await store.take_over("two")
    with pytest.raises(Fenced):
        await store.index_states("one", "met")


async def test_the_next_commit_replaces_the_outbox_and_removes_what_it_says(store: StateStore) -> None:
    await store.take_over("one")
    await store.commit(commit("one", 1, timers={"a": 5}, outbox=b"out", sides=[("a", 1.0, b"x")], indexes=[IndexOp("members:s", "a", 1.0)]))
    await store.commit(commit("one", 2, timers={"a": 0}, side_drops=["a"], indexes=[IndexOp("members:s", "a", None)]))
    assert await store.first_due() is None
    assert await store.sides(["a"]) == [[]]
    assert (await store.take_over("two"))[1] == b""


async def test_a_key_that_goes_leaves_neither_state_nor_timer_nor_second_blob(store: StateStore) -> None:
    await store.take_over("one")
    kept = {"states": {"a": b"A", "b": b"B"}, "timers": {"a": 5, "b": 6}, "sides": [("a", 1.0, b"x"), ("b", 1.0, b"y")]}
    await store.commit(commit("one", 1, **kept, indexes=[IndexOp("members:s", "a", 1.0)]))
    gone = {"gone": ["a"], "timers": {"a": 0}, "side_drops": ["a"], "indexes": [IndexOp("members:s", "a", None)]}
    await store.commit(commit("one", 2, **gone, states={"c": b"C"}, sides=[("c", 1.0, b"z")], outbox=b"out"))
    assert await store.load(["a", "b", "c"], 1 << 20) == [None, b"B", b"C"]
    assert await store.sides(["a", "b", "c"]) == [[], [(1.0, b"y")], [(1.0, b"z")]]
    assert (await store.due(10, 10), await store.indexes(["members:s"]), await store.damage()) == (["b"], [[]], None)
    await store.commit(commit("one", 3, gone=["b", "nobody"], timers={"b": 0}, side_drops=["b"], sides=[("b", 2.0, b"new")]))
    assert await store.load(["b"], 1 << 20) == [None]
    assert await store.sides(["b"]) == [[(2.0, b"new")]], "what came after it in the same commit"


async def test_an_owner_that_was_overtaken_forgets_nothing(store: StateStore) -> None:
    await store.take_over("one")
    await store.commit(commit("one", 1, states={"a": b"A"}))
    await store.take_over("two")
    with pytest.raises(Fenced):
        await store.commit(commit("one", 2, gone=["a"]))
    assert await store.load(["a"], 1 << 20) == [b"A"]


async def test_an_owner_that_was_overtaken_is_fenced_and_changes_nothing(store: StateStore) -> None:
    await store.take_over("one")
    await store.take_over("two")
    with pytest.raises(Fenced):
        await store.commit(commit("one", 1, states={"a": b"A"}))
    assert await store.load(["a"], 1 << 20) == [None]
    await store.commit(commit("two", 1, states={"a": b"A"}))


async def test_a_store_that_went_back_is_noticed(store: StateStore) -> None:
    with pytest.raises(RolledBack):
        await store.commit(commit("one", 1))
    await store.take_over("one")
    await store.commit(commit("one", 1))
    with pytest.raises(RolledBack):
        await store.commit(commit("one", 3))
    with pytest.raises(RolledBack):
        await store.commit(commit("one", 1))


def output(topic: str, partition: int, value: bytes) -> Output:
    return Output(topic, partition, b"key", value, [("cause", b"s|t|0|0|0")], 0)


async def test_what_is_published_is_read_back_in_order(log: tuple[Log, str]) -> None:
    port, topic = log
    ends = await port.publish([output(topic, n % 2, str(n).encode()) for n in range(10)])
    assert ends == {(topic, 0): 5, (topic, 1): 5}
    assert await port.bounds([(topic, 0), (topic, 2)]) == {(topic, 0): (0, 5), (topic, 2): (0, 0)}
    found, at = [], 1
    while at < 4:
        records, at = await port.read(topic, 0, at, 4)
        found += [(record.offset, record.key, record.value, list(record.headers)) for record in records]
    assert found == [(n, b"key", str(2 * n).encode(), [("cause", b"s|t|0|0|0")]) for n in (1, 2, 3)]


async def test_where_an_instant_lies_is_told_partition_by_partition(log: tuple[Log, str]) -> None:
    port, topic = log
    await port.publish([output(topic, 0, b"x"), output(topic, 0, b"y")])
    (first, *_), _ = await port.read(topic, 0, 0, 2)
    places = [(topic, 0), (topic, 1)]
    assert await port.at(places, first.timestamp) == {(topic, 0): 0, (topic, 1): 0}
    assert await port.at(places, first.timestamp + 3_600_000) == {(topic, 0): 2, (topic, 1): 0}
    assert await port.at(places, NEVER) == {(topic, 0): 2, (topic, 1): 0}


async def test_a_range_ends_where_it_is_told_to(log: tuple[Log, str]) -> None:
    port, topic = log
    await port.publish([output(topic, 0, b"x")])
    records, at = await port.read(topic, 0, 0, 1)
    assert (len(records), at) == (1, 1)


async def test_nothing_is_committed_by_an_unknown_group(log: tuple[Log, str]) -> None:
    port, topic = log
    assert await port.committed("nobody", [(topic, 1)]) == {(topic, 1): 0}
