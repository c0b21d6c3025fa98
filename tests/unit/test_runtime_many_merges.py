"""Very many merges into one key at once: each costs what the first ones cost, however many blobs are still waited for."""

import json
from collections.abc import Iterator, Set
from typing import Any

import msgspec
import pytest

from shared.contracts.slots import slot
from shared.runtime import envelope
from shared.runtime.envelope import Entry, Moved, encode_moved, open_entry
from shared.testing.counting import IN, MOVED, Tally
from tests.unit.counting_world import World

KIOSK = "u:kiosk"
CHUNK = 100


class Walked(set[str]):
    """Those who are waited for; `steps` counts the members that somebody walked past."""

    steps = 0

    def __iter__(self) -> Iterator[str]:
        for one in super().__iter__():
            Walked.steps += 1
            yield one

    def __or__(self, other: Set[Any]) -> set[Any]:
        Walked.steps += len(self)
        return {*self, *other}


class Watched(Entry[Any]):
    """An entry that counts the steps through those whom its key waits for."""

    @property
    def awaiting(self) -> set[str] | None:
        return self._awaiting

    @awaiting.setter
    def awaiting(self, ids: set[str] | None) -> None:
        self._awaiting = ids if ids is None or isinstance(ids, Walked) else Walked(ids)


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> type[Walked]:
    monkeypatch.setattr(envelope, "Entry", Watched)
    monkeypatch.setattr(Walked, "steps", 0)
    return Walked


def announce(world: World, losers: range) -> None:
    for n in losers:
        world.log.append(IN, KIOSK, json.dumps({"add": 1}).encode(), [("merged_from", f"a:{n}".encode())])


def bring(world: World, losers: range) -> None:
    blob = msgspec.msgpack.encode(Tally(1, 1))
    for n in losers:
        cause = f"folder|{IN}|7|{len(world.log.partitions[MOVED, slot(KIOSK)])}|{n}".encode()
        moved = encode_moved(Moved(f"a:{n}", blob, [], [], []))
        world.log.append(MOVED, KIOSK, moved, [("cause", cause), ("kind", b"moved")])


async def steps_of(many: int, walked: type[Walked]) -> dict[str, float]:
    """Steps a record, while `many` blobs are announced and then come."""
    world = World()
    found = {}
    for what, work in {"announced": announce, "brought": bring}.items():
        walked.steps = 0
        work(world, range(many))
        await world.run(rounds=1, chunk=CHUNK)
        found[what] = walked.steps / many
    assert not open_entry(world.redis.states("folder")[KIOSK]).awaiting
    assert world.tally(KIOSK).count == 2 * many
    return found


async def test_a_merge_walks_past_nobody_else_who_is_waited_for_but_once_a_commit(walked: type[Walked]) -> None:
    many = 2_000
    steps = await steps_of(many, walked)
    print(f"steps a record past others who are waited for: {steps}")  # noqa: T201 - the figures of the run
    commits = many / CHUNK
    assert max(steps.values()) < 2 * commits, "more than once a commit"
