"""One person's features and memberships under a plan: taking an event in, deciding, and what changed.

Pure functions over the state, which they change in place.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from services.segmentation.domain.buckets import Unit
from services.segmentation.domain.plan import EventPlan, Plan, SeriesPlan
from services.segmentation.domain.series import Measure, add, dropped_at, lowest_kept, prune, united
from services.segmentation.domain.sums import add_sum, prune_beyond, unite_sums
from services.segmentation.domain.values import value_of
from shared.contracts.changes import Transition
from shared.contracts.membership_blob import Membership, TraitFact, Value
from shared.definitions.conditions import number_of
from shared.definitions.numbers import MAX_AMOUNT, is_too_large

PENDING: Final = 1
"""`due` of somebody about whom nothing could be decided for want of a clock: at once, when there is one."""


class Change(NamedTuple):
    """A segment was entered or left. `since`: when, epoch ms. `version` 0: the segment is no longer defined."""

    segment: str
    version: int
    transition: Transition
    since: int


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


def decide(plan: Plan, state: Membership, found: Sequence[bool], segments: Iterable[int], at: int) -> list[Change]:
    """Who is in which of `segments` (by place) now; `at` is when what changed became so, never before the last change of that segment."""
    changes = []
    for place in segments:
        segment = plan.segments[place]
        holds = segment.holds(found)
        if holds == (segment.name in state.members):
            continue
        if holds:
            since = max(at, state.left.pop(segment.name, 0))
            state.members[segment.name] = since
            changes.append(Change(segment.name, segment.version, Transition.ENTERED, since))
        else:
            changes.append(_leave(state, segment.name, segment.version, at))
    return changes


def leave_all(plan: Plan, state: Membership, at: int) -> list[Change]:
    """Leave every segment."""
    versions = {segment.name: segment.version for segment in plan.segments}
    return [_leave(state, name, versions.get(name, 0), at) for name in sorted(state.members)]


def leave_undefined(plan: Plan, state: Membership, at: int) -> list[Change]:
    """Leave the segments that are no longer defined."""
    gone = sorted(name for name in state.members if name not in plan.names)
    changes = [_leave(state, name, 0, at) for name in gone]
    state.left = {name: since for name, since in state.left.items() if name in plan.names}
    return changes


def _leave(state: Membership, name: str, version: int, at: int) -> Change:
    since = max(at, state.members.pop(name))
    state.left[name] = since
    return Change(name, version, Transition.LEFT, since)


def unite(plan: Plan, winner: Membership, loser: Membership) -> Membership:
    """Both people's as one, yet to be decided: who was in a segment stays in it, since the earlier of both.

    So the person enters once, whoever of the two did; what no longer holds of both together is left when it is decided.
    """
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
    members = dict(winner.members)
    for name, since in loser.members.items():
        members[name] = min(since, members.get(name, since))
    left = {name: since for name, since in loser.left.items() if name not in members}
    for name, since in winner.left.items():
        if name not in members:
            left[name] = max(since, left.get(name, since))
    return Membership(0, 0, series, traits, members, left, both.beyond)
