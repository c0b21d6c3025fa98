"""Definitions compiled: which features to keep, which of them an event touches, what asks them, and every segment's rule over that.

A rule becomes leaves, shared by all segments that say the same, and a tree over their answers. Each leaf asks one gauge; a gauge is read
from features.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec

from shared.contracts.membership_blob import Membership, Value
from shared.rules.buckets import Calendar, Numbers
from shared.rules.cuts import Answered
from shared.rules.feature import TRAIT_PREFIX, Feature, Take, kept
from shared.rules.gauges import Gauge
from shared.rules.leaf import Holds
from shared.rules.values import Where


@dataclass(frozen=True)
class Feed:
    """What an event gives to one feature."""

    feature: "FeaturePlan"
    where: Where | None
    take: Take


@dataclass(frozen=True)
class EventPlan:
    """What one event name touches: the properties to read, the features that it feeds, the segments (by place) that these may change."""

    read: Callable[[msgspec.Raw], tuple[Value, ...]] | None
    feeds: tuple[Feed, ...]
    segments: tuple[int, ...]


@dataclass(frozen=True)
class GaugePlan:
    """A gauge and the leaves that ask it."""

    gauge: Gauge
    leaves: Answered


@dataclass(frozen=True)
class FeaturePlan:
    """A feature. `keep`: how many buckets back any gauge looks, 0: for ever. `gauges`: by place; `segments`: all that it may change."""

    feature: Feature
    keep: int
    gauges: tuple[int, ...]
    segments: tuple[int, ...]


@dataclass(frozen=True)
class LeafPlan:
    """A leaf: the gauge (by place) that it asks, what must hold of it, and the segments (by place) in whose rules it stands."""

    gauge: int
    holds: Callable[[Any], bool]
    segments: tuple[int, ...]


@dataclass(frozen=True)
class SegmentPlan:
    """One segment. `version`: of its rule. `dependents`: the segments (by place) whose rules speak of it; all come after it.

    `since`: the instant, epoch ms, at which this version was applied; of a plan that no log has applied, the plan's number.
    """

    name: str
    version: int
    holds: Holds
    since: int
    dependents: tuple[int, ...]


class Answers:
    """The answers of leaves and segments about one person at one instant, each found when it is first asked for."""

    __slots__ = ("_leaves", "_now", "_plan", "_readings", "_segments", "_state")

    def __init__(self, plan: "Plan", state: Membership, now: Numbers) -> None:
        self._plan, self._state, self._now = plan, state, now
        self._readings: dict[int, Any] = {}
        self._leaves: dict[int, bool] = {}
        self._segments: dict[int, bool] = {}

    def leaf(self, leaf: int) -> bool:
        found = self._leaves.get(leaf)
        if found is None:
            asked = self._plan.leaves[leaf]
            if asked.gauge not in self._readings:
                self._readings[asked.gauge] = self._plan.gauges[asked.gauge].gauge.read(self._state, self._now)
            found = self._leaves[leaf] = asked.holds(self._readings[asked.gauge])
        return found

    def segment(self, place: int) -> bool:
        found = self._segments.get(place)
        if found is None:
            found = self._segments[place] = self._plan.segments[place].holds(self)
        return found

    @property
    def asked(self) -> int:
        """How many leaves were looked at."""
        return len(self._leaves)


@dataclass(frozen=True)
class Plan:
    """All segments of an installation, in an order in which each comes after those that its rule speaks of.

    `number`: what a person's `Membership.version` is once they are decided under this plan. If the log has `applied` it, the greatest
    instant at which one of its segments was applied or one was removed, 0 if there are none: whoever was decided under a lesser number is
    decided again for the segments that are newer. Else a hash of all definitions: whoever was decided under another is decided anew.

    `read_traits`: from an identify's traits, those that rules ask for and that are there, as JSON.
    """

    number: int
    applied: bool
    calendar: Calendar
    segments: tuple[SegmentPlan, ...]
    events: Mapping[str, EventPlan]
    read_traits: Callable[[msgspec.Raw], list[tuple[str, bytes]]]
    features: Mapping[str, FeaturePlan]
    gauges: tuple[GaugePlan, ...]
    leaves: tuple[LeafPlan, ...]
    _changed: dict[int, tuple[int, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def all_segments(self) -> tuple[int, ...]:
        return tuple(range(len(self.segments)))

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(self.places)

    @cached_property
    def places(self) -> Mapping[str, int]:
        return {segment.name: place for place, segment in enumerate(self.segments)}

    @cached_property
    def has_traits(self) -> bool:
        return any(one.feature.trait is not None for one in self.features.values())

    @cached_property
    def holding_of_nothing(self) -> tuple[int, ...]:
        """The segments (by place) that somebody is in of whom nothing is known."""
        nobody = Answers(self, Membership(), self.calendar.numbers(0))
        return tuple(place for place in self.all_segments if nobody.segment(place))

    @property
    def some_hold_of_nothing(self) -> bool:
        return bool(self.holding_of_nothing)

    def with_dependents(self, places: Iterable[int]) -> set[int]:
        """These segments (by place), and all whose rules speak of them, directly or not."""
        found, waiting = set(places), list(places)
        while waiting:
            more = set(self.segments[waiting.pop()].dependents) - found
            found |= more
            waiting += more
        return found

    def kept(self, state: Membership) -> list[FeaturePlan]:
        """The features of which something is kept of this person. Raises KeyError for one of another plan."""
        return [self.features[name] for name in kept(state)]

    def trait(self, name: str) -> FeaturePlan:
        """The feature of a trait that rules ask for."""
        return self.features[TRAIT_PREFIX + name]

    def open_to(self, state: Membership) -> set[int]:
        """The segments (by place) that this person may be in, or is. All others they are not in, and do not enter."""
        found = set(self.holding_of_nothing)
        for one in self.kept(state):
            found.update(one.segments)
        found.update(self.places[name] for name in state.members if name in self.places)
        return found

    def changed_since(self, number: int) -> tuple[int, ...]:
        """The segments (by place) that are to be decided again of somebody who was last decided under the plan `number`; 0: under none."""
        if number == self.number:
            return ()
        if not self.applied or not number:
            return self.all_segments
        if number not in self._changed:
            if len(self._changed) >= MOST_NUMBERS:
                self._changed.clear()
            self._changed[number] = tuple(place for place, segment in enumerate(self.segments) if segment.since > number)
        return self._changed[number]

    def unchanged_since(self, number: int) -> Sequence[int]:
        """All other segments."""
        changed = frozenset(self.changed_since(number))
        return [place for place in self.all_segments if place not in changed] if changed else self.all_segments


MOST_NUMBERS = 1_000
"""Plans before this one for which it is remembered what has changed since."""


def plan_hash(segments: Sequence[tuple[str, int]], zone: str) -> int:
    """32 bits of the hash of (name, version) of all segments and the zone; never 0, which says `not decided`."""
    text = "\n".join([zone, *(f"{name} {version}" for name, version in sorted(segments))])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") or 1
