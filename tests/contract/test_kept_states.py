"""What the sweep relies on: the same claims on the fake and on a real Redis."""

from collections.abc import AsyncIterator, Callable

import pytest

from services.profile.adapters import kept_states
from services.profile.adapters.kept_states import RedisKept
from services.profile.sweep import KeptStates, Key
from shared.adapters.redis_store import RedisStore, connect
from shared.adapters.store_settings import Address
from shared.contracts.slots import partition_count, slot
from shared.runtime.ports import Commit, StateStore, StoreAway
from shared.testing.fakes import FakeRedis
from tests.unit.kept_fake import FakeKept

Rig = tuple[KeptStates, Callable[[str, int], StateStore]]


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.real)])
async def rig(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    if request.param == "fake":
        redis = FakeRedis()
        yield FakeKept(redis), redis.store
        return
    monkeypatch.setattr(kept_states, "SCANNED", 10)
    client = connect(Address(request.getfixturevalue("fresh_redis").url))
    yield RedisKept(client), lambda stage, partition: RedisStore(client, stage, partition)
    await client.aclose()


async def put(rig: Rig, stage: str, **states: bytes) -> None:
    """Store states under ids that are spelt with `_` for `:` here, each in its slot."""
    for name, blob in states.items():
        key = name.replace("_", ":", 1)
        store = rig[1](stage, slot(key))
        fields, _ = await store.take_over("one")
        seq = int(fields.get("seq", "0")) + 1
        await store.commit(Commit("one", seq, {"seq": str(seq), "rb": "0"}, {key: blob}, sides=[(key, 1.0, b"x")], timers={key: 7}))


async def found(rig: Rig, stage: str) -> set[Key]:
    return {key async for page in rig[0].pages(stage) for key in page}


async def test_the_anonymous_ids_of_one_stage_are_found_with_their_slots(rig: Rig) -> None:
    ids = [f"a_{n}" for n in range(60)]
    await put(rig, "resolver", **dict.fromkeys(ids, b"r"), u_1=b"r", email_1=b"r")
    await put(rig, "folder", a_x=b"f", u_2=b"f")
    assert await found(rig, "resolver") == {Key(slot(f"a:{n}"), f"a:{n}") for n in range(60)}
    assert await found(rig, "folder") == {Key(slot("a:x"), "a:x")}
    assert await found(rig, "journeys") == set()


@pytest.mark.parametrize("odd", ["a:b:c", "a:}:s:", "a:*?[x]", "a:ø 漢", "a:"])
async def test_ids_of_any_spelling_are_found_as_they_are(rig: Rig, odd: str) -> None:
    store = rig[1]("folder", slot(odd))
    await store.take_over("one")
    await store.commit(Commit("one", 1, {"seq": "1"}, {odd: b"state"}))
    assert await found(rig, "folder") == {Key(slot(odd), odd)}
    assert await rig[0].load("folder", [odd]) == [b"state"]


async def test_states_are_loaded_in_the_order_asked_for(rig: Rig) -> None:
    await put(rig, "resolver", a_1=b"1", a_2=b"2")
    await put(rig, "folder", a_1=b"folder's")
    assert await rig[0].load("resolver", ["a:2", "a:none", "a:1"]) == [b"2", None, b"1"]
    assert await rig[0].load("folder", ["a:1"]) == [b"folder's"]


async def test_a_slot_is_whole_once_it_says_that_it_does_not_refold(rig: Rig) -> None:
    kept, stores = rig
    assert not await kept.is_whole("folder", 0), "a slot that is not there says nothing"
    store = stores("folder", 0)
    await store.take_over("one")
    for seq, rebuilding in ((1, "1"), (2, "0"), (3, "1")):
        await store.commit(Commit("one", seq, {"seq": str(seq), "rb": rebuilding}, {}))
        assert await kept.is_whole("folder", 0) == (rebuilding == "0")
    assert [await kept.is_whole("folder", p) for p in range(1, partition_count())] == [False] * (partition_count() - 1)


@pytest.mark.real
async def test_a_redis_that_does_not_answer_is_away() -> None:
    client = connect(Address("redis://127.0.0.1:1/0"), 0.5)
    kept = RedisKept(client)
    for call in (kept.load("folder", ["a:1"]), kept.is_whole("folder", 0), anext(kept.pages("folder"))):
        with pytest.raises(StoreAway):
            await call
    await client.aclose()
