"""Forwards are followed to their end, however many there are, and a ring of them is noticed."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.adapters import forwards
from shared.adapters.forwards import LONG, REMEMBERED_HOPS, REMEMBERED_SECONDS, Forwards, Way


class Store:
    """`to:<id>` is a forward, anything else a state. `reads`: the ids of each round trip."""

    def __init__(self, **stored: str) -> None:
        self.stored = dict(stored)
        self.reads: list[list[str]] = []
        self.now = 0.0
        self.forwards = Forwards(self.read, lambda raw: raw[3:].decode() if raw.startswith(b"to:") else None, lambda: self.now)

    async def read(self, ids: Sequence[str]) -> list[bytes | None]:
        self.reads.append(list(ids))
        return [None if (text := self.stored.get(one)) is None else text.encode() for one in ids]

    async def end(self, asked: str) -> str:
        return (await self.forwards.follow([asked]))[asked].root


def chain(hops: int, end: str = "held") -> Store:
    return Store(**{str(n): f"to:{n + 1}" for n in range(hops)}, **{str(hops): end})


@given(st.dictionaries(st.integers(0, 20), st.integers(0, 20), max_size=20))
async def test_each_way_is_the_one_that_the_forwards_make(forwards: dict[int, int]) -> None:
    up = {one: max(one + 1, other) for one, other in forwards.items()}  # forwards only go up in rank
    store = Store(**{str(one): f"to:{other}" for one, other in up.items()})
    for _ in range(2):
        found = await store.forwards.follow([str(n) for n in range(22)])
        for n in range(22):
            path = [n]
            while path[-1] in up:
                path.append(up[path[-1]])
            assert found[str(n)] == Way(tuple(map(str, path)), None)


async def test_five_thousand_hops_are_followed_and_then_remembered() -> None:
    store = chain(5000)
    way = (await store.forwards.follow(["0"]))["0"]
    assert (way.root, way.raw, len(way.path)) == ("5000", b"held", 5001)
    read = len(store.reads)
    assert (await store.forwards.follow(["0"]))["0"] == way
    assert await store.end("2500") == "5000"
    assert len(store.reads) == read + 2, "one round trip each"


async def test_a_way_to_an_id_that_has_nothing_is_remembered_too() -> None:
    """Users whose events come by their devices alone: the resolver has nothing under their own id."""
    store = chain(5000)
    del store.stored["5000"]
    way = (await store.forwards.follow(["0"]))["0"]
    assert (way.root, way.raw) == ("5000", None)
    read = len(store.reads)
    assert (await store.forwards.follow(["0"]))["0"] == way
    assert len(store.reads) == read + 1
    store.now += REMEMBERED_SECONDS + 1
    assert (await store.forwards.follow(["0"]))["0"] == way
    assert len(store.reads) > read + 5000


async def test_many_ids_share_their_round_trips() -> None:
    store = chain(LONG)
    assert {way.root for way in (await store.forwards.follow(["0", "3", "5", str(LONG)])).values()} == {str(LONG)}
    assert len(store.reads) == LONG + 1


async def test_a_short_way_is_read_anew_each_time() -> None:
    store = chain(LONG)
    await store.end("0")
    store.stored["0"] = "held"
    assert await store.end("0") == "0"


async def test_what_is_remembered_goes_on_when_the_chain_does_and_is_forgotten_after_a_while() -> None:
    store = chain(20)
    await store.end("0")
    store.stored |= {"20": "to:21", "21": "held"}
    assert await store.end("0") == "21"
    store.now += REMEMBERED_SECONDS
    store.stored["0"] = "held"
    assert await store.end("0") == "0"


async def test_a_store_put_back_to_an_older_copy_is_asked_itself() -> None:
    store = chain(20)
    await store.end("0")
    store.stored = {"0": "to:1", "1": "held"}
    assert (await store.forwards.follow(["0"]))["0"] == Way(("0", "1"), b"held")


async def test_memory_is_bounded() -> None:
    half = REMEMBERED_HOPS // 2
    store = Store(**{f"{who}-{n}": f"to:{who}-{n + 1}" for who in range(3) for n in range(half)})
    store.stored |= {f"{who}-{half}": "held" for who in range(3)}
    for who in range(3):
        await store.end(f"{who}-0")
    assert len(store.forwards._hops) <= REMEMBERED_HOPS
    read = len(store.reads)
    await store.end("2-0")
    assert len(store.reads) == read + 1, "the newest stays"


async def test_memory_of_ends_without_anything_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwards, "REMEMBERED_HOPS", 30)
    store = Store(**{f"{who}-{n}": f"to:{who}-{n + 1}" for who in range(40) for n in range(LONG + 1)})
    for who in range(40):
        await store.end(f"{who}-0")
    assert len(store.forwards._bare) == 30


async def test_a_ring_is_said_and_ends_nobody_else() -> None:
    store = Store(a="to:b", b="to:c", c="to:a", d="to:e", e="held")
    found = await store.forwards.follow(["a", "d"])
    assert found["a"].endless
    assert found["d"] == Way(("d", "e"), b"held")
