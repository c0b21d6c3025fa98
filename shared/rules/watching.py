"""What became of one person's features: which leaves changed their answer, and when time alone may change one next.

Pure functions over the state, which they change in place. An event looks at the gauges of features that it changed, a timer at those of
features that the person has; of the leaves of a gauge only those are named whose answer is another one.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from shared.contracts.membership_blob import Membership
from shared.rules.feature import Said, Seen, keep_only
from shared.rules.plan import EventPlan, FeaturePlan, Plan


class Watch:
    """The gauges of features that are about to change, read before and after, at one instant.

    `changed`: the segments (by place) of leaves whose answer is another one; `looked_at`: how many gauges were read; `due`: the first
    instant, epoch ms, at which one of them may change by time alone, or at which something is to be dropped; 0: none.
    """

    def __init__(self, plan: Plan, state: Membership, now: int) -> None:
        self._plan, self._state, self._now = plan, state, plan.calendar.numbers(now)
        self._before: dict[int, Any] = {}
        self._features: list[FeaturePlan] = []
        self.changed: set[int] = set()
        self.due = 0

    @property
    def looked_at(self) -> int:
        return len(self._before)

    def about_to_change(self, feature: FeaturePlan) -> None:
        for place in feature.gauges:
            if place not in self._before:
                self._before[place] = self._plan.gauges[place].gauge.read(self._state, self._now)
        self._features.append(feature)

    def has_changed(self) -> None:
        """All has been taken in."""
        plan, state, now = self._plan, self._state, self._now
        for feature in self._features:
            self.due = sooner(self.due, feature.feature.prune(state, now, feature.keep))
        for place, before in self._before.items():
            asked = plan.gauges[place]
            after = asked.gauge.read(state, now)
            if after != before or type(after) is not type(before):  # False == 0 and True == 1, and rules tell them apart
                for leaf in asked.leaves.changed(before, after):
                    self.changed.update(plan.leaves[leaf].segments)
            self.due = sooner(self.due, asked.gauge.border(state, now, asked.leaves))


def sooner(one: int, other: int) -> int:
    """The earlier of two instants; 0 is none."""
    return min(one, other) if one and other else one or other


def take_event(event: EventPlan, state: Membership, properties: msgspec.Raw, seen: Seen, watch: Watch | None) -> int:
    """Add an event to the features that it feeds. One that is too old for every window is dropped again when it is decided.

    Answers how many numbers out of range count as absent: its own, and sums that do not fit now.
    """
    ignored = 0
    values = event.read(properties) if event.read is not None else ()
    for feed in event.feeds:
        if feed.where is not None and not feed.where(values):
            continue
        if watch is not None:
            watch.about_to_change(feed.feature)
        ignored += feed.take(state, values, seen)
    return ignored


def take_traits(plan: Plan, state: Membership, traits: Iterable[tuple[str, bytes]], said: Said, watch: Watch | None) -> set[int]:
    """Take over traits, (name, JSON), unless newer ones stand there. Answers the segments (by place) that may change by them."""
    touched: set[int] = set()
    for name, raw in traits:
        one = plan.trait(name)
        if watch is not None:
            watch.about_to_change(one)
        if one.feature.take_trait(state, raw, said):
            touched.update(one.segments)
    return touched


def pass_border(plan: Plan, state: Membership, border: int) -> set[int]:
    """Let time pass to `border`, before which nothing changed. Answers the segments (by place) of leaves whose answer changes at it.

    Sets `due`, and drops what no gauge reaches any more.
    """
    was, now = plan.calendar.numbers(border - 1), plan.calendar.numbers(border)
    features = plan.kept(state)
    before: dict[int, Any] = {}
    due = 0
    for place in dict.fromkeys(place for one in features for place in one.gauges):
        asked = plan.gauges[place]
        next_border = asked.gauge.border(state, was, asked.leaves)
        if next_border and next_border <= border:
            before[place] = asked.gauge.read(state, was)
        else:
            due = sooner(due, next_border)
    for one in features:
        due = sooner(due, one.feature.prune(state, now, one.keep))
    changed: set[int] = set()
    for place, value in before.items():
        asked = plan.gauges[place]
        for leaf in asked.leaves.changed(value, asked.gauge.read(state, now)):
            changed.update(plan.leaves[leaf].segments)
        due = sooner(due, asked.gauge.border(state, now, asked.leaves))
    state.due = due
    return changed


def look_at_all(plan: Plan, state: Membership, now: int) -> None:
    """Set `due` from all that is kept of the person, and drop what no gauge reaches any more."""
    numbers = plan.calendar.numbers(now)
    features = plan.kept(state)
    due = 0
    for one in features:
        due = sooner(due, one.feature.prune(state, numbers, one.keep))
    for place in dict.fromkeys(place for one in features for place in one.gauges):
        asked = plan.gauges[place]
        due = sooner(due, asked.gauge.border(state, numbers, asked.leaves))
    state.due = due


def adopt(plan: Plan, state: Membership) -> None:
    """Drop what was kept for rules that are no longer there."""
    keep_only(state, plan.features)


def unite(plan: Plan, winner: Membership, loser: Membership) -> Membership:
    """The features of both people as one's, of whom nothing else is known."""
    adopt(plan, winner)
    adopt(plan, loser)
    both = Membership(
        series={name: list(pairs) for name, pairs in winner.series.items()},
        traits=dict(winner.traits),
        beyond={name: dict(totals) for name, totals in winner.beyond.items()},
        kept=dict(winner.kept),
    )
    for one in plan.kept(loser):
        one.feature.unite(both, loser)
    return both
