"""Definitions compiled: which features to keep, which of them an event touches, and every segment's rule over them.

A rule becomes leaves (shared by all segments that say the same) and a tree over the leaves' answers. A leaf keeps what it means
(`EventLeaf`, `TraitLeaf`) beside how it is answered, so that a second interpreter can be built from the same plan.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from shared.contracts.membership_blob import Value
from shared.definitions.conditions import Test
from shared.rules.buckets import Calendar, Unit
from shared.rules.series import Combine, Measure, SeriesId, SeriesKey
from shared.rules.values import Where
from shared.rules.windows import Look

Holds = Callable[[Sequence[bool]], bool]
"""A segment's rule over the answers of all leaves."""


@dataclass(frozen=True)
class EventLeaf:
    """A question to one series: is the aggregate over ages of [inner, outer) buckets in [low, high]? `outer` 0: over all time.

    For FIRST and LAST: is the age of that event in [inner, outer)?
    """

    series: SeriesKey
    unit: Unit
    outer: int
    inner: int
    low: int | None
    high: int | None


@dataclass(frozen=True)
class TraitLeaf:
    """A question to one trait. `condition`: its canonical text."""

    trait: str
    condition: str


@dataclass(frozen=True)
class Feed:
    """What an event adds to one series. `place`: where the measured property stands among the event's values."""

    series: SeriesId
    measure: Measure
    combine: Combine
    unit: Unit
    where: Where | None
    place: int


@dataclass(frozen=True)
class EventPlan:
    """What one event name touches: the properties to read, the series they feed, the segments (by place) to decide anew."""

    read: Callable[[msgspec.Raw], tuple[Value, ...]] | None
    feeds: tuple[Feed, ...]
    segments: tuple[int, ...]


@dataclass(frozen=True)
class SeriesPlan:
    """One series: how far back any window reaches (in buckets, 0: nothing is ever dropped), and the leaves that ask it."""

    key: SeriesKey
    combine: Combine
    keep: int
    leaves: tuple[tuple[int, Unit, Look], ...]


@dataclass(frozen=True)
class TraitPlan:
    """One trait: the leaves that ask it, and the segments (by place) to decide anew when it changes."""

    leaves: tuple[tuple[int, Test], ...]
    segments: tuple[int, ...]


@dataclass(frozen=True)
class SegmentPlan:
    """One segment. `version`: of its rule. `holds_of_nothing`: whether somebody of whom nothing is known is in it.

    `since`: the instant, epoch ms, at which this version was applied; of a plan that no log has applied, the plan's number.
    """

    name: str
    version: int
    holds: Holds
    holds_of_nothing: bool
    since: int


@dataclass(frozen=True)
class Plan:
    """All segments of an installation. `of_nothing`: each leaf's answer for somebody of whom nothing is known.

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
    traits: Mapping[str, TraitPlan]
    read_traits: Callable[[msgspec.Raw], list[tuple[str, bytes]]]
    series: Mapping[str, SeriesPlan]
    of_nothing: tuple[bool, ...]
    leaves: tuple[EventLeaf | TraitLeaf, ...]
    all_segments: tuple[int, ...] = field(init=False)
    names: frozenset[str] = field(init=False)
    some_hold_of_nothing: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "all_segments", tuple(range(len(self.segments))))
        object.__setattr__(self, "names", frozenset(segment.name for segment in self.segments))
        object.__setattr__(self, "some_hold_of_nothing", any(segment.holds_of_nothing for segment in self.segments))

    def changed_since(self, number: int) -> tuple[int, ...]:
        """The segments (by place) that are to be decided again of somebody who was last decided under the plan `number`; 0: under none."""
        if number == self.number:
            return ()
        if not self.applied or not number:
            return self.all_segments
        return tuple(place for place, segment in enumerate(self.segments) if segment.since > number)

    def unchanged_since(self, number: int) -> tuple[int, ...]:
        """All other segments."""
        changed = self.changed_since(number)
        if not changed:
            return self.all_segments
        return tuple(place for place in self.all_segments if place not in changed)


def plan_hash(segments: Sequence[tuple[str, int]], zone: str) -> int:
    """32 bits of the hash of (name, version) of all segments and the zone; never 0, which says `not decided`."""
    text = "\n".join([zone, *(f"{name} {version}" for name, version in sorted(segments))])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") or 1
