"""The stage `segmentation`: resolved events in, entered and left segments out. The runtime does everything else."""

from collections.abc import Iterable
from typing import ClassVar

import msgspec

from services.segmentation.domain.person import PENDING, Change, decide, leave_all, leave_undefined, unite
from shared.contracts.changes import CHANGE_ENCODER, ChangeReason, SegmentChanged, Transition
from shared.contracts.events import event_name, happened_at
from shared.contracts.identity import Expiry
from shared.contracts.membership_blob import Membership, decode_membership, encode_membership, members_index
from shared.contracts.topics import DEFINITION_ACTIVATED, EVENT_RESOLVED, MEMBERSHIP_MOVED, SEGMENT_CHANGED, SEGMENTATION_REPLAYED
from shared.definitions.applied import Applied
from shared.rules.applied import plan_of
from shared.rules.compiler import compile_plan
from shared.rules.feature import Seen
from shared.rules.plan import Answers, Plan
from shared.rules.watching import Watch, adopt, look_at_all, pass_border, sooner, take_event, take_traits
from shared.runtime.stage import Record, Stage, Step


class SeenEvent(msgspec.Struct, frozen=True, gc=False):
    """What rules can ask of an event (shared/contracts/events.py); the rest is not read."""

    type: str
    message_id: str
    source_id: str
    timestamp: int
    received_at: int
    event: str | None = None
    properties: msgspec.Raw = msgspec.Raw(b"{}")
    traits: msgspec.Raw = msgspec.Raw(b"{}")


class SegmentationStage(Stage[Membership, SeenEvent]):
    """Folds events into features and decides segments, on events and on timers.

    State at any time follows from the events taken in and `now` alone, in whatever order they came (canonical_membership).
    """

    name: ClassVar[str] = "segmentation"
    inputs: tuple[str, ...] = (EVENT_RESOLVED, DEFINITION_ACTIVATED, MEMBERSHIP_MOVED, SEGMENTATION_REPLAYED)
    moved: str | None = MEMBERSHIP_MOVED
    met: ClassVar[str] = "people"
    linger_ms: ClassVar[int] = 50

    def __init__(self, first: Plan | None = None) -> None:
        """`first`: the plan of before the first set of definitions, where a rehearsal has one; else there is no segment."""
        self._first = first or compile_plan((), "UTC")
        self._decode = msgspec.json.Decoder(SeenEvent).decode

    def compile(self, defined: Applied | None) -> Plan:
        return self._first if defined is None else plan_of(defined)

    def decides_anew(self, before: Plan, after: Plan) -> bool:
        return before.number != after.number

    def decode(self, record: Record) -> SeenEvent:
        return self._decode(record.value or b"")

    def empty(self, key: str) -> Membership:
        return Membership()

    def load(self, raw: bytes) -> Membership:
        return decode_membership(raw)

    def dump(self, state: Membership) -> bytes:
        return encode_membership(state)

    def due(self, state: Membership) -> int | None:
        return state.due or None

    def fold(self, state: Membership, item: SeenEvent, step: Step) -> Membership:
        plan = step.plan
        event = plan.events.get(event_name(item.type, item.event))
        traits = plan.read_traits(item.traits) if item.type == "identify" and plan.has_traits else ()
        if event is None and not traits and state.version == plan.number:
            step.unchanged = True
            return state  # most events: no rule asks for them; but of everybody it is kept that they are there, for a sweep
        _catch_up(plan, state, step)
        at = happened_at(item.timestamp, item.received_at)
        said = (at, item.message_id, item.source_id)
        is_new = state.blank
        watch = Watch(plan, state, step.now) if _can_watch(plan, state, step) else None
        before = _held_before(plan, state, step)
        touched: set[int] = set()
        if event is not None:
            touched.update(event.segments)
            step.ignored += take_event(event, state, item.properties, Seen(at, plan.calendar.numbers(at), said), watch)
        if traits:
            touched |= take_traits(plan, state, traits, said, watch)
        if watch is not None:
            _follow(plan, state, step, watch, is_new, at, item.message_id)
        else:
            everything = plan.open_to(state) if is_new else touched
            _decide(plan, state, step, ChangeReason.EVENT, everything - before, at, item.message_id)
        return state

    def wake(self, state: Membership, step: Step) -> Membership:
        plan = step.plan
        if state.blank and _is_decided(plan, state):
            step.unchanged = True
            return state
        _catch_up(plan, state, step)
        if step.now and state.version != plan.number:
            reason = ChangeReason.EVENT if not state.version else ChangeReason.TIME
            _decide(plan, state, step, ChangeReason.DEFINITION if plan.applied and state.blank else reason)
        return state

    def swept(self, state: Membership, step: Step) -> Membership:
        if step.held or state.version == step.plan.number:
            step.unchanged = True  # of somebody under merge `settled` decides
            return state
        return self.wake(state, step)

    def merge(self, winner: Membership, loser: Membership, step: Step) -> Membership:
        state = unite(step.plan, winner, loser)
        for segment, since in state.members.items():
            if winner.members.get(segment) != since:
                step.index_add(members_index(segment), step.key, since)
        return state

    def leave(self, state: Membership, winner: str, step: Step) -> None:
        for segment in sorted(state.members):
            step.index_remove(members_index(segment), step.key)

    def expire(self, state: Membership, expiry: Expiry, step: Step) -> Membership:
        at = step.now or expiry.at
        _publish(leave_all(step.plan, state, at), step, ChangeReason.EXPIRED)
        step.gone = True
        return state

    def settled(self, state: Membership, step: Step) -> Membership:
        plan = step.plan
        if not _is_decided(plan, state):
            _catch_up(plan, state, step)
            _decide(plan, state, step, ChangeReason.MERGE)
        return state


def _is_decided(plan: Plan, state: Membership) -> bool:
    """Whether nothing is left to decide of somebody whom nothing new has touched."""
    return state.version == plan.number or (state.blank and not plan.some_hold_of_nothing)


def _can_watch(plan: Plan, state: Membership, step: Step) -> bool:
    """Whether this person's memberships are those of their features at `now`, so that only what changes need be looked at."""
    return bool(step.now) and not step.held and (state.version == plan.number or state.blank)


def _catch_up(plan: Plan, state: Membership, step: Step) -> None:
    """Decide at every border that has passed, one after the other, so that a late clock decides what a punctual one would have.

    What has a new definition is left out: it is decided as of now.
    """
    if step.held or not state.version or not 0 < state.due <= step.now:
        return
    is_current = state.version == plan.number
    standing = frozenset(plan.unchanged_since(state.version)) if not is_current else frozenset()
    if not is_current:
        if not standing:
            return
        adopt(plan, state)
    while 0 < state.due <= step.now:
        border = state.due
        changed = pass_border(plan, state, border)
        if not is_current:
            changed &= standing
        if changed:
            answers = Answers(plan, state, plan.calendar.numbers(border))
            _publish(decide(plan, state, answers, changed, border), step, ChangeReason.TIME)
        if 0 < state.due <= border:
            raise RuntimeError(f"timer at {border} sets itself to {state.due}: it would never end")


def _held_before(plan: Plan, state: Membership, step: Step) -> set[int]:
    """The segments (by place) that have a new definition and hold without the event that is about to be taken in."""
    changed = plan.changed_since(state.version)
    if not (plan.applied and state.version and changed and step.now) or step.held:
        return set()
    adopt(plan, state)
    answers = Answers(plan, state, plan.calendar.numbers(step.now))
    return {place for place in changed if answers.segment(place)}


def _follow(plan: Plan, state: Membership, step: Step, watch: Watch, is_new: bool, at: int, message_id: str) -> None:
    """Decide what an event has changed of somebody who had been decided until now; of somebody new also what holds of everybody."""
    watch.has_changed()
    state.due = sooner(state.due, watch.due)
    state.version = plan.number
    touched = plan.with_dependents(watch.changed).union(plan.holding_of_nothing) if is_new else watch.changed
    if touched:
        answers = Answers(plan, state, plan.calendar.numbers(step.now))
        _publish(decide(plan, state, answers, touched, at), step, ChangeReason.EVENT, message_id)


def _decide(
    plan: Plan,
    state: Membership,
    step: Step,
    reason: ChangeReason,
    touched: Iterable[int] = (),
    at: int = 0,
    message_id: str | None = None,
) -> None:
    """Decide `touched` as of `at`, and of somebody who was not yet decided under this plan what it has changed as of `now`."""
    if step.held or not step.now:
        state.version = 0
        state.due = PENDING
        return
    if state.version != plan.number:
        adopt(plan, state)
    look_at_all(plan, state, step.now)
    answers = Answers(plan, state, plan.calendar.numbers(step.now))
    _publish(decide(plan, state, answers, touched, at), step, reason, message_id)
    if state.version != plan.number:
        changed = plan.open_to(state).intersection(plan.changed_since(state.version))
        if plan.applied and state.version:
            reason = ChangeReason.DEFINITION
        state.version = plan.number
        _publish(leave_undefined(plan, state, step.now), step, ChangeReason.DEFINITION)
        _publish(decide(plan, state, answers, changed, step.now), step, reason)


def _publish(changes: list[Change], step: Step, reason: ChangeReason, message_id: str | None = None) -> None:
    for change in changes:
        if change.transition is Transition.ENTERED:
            step.index_add(members_index(change.segment), step.key, change.since)
        else:
            step.index_remove(members_index(change.segment), step.key)
        record = SegmentChanged(
            profile_id=step.key,
            segment=change.segment,
            transition=change.transition,
            at=change.since,
            decided_at=step.now,
            version=change.version,
            by_event=message_id,
            reason=reason,
        )
        step.emit(SEGMENT_CHANGED, step.key, CHANGE_ENCODER.encode(record))
