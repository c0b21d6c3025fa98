"""Series: a bucket is dropped by time alone, and combining is free of order."""

import random

from hypothesis import given
from hypothesis import strategies as st

from shared.rules.buckets import Calendar, Unit
from shared.rules.pairs import Combine, add, dropped_at, lowest_kept, prune, united
from shared.rules.series import COMBINE, Measure, SeriesKey

UNITS = st.sampled_from([Unit.MINUTE, Unit.HOUR, Unit.DAY])
ADDED = st.lists(st.tuples(st.integers(0, 20), st.integers(-5, 5)), max_size=15)
COMBINES = st.sampled_from(list(Combine))
DAY = 86_400_000


def made(added: list[tuple[int, int]], combine: Combine) -> list[int]:
    pairs: list[int] = []
    for bucket, value in added:
        add(pairs, bucket, value, combine)
    return pairs


@given(UNITS, st.integers(1, 3000), st.integers(0, 40_000_000))
def test_a_bucket_is_dropped_when_said_and_not_while_a_window_reaches_it(unit: Unit, keep: int, bucket: int) -> None:
    border = dropped_at(unit, keep, bucket)
    assert lowest_kept(unit, keep, border - 1) <= bucket < lowest_kept(unit, keep, border)
    assert border >= bucket + keep


@given(ADDED, COMBINES, st.randoms(use_true_random=False))
def test_any_order_gives_the_same_series_sorted_by_bucket(added: list[tuple[int, int]], combine: Combine, rnd: random.Random) -> None:
    pairs = made(added, combine)
    assert pairs == made(rnd.sample(added, len(added)), combine)
    assert pairs[::2] == sorted({bucket for bucket, _ in added})


@given(ADDED, ADDED, ADDED, COMBINES)
def test_uniting_is_folding_both_whichever_comes_first(
    one: list[tuple[int, int]], two: list[tuple[int, int]], three: list[tuple[int, int]], combine: Combine
) -> None:
    first, second, third = (made(added, combine) for added in (one, two, three))
    both = united(first, second, combine)
    assert both == united(second, first, combine) == made(one + two, combine)
    assert united(both, third, combine) == united(first, united(second, third, combine), combine)


@given(ADDED, COMBINES, st.integers(-1, 22))
def test_pruning_drops_exactly_what_is_below(added: list[tuple[int, int]], combine: Combine, lowest: int) -> None:
    pairs = made(added, combine)
    prune(pairs, lowest)
    assert pairs == made([one for one in added if one[0] >= lowest], combine)


@given(
    st.integers(0, 2_500_000_000_000), st.sampled_from(["UTC", "Asia/Shanghai", "America/New_York", "America/Sao_Paulo", "Pacific/Apia"])
)
def test_a_bucket_holds_its_instants(at: int, zone: str) -> None:
    calendar = Calendar(zone)
    for unit in (Unit.MINUTE, Unit.HOUR, Unit.DAY):
        bucket = calendar.bucket(unit, at)
        assert calendar.start(unit, bucket) <= at < calendar.start(unit, bucket + 1)
        assert calendar.numbers(at)[unit] == bucket


def test_a_day_without_midnight_begins_at_the_jump_and_a_day_that_never_was_is_empty() -> None:
    sao_paulo, apia = Calendar("America/Sao_Paulo"), Calendar("Pacific/Apia")
    jump = 1_350_788_400_000  # 2012-10-21T03:00Z: 00:00 became 01:00
    day = sao_paulo.bucket(Unit.DAY, jump)
    assert sao_paulo.start(Unit.DAY, day) == jump
    assert sao_paulo.start(Unit.DAY, day + 1) == jump + 23 * 3_600_000
    skipped = apia.bucket(Unit.DAY, 1_325_239_200_000) - 1  # 2011-12-30 never was in Samoa
    assert apia.start(Unit.DAY, skipped) == apia.start(Unit.DAY, skipped + 1)


def test_ids_of_features_stand_for_ever() -> None:
    """Stored states name series by them: a change here would empty every feature of every installation."""
    key = SeriesKey("Order Completed", "{}", Measure.COUNT, None, Unit.DAY, "UTC")
    assert key.id == "sMcr8z"
    assert set(COMBINE) == set(Measure)
