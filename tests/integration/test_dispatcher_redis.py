"""What the dispatcher reads and keeps in Redis: people across merges, caps, the gate."""

from collections.abc import AsyncIterator, Iterable
from typing import cast

import msgspec
import pytest
import redis.asyncio as redis

from deploy.local.process import Process
from services.messaging.adapters.caps import RedisCaps
from services.messaging.adapters.gate import UPSTREAM, RedisGate
from services.messaging.adapters.people import RedisPeople
from services.messaging.dispatch.ports import Claim, Known
from services.messaging.domain.standing import Standing
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
MINUTE = 60 * 1000
HOUR = 60 * MINUTE
NOW = 1_700_000_000_000


@pytest.fixture
async def client(fresh_redis: Process) -> AsyncIterator[redis.Redis]:
    assert fresh_redis.check is not None
    client = connect(Address(fresh_redis.check))
    yield client
    await client.aclose()


def person(email: str) -> Person:
    return Person({"email": Fact(1, "m", "s", f'"{email}"'.encode())})


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


async def caps_of(client: redis.Redis, partition: int = 3, memory_ms: int = HOUR) -> RedisCaps:
    """The caps of one slot of the dispatcher, whose ledger is empty."""
    caps = RedisCaps(client, partition, memory_ms)
    await caps.restore(pages(), 0)
    return caps


async def test_a_cap_lets_so_many_through_in_any_window(client: redis.Redis) -> None:
    caps = await caps_of(client)
    assert await caps.claim([claim(1, NOW), claim(2, NOW + 1), claim(3, NOW + 2)]) == [True, True, False]
    assert await caps.claim([claim(3, NOW + HOUR - 1), claim(3, NOW + HOUR), claim(4, NOW + HOUR)]) == [False, True, False]
    assert (
        await caps.claim([claim(5, NOW, profile="u:2"), claim(6, NOW, message_class="transactional"), claim(7, NOW, limit=0)]) == [True] * 3
    )


async def test_a_place_once_taken_is_granted_again_and_can_be_given_back(client: redis.Redis) -> None:
    caps = await caps_of(client)
    assert await caps.claim([claim(1, NOW, 1)] * 3) == [True] * 3
    assert await caps.claim([claim(2, NOW, 1)]) == [False]
    await caps.release([claim(1, 0)])
    await client.script_flush()
    assert await caps.claim([claim(2, NOW, 1)]) == [True]


async def test_a_message_counts_from_when_it_is_sent_and_not_from_when_it_first_asked(client: redis.Redis) -> None:
    """It was put off by its provider for 50 minutes, and then sent."""
    caps = await caps_of(client)
    assert await caps.claim([claim(1, NOW, 1)]) == [True]
    assert await caps.claim([claim(1, NOW + 50 * MINUTE, 1)]) == [True]
    assert await caps.claim([claim(2, NOW + 70 * MINUTE, 1)]) == [False]
    assert await caps.claim([claim(2, NOW + 110 * MINUTE, 1)]) == [True]


async def test_who_was_put_off_for_longer_than_the_window_finds_the_place_of_who_came_meanwhile(client: redis.Redis) -> None:
    caps = await caps_of(client)
    assert await caps.claim([claim(1, NOW, 1), claim(2, NOW + 61 * MINUTE, 1)]) == [True, True]
    assert await caps.claim([claim(1, NOW + 62 * MINUTE, 1)]) == [False], "two in one minute"
    assert await client.zrange(cap_key("u:1", "marketing"), 0, -1) == [bytes.fromhex(sent(2).dispatch_id)], "it ends, so its place is free"


async def test_places_that_are_put_back_are_those_that_were_taken(client: redis.Redis) -> None:
    """Also of a message whose end was recorded hours after it was sent, and of one that waits for another try."""
    caps = await caps_of(client)
    assert await caps.claim([claim(number, NOW + number, 0) for number in range(5)]) == [True] * 5
    await caps.release([claim(4, 0)])
    before = await client.zrange(cap_key("u:1", "marketing"), 0, -1, withscores=True)
    states = [MessageStatus.SENDING, MessageStatus.SENT, MessageStatus.UNKNOWN, MessageStatus.CLAIMED, MessageStatus.FAILED]
    entries = [
        msgspec.structs.replace(sent(number, status=status), at=NOW + 5 * HOUR, claimed_at=NOW + number)
        for number, status in enumerate(states)
    ]
    await client.flushall()
    await caps.restore(pages(entries, [sent(9, status=MessageStatus.CLAIMED)]), 9)
    assert await client.zrange(cap_key("u:1", "marketing"), 0, -1, withscores=True) == before


def sent(number: int, profile: str = "u:1", status: MessageStatus = MessageStatus.SENT) -> LedgerEntry:
    return LedgerEntry(
        dispatch_id=f"{number:032x}", entry_id="e", journey="j", step="s", profile_id=profile, channel="email", template="t",
        message_class="marketing", status=status, at=NOW, position=0,
    )  # fmt: skip


async def test_places_are_put_back_from_the_ledger_in_its_order_and_age_out(client: redis.Redis) -> None:
    caps = RedisCaps(client, 3)
    assert await caps.missing() == 0
    await caps.restore(pages([sent(1), sent(2, status=MessageStatus.SENDING)], [sent(2, status=MessageStatus.FAILED)]), 7)
    assert await caps.missing() is None
    assert await RedisCaps(client, 3).missing() == 7, "whoever takes over puts back what was recorded since"
    assert await RedisCaps(client, 4).missing() == 0
    assert await caps.claim([claim(3, NOW + 1, 2), claim(4, NOW + 1, 2)]) == [True, False]
    assert await client.pttl(cap_key("u:1", "marketing")) > 0
    await caps.noted(19)
    assert await caps.missing() is None
    assert await RedisCaps(client, 3).missing() == 19
    await client.flushall()
    assert await caps.missing() == 0


async def test_places_of_earlier_releases_count_and_do_not_count_twice(client: redis.Redis) -> None:
    await client.zadd(cap_key("u:1", "marketing"), {sent(1).dispatch_id: NOW})
    caps = await caps_of(client)
    assert await caps.claim([claim(1, NOW + 1, 1), claim(2, NOW + 1, 1)]) == [True, False]
    await caps.restore(pages([sent(1)]), 1)
    assert await client.zrange(cap_key("u:1", "marketing"), 0, -1) == [bytes.fromhex(sent(1).dispatch_id)]


async def test_who_looks_further_back_than_its_predecessor_puts_everything_back(client: redis.Redis) -> None:
    await (await caps_of(client, memory_ms=30 * HOUR)).noted(9)
    assert await RedisCaps(client, 3, 30 * HOUR).missing() == 9
    assert await RedisCaps(client, 3, 20 * HOUR).missing() == 9
    assert await RedisCaps(client, 3, 40 * HOUR).missing() == 0


async def put_back(client: redis.Redis, copy: dict[bytes, bytes]) -> None:
    """What Redis held then, at once, as if its file of then had been put under it."""
    async with client.pipeline(transaction=True) as pipe:
        pipe.flushdb()
        for key, value in copy.items():
            pipe.restore(key, 0, value)
        await pipe.execute()


async def copy_of(client: redis.Redis) -> dict[bytes, bytes]:
    return {bytes(key): await client.dump(key) or b"" for key in cast(list[bytes], await client.keys("*"))}


@pytest.mark.parametrize("when", ["before", "between"])
async def test_no_place_is_granted_on_an_older_copy_of_redis(client: redis.Redis, when: str) -> None:
    caps = await caps_of(client)
    await caps.noted(5)
    copies = {"before": await copy_of(client)}
    assert await caps.claim([claim(1, NOW, 1, profile="u:1")]) == [True]
    copies["between"] = await copy_of(client)
    assert await caps.claim([claim(2, NOW, 1, profile="u:2")]) == [True]
    await put_back(client, copies[when])
    with pytest.raises(StoreAway, match="lost places"):
        await caps.claim([claim(number, NOW + 1, 1, profile=f"u:{person}") for number, person in ((3, 1), (4, 2), (5, 3))])
    assert await caps.missing() == 5
    await caps.restore(pages([sent(1, "u:1"), sent(2, "u:2")]), 8)
    assert await caps.claim([claim(3, NOW + 1, 1), claim(4, NOW + 1, 1, profile="u:2"), claim(5, NOW + 1, 1, profile="u:3")]) == [
        False,
        False,
        True,
    ]


async def test_a_counted_message_costs_its_16_bytes_and_little_more(client: redis.Redis) -> None:
    caps = await caps_of(client)
    messages = 50
    for number in range(messages):
        await caps.claim([claim(number * 2**64 + 1, NOW + number, 0)])
    spent = await client.memory_usage(cap_key("u:1", "marketing")) or 0
    print(f"redis_bytes_a_counted_message={spent / messages:.1f}")  # noqa: T201 - a figure of the run
    assert 0 < spent / messages < 40


def whole() -> Standing:
    """Of a process that has read all ledgers, which say nothing."""
    standing = Standing()
    standing.is_whole = True
    return standing


async def test_the_gate_opens_when_every_slot_of_every_stage_before_has_caught_up(client: redis.Redis) -> None:
    standing = Standing()
    gate = RedisGate(client, standing)
    assert await gate.closed() == "how far the stages before it had come is being read"
    standing.is_whole = True
    assert (await gate.closed() or "").startswith("not caught up: resolver 0")
    for stage in UPSTREAM:
        for partition in range(partition_count()):
            await client.hset(meta_key(stage, partition), "rb", "0")
    assert await gate.closed() is None
    await client.hset(meta_key("segmentation", 5), "rb", "1")
    assert await gate.closed() == "not caught up: segmentation 5"


async def test_the_gate_is_shut_by_an_older_copy_of_redis_until_its_stage_has_begun_a_new_life(client: redis.Redis) -> None:
    """The copy says that all have caught up, as it was when it was made."""
    for stage in UPSTREAM:
        for partition in range(partition_count()):
            await client.hset(meta_key(stage, partition), mapping={"rb": "0", "seq": 7, "lf": 100})
    standing = whole()
    gate = RedisGate(client, standing)
    assert await gate.closed() is None
    copy = await copy_of(client)
    await client.hset(meta_key("journeys", 2), "seq", 8)
    assert await gate.closed() is None
    await put_back(client, copy)
    assert await gate.closed() == "not caught up: journeys 2 (Redis was rolled back)"
    successor = whole()
    successor.know(standing.save())
    assert await RedisGate(client, successor).closed() == "not caught up: journeys 2 (Redis was rolled back)", "also after a restart"
    await client.hset(meta_key("journeys", 2), mapping={"seq": 3, "lf": 101, "rb": "1"})
    assert await gate.closed() == "not caught up: journeys 2"
    await client.hset(meta_key("journeys", 2), mapping={"seq": 4, "rb": "0"})
    assert await gate.closed() is None


async def test_a_redis_that_does_not_answer_is_said_to_be_away(client: redis.Redis, fresh_redis: Process) -> None:
    fresh_redis.stop()
    with pytest.raises(StoreAway):
        await RedisGate(client, whole()).closed()
    with pytest.raises(StoreAway):
        await RedisPeople(client).read(["u:1"])
    with pytest.raises(StoreAway):
        await RedisCaps(client, 3).claim([claim(1, NOW)])
