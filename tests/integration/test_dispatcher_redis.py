"""What the dispatcher reads and keeps in Redis: people across merges, caps, the gate."""

from collections.abc import AsyncIterator, Iterable

import pytest
import redis.asyncio as redis

from deploy.local.process import Process
from services.messaging.adapters.caps import RedisCaps
from services.messaging.adapters.gate import UPSTREAM, RedisGate
from services.messaging.adapters.people import RedisPeople
from services.messaging.dispatch.ports import Claim, Known
from shared.adapters.redis_store import connect
from shared.adapters.store_settings import Address
from shared.contracts.changes import MessageStatus
from shared.contracts.journey_blob import Fact, Person, encode_person
from shared.contracts.ledger import LedgerEntry
from shared.contracts.redis_keys import cap_key, index_key, meta_key, state_key
from shared.contracts.slots import partition_count, slot
from shared.runtime.absorbed import index_of
from shared.runtime.envelope import OTHERS, Entry, close_entry
from shared.runtime.ports import StoreAway

pytestmark = pytest.mark.real
HOUR = 3600 * 1000
NOW = 1_700_000_000_000


@pytest.fixture
async def client(fresh_redis: Process) -> AsyncIterator[redis.Redis]:
    assert fresh_redis.check is not None
    client = connect(Address(fresh_redis.check))
    yield client
    await client.aclose()


def person(email: str) -> Person:
    return Person(email=Fact(1, "m", "s", f'"{email}"'.encode()))


async def put(
    client: redis.Redis,
    key: str,
    state: Person | None,
    *,
    winner: str | None = None,
    absorbed: Iterable[str] = (),
    awaiting: Iterable[str] = (),
) -> None:
    entry: Entry[Person] = Entry()
    entry.winner, entry.absorbed, entry.awaiting = winner, set(absorbed), set(awaiting)
    await client.set(state_key("journeys", key), close_entry(entry, b"" if state is None else encode_person(state)))


async def test_a_person_is_found_under_the_id_of_today(client: redis.Redis) -> None:
    await put(client, "a:1", None, winner="a:2")
    await put(client, "a:2", None, winner="u:1")
    await put(client, "u:1", person("win@example.com"), absorbed=["a:1", "a:2"])
    await put(client, "u:2", person("two@example.com"))
    found = await RedisPeople(client).read(["a:1", "a:2", "u:1", "u:2", "u:nobody", "a:1"])
    winner = Known("u:1", person("win@example.com"))
    assert found == {
        "a:1": winner,
        "a:2": winner,
        "u:1": winner,
        "u:2": Known("u:2", person("two@example.com")),
        "u:nobody": Known("u:nobody", Person()),
    }


async def test_a_chain_of_a_thousand_merges_is_followed_to_its_end(client: redis.Redis) -> None:
    for number in range(1000):
        await put(client, f"a:{number}", None, winner=f"a:{number + 1}")
    await put(client, "a:1000", person("win@example.com"), absorbed=[f"a:{number}" for number in range(1000)])
    assert await RedisPeople(client).read(["a:0"]) == {"a:0": Known("a:1000", person("win@example.com"))}


async def test_while_a_blob_is_on_its_way_nothing_is_known(client: redis.Redis) -> None:
    await put(client, "a:1", None, winner="u:1")
    await put(client, "u:1", person("win@example.com"))
    await put(client, "u:2", person("two@example.com"), awaiting=["a:9"])
    assert await RedisPeople(client).read(["a:1", "u:2"]) == {"a:1": None, "u:2": None}
    await put(client, "u:1", person("win@example.com"), absorbed=["a:1"])
    assert (await RedisPeople(client).read(["a:1"]))["a:1"] == Known("u:1", person("win@example.com"))


async def test_who_was_merged_is_found_in_the_index_where_they_are_many(client: redis.Redis) -> None:
    for one in ("a:1", "a:2", "a:3"):
        await put(client, one, None, winner="u:1")
    await put(client, "u:1", person("win@example.com"), absorbed=[OTHERS, "a:1"])
    await client.zadd(index_key("journeys", slot("u:1"), index_of("u:1")), {"a:2": 0.0})
    found = await RedisPeople(client).read(["a:1", "a:2", "a:3"])
    winner = Known("u:1", person("win@example.com"))
    assert found == {"a:1": winner, "a:2": winner, "a:3": None}


async def test_markers_that_point_in_a_circle_end(client: redis.Redis) -> None:
    await put(client, "a:1", None, winner="a:2")
    await put(client, "a:2", None, winner="a:1")
    assert await RedisPeople(client).read(["a:1"]) == {"a:1": None}


async def pages(*found: list[LedgerEntry]) -> AsyncIterator[list[LedgerEntry]]:
    for page in found:
        yield page


def claim(number: int, at: int, limit: int = 2, profile: str = "u:1", message_class: str = "marketing") -> Claim:
    return Claim(profile, message_class, f"{number:032x}", at, limit, HOUR)


async def test_a_cap_lets_so_many_through_in_any_window(client: redis.Redis) -> None:
    caps = RedisCaps(client)
    assert await caps.claim([claim(1, NOW), claim(2, NOW + 1), claim(3, NOW + 2)]) == [True, True, False]
    assert await caps.claim([claim(3, NOW + HOUR - 1), claim(3, NOW + HOUR), claim(4, NOW + HOUR)]) == [False, True, False]
    assert (
        await caps.claim([claim(5, NOW, profile="u:2"), claim(6, NOW, message_class="transactional"), claim(7, NOW, limit=0)]) == [True] * 3
    )


async def test_a_place_once_taken_is_granted_again_and_can_be_given_back(client: redis.Redis) -> None:
    caps = RedisCaps(client)
    assert await caps.claim([claim(1, NOW, 1)] * 3) == [True] * 3
    assert await caps.claim([claim(2, NOW, 1)]) == [False]
    await caps.release([claim(1, 0)])
    await client.script_flush()
    assert await caps.claim([claim(2, NOW, 1)]) == [True]


async def test_counts_are_put_back_from_the_ledger_and_age_out(client: redis.Redis) -> None:
    caps = RedisCaps(client)
    assert not await caps.kept(3)
    entry = LedgerEntry(
        dispatch_id=f"{1:032x}", entry_id="e", journey="j", step="s", profile_id="u:1", channel="email", template="t",
        message_class="marketing", status=MessageStatus.SENT, at=NOW, position=0,
    )  # fmt: skip
    await caps.restore(3, pages([entry]))
    assert await caps.kept(3)
    assert not await caps.kept(4)
    assert await caps.claim([claim(2, NOW + 1, 1)]) == [False]
    assert await client.pttl(cap_key("u:1", "marketing")) > 0
    await client.flushall()
    assert not await caps.kept(3)


async def test_the_gate_opens_when_every_slot_of_every_stage_before_has_caught_up(client: redis.Redis) -> None:
    gate = RedisGate(client)
    assert (await gate.closed() or "").startswith("not caught up: resolver 0")
    for stage in UPSTREAM:
        for partition in range(partition_count()):
            await client.hset(meta_key(stage, partition), "rb", "0")
    assert await gate.closed() is None
    await client.hset(meta_key("segmentation", 5), "rb", "1")
    assert await gate.closed() == "not caught up: segmentation 5"


async def test_a_redis_that_does_not_answer_is_said_to_be_away(client: redis.Redis, fresh_redis: Process) -> None:
    fresh_redis.stop()
    with pytest.raises(StoreAway):
        await RedisGate(client).closed()
    with pytest.raises(StoreAway):
        await RedisPeople(client).read(["u:1"])
    with pytest.raises(StoreAway):
        await RedisCaps(client).claim([claim(1, NOW)])
