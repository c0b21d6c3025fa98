"""What merges cost every stage, counted over fakes: the next one costs what the first ones did, and little more than events do."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import pytest

from services.messaging.stage import Journeys
from services.profile.folder_stage import FolderStage
from services.profile.resolver_stage import ResolverStage
from services.segmentation.stage import SegmentationStage
from shared.contracts.events import ReceivedEvent
from shared.contracts.topics import EVENT_RECEIVED
from shared.runtime.ports import Commit
from shared.testing.fakes import FakeRedis, FakeStore
from shared.testing.histories import EPOCH, encoded, event, key_of
from shared.testing.scene import Scene

STAGES = ("resolver", "folder", "segmentation", "journeys")
MERGING = STAGES[1:]
ARRIVING, CHUNK = 400, 2_000


class Work(NamedTuple):
    """What one stage did for one call, on average."""

    records: float
    asked: float
    kept: float
    """Bytes and changes that its commits brought."""


class Counted(FakeRedis):
    """Counts what each stage asks the store for, and what it commits."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[tuple[str, str]] = Counter()
        self.kept: Counter[str] = Counter()

    def store(self, stage: str, partition: int) -> FakeStore:
        return CountedStore(self, stage, partition)


class CountedStore(FakeStore):
    def __init__(self, redis: Counted, stage: str, partition: int) -> None:
        super().__init__(redis, stage, partition)
        self._stage = stage
        self._counted = redis

    async def load(self, keys: Sequence[str], limit: int) -> list[bytes | None]:
        self._counted.asked[self._stage, "load"] += 1
        return await super().load(keys, limit)

    async def sides(self, keys: Sequence[str]) -> list[list[tuple[float, bytes]]]:
        self._counted.asked[self._stage, "sides"] += 1
        return await super().sides(keys)

    async def indexes(self, names: Sequence[str]) -> list[list[str]]:
        self._counted.asked[self._stage, "indexes"] += len(names)
        return await super().indexes(names)

    async def in_index(self, members: Sequence[tuple[str, str]]) -> list[bool]:
        self._counted.asked[self._stage, "in_index"] += 1
        return await super().in_index(members)

    async def commit(self, commit: Commit) -> None:
        self._counted.asked[self._stage, "commit"] += 1
        changes = len(commit.states) + len(commit.indexes) + len(commit.sides) + len(commit.side_drops)
        self._counted.kept[self._stage] += sum(map(len, commit.states.values())) + len(commit.outbox) + 50 * changes
        await super().commit(commit)


def bystanders(many: int) -> Iterator[ReceivedEvent]:
    for n in range(many):
        yield event("page", f"b{n}", EPOCH + n, anonymous_id=f"b{n}")
        yield event("identify", f"i{n}", EPOCH + n, user_id=f"b{n}", traits={"city": "Oslo"})


def kiosk(many: int) -> Iterator[ReceivedEvent]:
    for n in range(many):
        yield event("page", f"p{n}", EPOCH + n, anonymous_id=f"a{n}")
        yield event("identify", f"m{n}", EPOCH + n, anonymous_id=f"a{n}", user_id="kiosk", traits={"city": "Oslo"})


def pairs(many: int) -> Iterator[ReceivedEvent]:
    for n in range(many):
        yield event("page", f"p{n}", EPOCH + n, anonymous_id=f"a{n}")
        yield event("identify", f"m{n}", EPOCH + n, anonymous_id=f"a{n}", user_id=f"u{n}", traits={"city": "Oslo"})


def aliases(many: int) -> Iterator[ReceivedEvent]:
    for n in range(many):
        yield event("alias", f"m{n}", EPOCH + n, previous_id=f"a{n}", user_id="0-kiosk")


def worked(calls: Iterable[ReceivedEvent], many: int) -> tuple[dict[str, Work], Counted]:
    """What each stage does for each of `many` calls, which come some hundreds at a time."""
    scene = Scene(ResolverStage(), FolderStage(), SegmentationStage(), Journeys(frozenset()))
    counted = scene.redis = Counted()
    records: Counter[str] = Counter()
    todo = list(calls)
    while todo or scene.pending():
        come, todo = todo[:ARRIVING], todo[ARRIVING:]
        for one in come:
            scene.log.append(EVENT_RECEIVED, key_of(one), encoded(one))
        for where in scene.pending():
            read = scene.log.commits.get((where.stage, where.topic, where.partition), 0)
            scene.work(where, CHUNK)
            records[where.stage] += scene.log.commits[where.stage, where.topic, where.partition] - read
    asked = {stage: sum(times for (one, _), times in counted.asked.items() if one == stage) for stage in STAGES}
    return {stage: Work(records[stage] / many, asked[stage] / many, counted.kept[stage] / many) for stage in STAGES}, counted


@pytest.mark.parametrize("calls", [kiosk, pairs, aliases])
def test_a_merge_costs_what_it_cost_when_there_had_been_few(calls: object) -> None:
    few, many = (worked(calls(n), n)[0] for n in (400, 2_400))  # type: ignore[operator]
    for stage in STAGES:
        for what, before, after in zip(Work._fields, few[stage], many[stage], strict=True):
            assert after < 1.1 * before, f"{stage}: {what} a merge"


@pytest.mark.parametrize("calls", [kiosk, pairs])
def test_a_merge_is_at_most_three_times_the_work_of_the_two_events_that_say_it(calls: object) -> None:
    many = 1_200
    plain, merging = worked(bystanders(many), many)[0], worked(calls(many), many)[0]  # type: ignore[operator]
    for stage in STAGES:
        print(f"{stage}: {plain[stage]} {merging[stage]}")  # noqa: T201 - the figures of the run
        assert merging[stage].records <= 2 * plain[stage].records
        assert merging[stage].asked <= 3 * plain[stage].asked


def test_a_stage_without_second_blobs_neither_asks_for_them_nor_drops_them() -> None:
    _, counted = worked(pairs(400), 400)
    asking = {stage for stage, what in counted.asked if what == "sides"}
    assert asking == {"folder"}
