"""The warehouse's calculations: commit metadata, exact amounts, rows, and chunks that replay to the same bytes."""

import json
from decimal import Decimal
from itertools import islice, pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.warehouse.domain.amounts import Fault, amount
from services.warehouse.domain.block import Block, Gathering, Limits, blocks
from services.warehouse.domain.chunk import Chunk, Pending, chunk_again
from services.warehouse.domain.packed import longest_packed, pack, packed_causes, packed_ranges
from services.warehouse.domain.progress import LONGEST_BYTES, Place, Progress, Range, UnreadableProgressError, decode
from services.warehouse.domain.rows import Record, Table, row
from shared.contracts.headers import Cause
from shared.contracts.slots import MOST_PARTITIONS
from shared.contracts.topics import EVENT_RECEIVED, EVENT_RESOLVED, RESOLVER_REPLAYED, SEGMENT_CHANGED

LANES = st.builds(
    lambda stage, topic, at: f"{stage}|{topic}|{at}",
    st.sampled_from(["resolver", "folder"]),
    st.sampled_from(["a.v1", "b.v1"]),
    st.integers(0, 7),
)
CAUSES = st.dictionaries(LANES, st.tuples(st.integers(0, 2**40), st.integers(0, 99)), max_size=12)
PLACE = Place(EVENT_RESOLVED, 0)
RANGES = st.dictionaries(
    st.integers(0, 7), st.builds(lambda first, more: Range(first, first + more), st.integers(0, 2**40), st.integers(0, 99))
)


@given(st.data(), RANGES, CAUSES)
def test_progress_comes_back_from_the_metadata_it_wrote(
    data: st.DataObject, ranges: dict[int, Range], causes: dict[str, tuple[int, int]]
) -> None:
    partition = data.draw(st.sampled_from(sorted(ranges))) if ranges else 0
    first = ranges[partition].first if ranges else data.draw(st.integers(0, 2**40))
    progress = Progress(first, tuple(sorted(ranges.items())), causes)
    assert decode(partition, first, progress.encode()) == progress


@given(st.data(), RANGES, CAUSES)
def test_progress_comes_back_from_packed_metadata_too(
    data: st.DataObject, ranges: dict[int, Range], causes: dict[str, tuple[int, int]]
) -> None:
    partition = data.draw(st.sampled_from(sorted(ranges))) if ranges else 0
    first = ranges[partition].first if ranges else data.draw(st.integers(0, 2**40))
    packed = pack(packed_ranges(tuple(sorted(ranges.items()))), packed_causes(causes))
    assert decode(partition, first, packed) == Progress(first, tuple(sorted(ranges.items())), causes)


def _full_chunk(partitions: int, offset: int) -> Chunk:
    """One that has heard of every lane there can be: two of each slot of the resolver."""
    lanes = [Cause("resolver", topic, of, offset, 9).lane for topic in (EVENT_RECEIVED, RESOLVER_REPLAYED) for of in range(partitions)]
    causes = dict.fromkeys(lanes, (offset, MOST_NTH))
    return Chunk(Range(offset, offset + 20_000), {}, {}, causes, causes, 0, 0, ())


MOST_NTH = 2**24 - 1
"""Of an output: shared/contracts/headers.py, CAUSE_BITS."""


@pytest.mark.parametrize("partitions", [3, 8, 24, MOST_PARTITIONS])
@pytest.mark.parametrize("offset", [10**6, 10**10, 2**49])
def test_every_block_can_be_committed_whatever_lanes_there_are_and_holds_as_many_partitions_as_fit(partitions: int, offset: int) -> None:
    made = blocks("t", {partition: _full_chunk(partitions, offset) for partition in range(partitions)})
    assert [partition for block in made for partition in block.chunks] == list(range(partitions))
    for block in made:
        told = {place.partition: progress.encode() for place, progress in block.meant().items()}
        assert max(map(len, told.values())) <= LONGEST_BYTES
        assert {partition: decode(partition, offset, text) for partition, text in told.items()} == {
            place.partition: progress for place, progress in block.meant().items()
        }
    assert (len(made) == 1) == (partitions <= 24 or offset <= 10**10)
    for block, following in pairwise(made):  # one partition more would not have gone in
        more = (*block.ranges, following.ranges[0])
        room = longest_packed(LONGEST_BYTES) - 2 * len(more)
        assert len(packed_ranges(more)) + len(packed_causes(block.chunks[block.ranges[0][0]].before)) > room


@pytest.mark.parametrize("partitions", [3, 8])
def test_what_earlier_releases_can_read_is_written_as_they_write_it(partitions: int) -> None:
    (block,) = blocks("t", {partition: _full_chunk(partitions, 10**15) for partition in range(partitions)})
    assert all(progress.encode().startswith("intent:0:1000000000000000-") for progress in block.meant().values())


def test_causes_that_fit_no_commit_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="longer than"):
        Progress(0, (), {f"s|t{n}|0": (10**15, 0) for n in range(400)}).encode()


@pytest.mark.parametrize(
    "metadata",
    [
        "intent:0:5-3",
        "intent:0:4-9",
        "intent:1:5-9",
        "intent:5-9",
        "someone else's",
        "intent:0:x-y",
        ";a:b",
        "intent:0:5-9;a:1=x.2",
        "z1:",
        "z1:0",
        "z1:zzzzz",
        "z1:~~~~~",
    ],
)
def test_foreign_metadata_is_told_and_not_believed(metadata: str) -> None:
    with pytest.raises(UnreadableProgressError):
        decode(0, 5, metadata)


def test_a_commit_made_by_hand_is_a_plain_position() -> None:
    assert decode(0, 7, "") == Progress(7)


def _event(**properties: object) -> bytes:
    return json.dumps({"type": "track", "properties": properties}).encode()


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (_event(revenue="12.3456"), (123_456, None)),
        (_event(revenue=0.1), (1_000, None)),
        (b'{"properties":{"revenue":999999999999.9999}}', (9_999_999_999_999_999, None)),
        (_event(revenue=" 5 "), (50_000, None)),
        (_event(revenue="12.34565"), (123_456, None)),
        (_event(total=7), (70_000, None)),
        (_event(revenue=None, total="7"), (70_000, None)),
        (_event(revenue="12 pounds"), (None, Fault.AMOUNT)),
        (_event(revenue="12 pounds", total=3), (30_000, None)),
        (_event(revenue={"a": 1}), (None, Fault.AMOUNT)),
        (_event(revenue=True), (None, Fault.AMOUNT)),
        (_event(revenue="1e30"), (None, Fault.AMOUNT)),
        (_event(other="revenue"), (None, None)),
        (b'{"properties":[{"revenue":1}]}', (None, None)),
        (b'{"properties":{"re\\u0076enue":"3"}}', (30_000, None)),
        (b'{"revenue": not json', (None, Fault.UNREADABLE)),
        (b'"revenue" \xff', (None, Fault.UNREADABLE)),
    ],
)
def test_an_amount_is_exact_or_null_and_told(raw: bytes, wanted: tuple[int | None, Fault | None]) -> None:
    assert amount(raw) == wanted


@given(st.decimals(min_value=-Decimal(10**12), max_value=Decimal(10**12), places=4), st.booleans())
def test_four_places_survive_as_number_and_as_text(value: Decimal, quoted: bool) -> None:
    written = f'"{value}"' if quoted else str(value)
    assume(quoted or "E" not in written)
    assert amount(f'{{"properties":{{"revenue":{written}}}}}'.encode()) == (int(value * 10_000), None)


def _record(offset: int, cause: tuple[int, int] | None = None, kind: bytes | None = None, value: bytes = b"{}") -> Record:
    told = [] if cause is None else [("cause", Cause("resolver", "in", 0, *cause).encode())]
    return Record(offset, 1_000 + offset, b"u:1", value, told + ([("kind", kind)] if kind else []))


@given(st.binary(min_size=1, max_size=400), st.binary(max_size=200))
def test_any_bytes_are_one_row_with_the_bytes_as_they_came(value: bytes, key: bytes) -> None:
    made = row(SEGMENT_CHANGED, 3, Record(9, 8, key, value, []))
    assert made is not None
    assert made.table is Table.TRANSITIONS
    length, at = 0, 0
    for shift, byte in enumerate(made.data):
        length |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            at = shift + 1
            break
    assert made.data[at : at + length] == value
    assert made.data.endswith(b"\x03\x00" + (9).to_bytes(8, "little") + (8).to_bytes(8, "little"))


def test_clocks_and_tombstones_are_no_rows_and_merges_have_a_table() -> None:
    assert row(EVENT_RESOLVED, 0, _record(0, kind=b"clock", value=b"\x93")) is None
    assert row(EVENT_RESOLVED, 0, _record(0, kind=b"expired")) is None
    assert row(EVENT_RESOLVED, 0, _record(0, value=b"")) is None
    merged = row(EVENT_RESOLVED, 0, _record(0, kind=b"merge"))
    assert merged is not None
    assert merged.table is Table.MERGES


RECORDS = st.lists(st.tuples(st.integers(0, 6), st.sampled_from([None, b"clock", b"merge"]), st.booleans()), min_size=1, max_size=25)


LONG_RECORDS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([None, None, b"merge", b"clock"]), st.booleans()), min_size=30, max_size=50
)


def _log(drawn: list[tuple[int, bytes | None, bool]]) -> list[Record]:
    """Records whose causes go back now and then, as those of an outbox published twice do."""
    return [
        _record(offset, (offset - back if back <= offset else offset, 0) if has else None, kind, f'{{"n":{offset}}}'.encode())
        for offset, (back, kind, has) in enumerate(drawn)
    ]


def _chunks(log: list[Record], lengths: list[int]) -> list[Chunk]:
    """Chunks of so many records, and one of the rest."""
    pending, made, given = Pending(PLACE, Progress(0)), [], iter(log)
    for length in [*lengths, len(log)]:
        for record in islice(given, length):
            pending.add(record, 0)
        if pending.records:
            made.append(pending.take())
    return made


@given(LONG_RECORDS, st.lists(st.integers(1, 20), max_size=5))
def test_whoever_finds_a_meant_range_makes_the_same_rows(drawn: list[tuple[int, bytes | None, bool]], lengths: list[int]) -> None:
    """The heart of exactly once: a chunk is a function of the log, of the range and of the causes committed beside it."""
    log = _log(drawn)
    for chunk in _chunks(log, lengths):
        meant = Block(EVENT_RESOLVED, {0: chunk}).meant()[PLACE]
        found = decode(0, meant.next, meant.encode())
        assert chunk_again(PLACE, dict(found.intent)[0], found.causes, log) == chunk


@given(RECORDS, st.lists(st.integers(1, 10), max_size=5))
def test_repeats_are_dropped_whatever_the_chunks(drawn: list[tuple[int, bytes | None, bool]], lengths: list[int]) -> None:
    log = _log(drawn)
    chunks = _chunks(log, lengths)
    rows = b"".join(chunk.rows.get(table, b"") for chunk in chunks for table in (Table.EVENTS, Table.MERGES))
    highest, wanted = (-1, -1), 0
    for record in log:
        cause = next((Cause.decode(value) for name, value in record.headers if name == "cause"), None)
        if cause is not None and (cause.offset, cause.nth) <= highest:
            continue
        highest = highest if cause is None else (cause.offset, cause.nth)
        wanted += not any(value == b"clock" for _, value in record.headers)
    assert rows.count(b'{"n":') == wanted
    assert [chunk.range.first for chunk in chunks[1:]] == [chunk.range.last + 1 for chunk in chunks[:-1]]


def test_a_range_whose_ends_left_the_log_keeps_its_name() -> None:
    chunk = chunk_again(PLACE, Range(0, 9), {}, [_record(3), _record(12)])
    assert (chunk.range, chunk.counts, chunk.done) == (Range(0, 9), {Table.EVENTS: 1}, Progress(10))


def test_what_needs_no_row_settles_by_itself_and_rows_do_not() -> None:
    pending = Pending(PLACE, Progress(0))
    assert pending.settle() is None
    pending.add(_record(0, (5, 0), b"clock"), 0)
    assert pending.settle() == Progress(1, (), {"resolver|in|0": (5, 0)})
    assert pending.settle() is None
    pending.add(_record(1), 2.0)
    assert pending.settle() is None
    assert pending.opened == 2.0


def test_a_record_read_before_and_a_cause_that_is_none_change_nothing_of_it() -> None:
    pending = Pending(PLACE, Progress(5))
    pending.add(_record(4), 0)
    assert pending.next == 5
    pending.add(Record(5, 0, b"", b"{}", [("cause", b"what")]), 0)
    assert pending.records == 1


def test_a_block_has_every_partition_of_its_topic_that_has_rows() -> None:
    gathering = Gathering(Limits(records=5, bytes=10_000))
    for topic in (EVENT_RESOLVED, SEGMENT_CHANGED):
        for partition in range(3):
            gathering.begin(Place(topic, partition), Progress(0))
    assert (gathering.topics, gathering.opened, gathering.take()) == (0, None, [])
    gathering.add(Place(EVENT_RESOLVED, 2), _record(0, value=b"two"), 7.0)
    gathering.add(Place(EVENT_RESOLVED, 1), _record(0, kind=b"clock"), 6.0)
    gathering.add(Place(EVENT_RESOLVED, 0), _record(0, value=b"zero"), 8.0)
    gathering.add(Place(SEGMENT_CHANGED, 0), _record(0), 9.0)
    gathering.add(Place(SEGMENT_CHANGED, 7), _record(0), 1.0)
    assert (gathering.topics, gathering.opened, gathering.full) == (2, 7.0, False)
    events, changes = gathering.take()
    assert (events.ranges, changes.ranges) == (((0, Range(0, 0)), (2, Range(0, 0))), ((0, Range(0, 0)),))
    assert events.rows[Table.EVENTS].index(b"zero") < events.rows[Table.EVENTS].index(b"two")
    assert (events.count(Table.EVENTS), changes.count(Table.TRANSITIONS)) == (2, 1)
    assert events.token == f"{EVENT_RESOLVED}:0:0-0,2:0-0"
    assert gathering.take() == []
    assert gathering.settle() == {Place(EVENT_RESOLVED, 1): Progress(1)}


def test_what_is_in_hand_is_full_by_the_records_of_one_topic_or_the_bytes_of_all() -> None:
    def until_full(limits: Limits) -> int:
        gathering, added = Gathering(limits), 0
        gathering.begin(PLACE, Progress(0))
        gathering.begin(Place(SEGMENT_CHANGED, 0), Progress(0))
        while not gathering.full:
            gathering.add((PLACE, Place(SEGMENT_CHANGED, 0))[added % 2], _record(added, value=b"x" * 100), 0)
            added += 1
        return added

    assert until_full(Limits(records=6, bytes=10_000)) == 11
    assert until_full(Limits(records=100, bytes=1_000)) == 9


def test_marks_of_transactions_behind_the_last_record_are_passed_once_no_row_waits() -> None:
    place = Place(EVENT_RESOLVED, 3)
    gathering = Gathering(Limits(100, 1 << 20))
    gathering.begin(place, Progress(5))
    gathering.passed({place: 6, Place(EVENT_RESOLVED, 4): 9})
    assert gathering.settle() == {place: Progress(6)}
    gathering.add(place, _record(6), 0.0)
    gathering.passed({place: 8})
    (block,) = gathering.take()
    assert block.chunks[3].range == Range(6, 6)
    gathering.passed({place: 8})
    assert gathering.settle() == {place: Progress(8)}
    gathering.passed({place: 2})
    assert gathering.settle() == {}
