"""A dead letter is replayed once, in whatever order replays are asked for, and remembering it takes bounded room."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.failed import FAILED_DECODER
from shared.contracts.topics import DAY_MS, RECORD_FAILED, TOPICS
from shared.runtime import replayed
from shared.runtime.meta import Meta
from shared.runtime.replayed import BLOCK, KNOWN_DAYS, Replayed, TooManyReplays
from shared.testing.counting import REPLAYED
from tests.unit.counting_world import World

LETTERS = st.tuples(st.integers(0, 3), st.one_of(st.integers(0, 50), st.integers(0, 5 * BLOCK))).map(lambda at: f"{at[0]}:{at[1]}")


@given(st.lists(LETTERS, max_size=60))
def test_any_order_of_replays_takes_each_letter_once_over_thrown_away_batches_and_restarts(letters: list[str]) -> None:
    known: set[str] = set()
    fields: dict[str, str] = {}
    meta = Meta()
    for n, letter in enumerate(letters):
        before = meta.copy()
        assert meta.replayed.take(letter, n) == (letter not in known)
        match n % 4:
            case 0:
                meta = before  # the batch was thrown away
                continue
            case 1:
                fields |= meta.changed()
            case 2:
                fields |= meta.changed()
                meta = Meta.decode(fields)
            case _:
                pass
        known.add(letter)
    fields |= meta.changed()
    again = Meta.decode(fields)
    assert all(not again.replayed.take(letter, 0) for letter in known)


def test_dense_replays_take_little_room() -> None:
    meta = Meta()
    for offset in range(100_000):
        assert meta.replayed.take(f"3:{offset}", 0)
    fields = meta.changed()
    assert len(fields) < 110
    assert sum(map(len, fields.values())) < 30_000


def test_when_it_is_full_what_is_old_makes_room_and_what_is_not_is_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replayed, "MOST_BLOCKS", 3)
    kept = Replayed()
    for day in range(3):
        assert kept.take(f"0:{day * BLOCK}", day * DAY_MS)
    fields = kept.changed()
    with pytest.raises(TooManyReplays, match="replay this one later"):
        kept.take(f"0:{9 * BLOCK}", KNOWN_DAYS * DAY_MS - 1)
    assert not kept.take("0:0", KNOWN_DAYS * DAY_MS - 1)
    assert kept.take(f"0:{9 * BLOCK}", KNOWN_DAYS * DAY_MS)
    fields |= kept.changed()
    assert len(fields) == 3
    again = Replayed()
    for name, value in fields.items():
        again.read(name.removeprefix("rp|"), value)
    assert [again.take(f"0:{block * BLOCK}", KNOWN_DAYS * DAY_MS) for block in (1, 2, 9)] == [False, False, False]


def test_what_an_earlier_release_wrote_is_known() -> None:
    meta = Meta.decode({"seq": "4", "r|1:7": "1", "r|1:9": "1"})
    assert not meta.replayed.take("1:7", 0)
    assert meta.replayed.take("1:8", 0)
    assert list(meta.changed()) == ["seq", "rp|0"]


def test_what_an_earlier_release_wrote_may_be_more_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replayed, "MOST_BLOCKS", 3)
    fields = {"seq": "4", **{f"r|1:{block * BLOCK}": "1" for block in range(9)}}
    meta = Meta.decode(fields)
    today = 400 * DAY_MS
    for block in range(9, 12):
        assert meta.replayed.take(f"1:{block * BLOCK}", today)
    again = Meta.decode(fields | meta.changed())
    assert not any(again.replayed.take(f"1:{block * BLOCK}", today) for block in range(12)), "a letter was replayed twice"
    with pytest.raises(TooManyReplays):
        again.replayed.take(f"1:{12 * BLOCK}", today)


async def test_a_replay_that_says_no_place_is_a_dead_letter() -> None:
    world = World()
    world.log.append(REPLAYED, "u:1", b"{}", [("replay_of", b"nowhere")])
    await world.run()
    (letter,) = [FAILED_DECODER.decode(record.value or b"") for record in world.log.records(RECORD_FAILED)]
    assert "ValueError" in letter.detail


@pytest.mark.parametrize("retention_days", [1, 28, 36_500])
def test_a_letter_has_left_the_log_before_its_replay_is_forgotten(retention_days: int) -> None:
    letters = next(topic for topic in TOPICS if topic.name == RECORD_FAILED).settings(retention_days * DAY_MS)
    assert int(letters["retention.ms"]) + int(letters["segment.ms"]) < KNOWN_DAYS * DAY_MS
