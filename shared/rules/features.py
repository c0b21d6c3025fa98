"""What rules keep of one person under a plan: taking events and traits in, answering every leaf, making two people one.

Pure functions over the state, which they change in place.
"""

from collections.abc import Iterable, Sequence

import msgspec

from shared.contracts.membership_blob import Membership, TraitFact, Value
from shared.definitions.conditions import number_of
from shared.definitions.numbers import MAX_AMOUNT, is_too_large
from shared.rules.buckets import Unit
from shared.rules.plan import EventPlan, Plan, SeriesPlan
from shared.rules.series import Measure, add, dropped_at, lowest_kept, prune, united
from shared.rules.sums import add_sum, prune_beyond, unite_sums
from shared.rules.values import value_of


def adopt(plan: Plan, state: Membership) -> None:
    """Drop what was kept for rules that are no longer there."""
    state.series = {name: pairs for name, pairs in state.series.items() if name in plan.series}
    state.traits = {name: fact for name, fact in state.traits.items() if name in plan.traits}
    state.beyond = {name: sums for name, sums in state.beyond.items() if name in plan.series}


def take_event(plan: Plan, event: EventPlan, state: Membership, properties: msgspec.Raw, at: int) -> int:
    """Add an event to the series that it feeds. One that is too old for every window is dropped again when it is decided.

    Answers how many numbers out of range count as absent: its own, and sums that do not fit now.
    """
    ignored = 0
    values = event.read(properties) if event.read is not None else ()
    numbers = plan.calendar.numbers(at)
    for feed in event.feeds:
        if feed.where is not None and not feed.where(values):
            continue
        if feed.measure is Measure.COUNT:
            value = 1
        elif feed.measure is Measure.FIRST or feed.measure is Measure.LAST:
            value = at
        else:
            number = number_of(values[feed.place])
            if number is None or not -MAX_AMOUNT <= number <= MAX_AMOUNT:
                ignored += _out_of_range(values[feed.place], number)
                continue
            value = number
        bucket = numbers[feed.unit]
        if feed.measure is Measure.SUM:
            ignored += not add_sum(state, feed.series, bucket, value)
            continue
        pairs = state.series.get(feed.series)
        if pairs is None:
            state.series[feed.series] = [bucket, value]
        else:
            add(pairs, bucket, value, feed.combine)
    return ignored


def _out_of_range(value: Value, number: int | None) -> bool:
    """Whether what counts as absent is a number at all."""
    return number is not None or (isinstance(value, str) and is_too_large(value))


def take_traits(plan: Plan, state: Membership, traits: Iterable[tuple[str, bytes]], said: tuple[int, str, str]) -> tuple[int, ...]:
    """Take over traits, (name, JSON), unless newer ones stand there. Answers the segments (by place) that ask for them.

    `said`: when (epoch ms), in which message, by which source.
    """
    touched: set[int] = set()
    for name, raw in traits:
        fact = state.traits.get(name)
        if fact is None or fact.said < said:
            state.traits[name] = TraitFact(*said, value_of(raw))
            touched.update(plan.traits[name].segments)
    return tuple(sorted(touched))


def answers(plan: Plan, state: Membership, now: int) -> list[bool]:
    """Every leaf's answer at `now`. Sets `due`, and drops what no window reaches any more."""
    found = list(plan.of_nothing)
    calendar = plan.calendar
    nows = calendar.numbers(now)
    next_buckets: list[int | None] = [None, None, None, None]
    empty: list[str] = []
    for name, pairs in state.series.items():
        series = plan.series[name]
        unit = series.key.unit
        if series.keep:
            prune(pairs, lowest_kept(unit, series.keep, nows[unit]))
            if not pairs:
                empty.append(name)
                continue
            _sooner(next_buckets, unit, dropped_at(unit, series.keep, pairs[0]))
        for leaf, leaf_unit, look in series.leaves:
            found[leaf], bucket = look(pairs, nows[leaf_unit])
            if bucket is not None:
                _sooner(next_buckets, leaf_unit, bucket)
    for name in empty:
        del state.series[name]
    for name in list(state.beyond):
        _prune_beyond(plan.series[name], state, name, nows, next_buckets)
    for name, fact in state.traits.items():
        for leaf, test in plan.traits[name].leaves:
            found[leaf] = test(fact.value)
    state.due = min((calendar.start(Unit(unit), bucket) for unit, bucket in enumerate(next_buckets) if bucket is not None), default=0)
    return found


def _prune_beyond(series: SeriesPlan, state: Membership, name: str, nows: Sequence[int], next_buckets: list[int | None]) -> None:
    unit = series.key.unit
    if series.keep:
        first = prune_beyond(state, name, lowest_kept(unit, series.keep, nows[unit]))
        if first is not None:
            _sooner(next_buckets, unit, dropped_at(unit, series.keep, first))


def _sooner(buckets: list[int | None], unit: Unit, bucket: int) -> None:
    other = buckets[unit]
    if other is None or bucket < other:
        buckets[unit] = bucket


def unite(plan: Plan, winner: Membership, loser: Membership) -> Membership:
    """The features and traits of both people as one's, of whom nothing else is known."""
    adopt(plan, winner)
    adopt(plan, loser)
    sums = {name for name in (*loser.series, *loser.beyond) if plan.series[name].key.measure is Measure.SUM}
    both = Membership(
        series={name: list(pairs) for name, pairs in winner.series.items() if name in sums},
        beyond={name: dict(totals) for name, totals in winner.beyond.items()},
    )
    for name in sums:
        unite_sums(both, loser, name)
    series = {name: pairs for name, pairs in winner.series.items() if name not in sums} | both.series
    for name, pairs in loser.series.items():
        if name not in sums:
            series[name] = united(series[name], pairs, plan.series[name].combine) if name in series else pairs
    traits = dict(winner.traits)
    for name, fact in loser.traits.items():
        mine = traits.get(name)
        if mine is None or mine.said < fact.said:
            traits[name] = fact
    return Membership(series=series, traits=traits, beyond=both.beyond)
