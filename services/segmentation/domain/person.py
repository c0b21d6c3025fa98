"""One person's memberships under a plan: deciding, and what changed.

Pure functions over the state, which they change in place.
"""

from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Final, NamedTuple

from shared.contracts.changes import Transition
from shared.contracts.membership_blob import Membership
from shared.rules import watching
from shared.rules.plan import Answers, Plan

PENDING: Final = 1
"""`due` of somebody about whom nothing could be decided for want of a clock: at once, when there is one."""


class Change(NamedTuple):
    """A segment was entered or left. `since`: when, epoch ms. `version` 0: the segment is no longer defined."""

    segment: str
    version: int
    transition: Transition
    since: int


def decide(plan: Plan, state: Membership, answers: Answers, segments: Iterable[int], at: int) -> list[Change]:
    """Who is in which of `segments` (by place) now, and in which of those that speak of one that was entered or left.

    `at` is when what changed became so, never before the last change of that segment.
    """
    changes: list[Change] = []
    waiting = sorted(set(segments))
    while waiting:
        place = heappop(waiting)
        segment = plan.segments[place]
        holds = answers.segment(place)
        if holds == (segment.name in state.members):
            continue
        if holds:
            since = max(at, state.left.pop(segment.name, 0))
            state.members[segment.name] = since
            changes.append(Change(segment.name, segment.version, Transition.ENTERED, since))
        else:
            changes.append(_leave(state, segment.name, segment.version, at))
        for dependent in segment.dependents:
            if dependent not in waiting:
                heappush(waiting, dependent)
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
    both = watching.unite(plan, winner, loser)
    both.members = dict(winner.members)
    for name, since in loser.members.items():
        both.members[name] = min(since, both.members.get(name, since))
    both.left = {name: since for name, since in loser.left.items() if name not in both.members}
    for name, since in winner.left.items():
        if name not in both.members:
            both.left[name] = max(since, both.left.get(name, since))
    return both
