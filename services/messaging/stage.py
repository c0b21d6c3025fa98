"""Stage `journeys`: contact facts and passages per person; steps that fall due become message.requested."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from services.messaging.domain import facts, passages
from services.messaging.domain.passages import Asked, Plan, StepsOf
from services.messaging.domain.planning import KnownSteps
from services.messaging.domain.planning import plans as plans_of
from shared.contracts import topics
from shared.contracts.changes import CHANGE_ENCODER, SEGMENT_CHANGED_DECODER, ChangeReason, MessageRequested, SegmentChanged, Transition
from shared.contracts.identity import Expiry
from shared.contracts.journey_blob import VERSION, Entry, Person, decode_person, encode_person
from shared.definitions.applied import Applied, nothing_earlier
from shared.definitions.journey import Journey
from shared.definitions.segment import Segment
from shared.definitions.template import TemplateHead, Templates
from shared.runtime.stage import Record, Stage, Step

Item = facts.EventView | SegmentChanged | None

_view: Final = msgspec.json.Decoder(facts.EventView)


class JourneysPlan(NamedTuple):
    """A set of definitions as this stage runs it.

    `by_segment`: segment -> journeys it starts. `steps_of`: the steps of each of their versions, older ones too. `listener`: hears the
    traits that templates speak of. `endpoint`: where the messages of a template go, if its channel has several endpoints.
    """

    by_segment: Mapping[str, Sequence[Plan]]
    steps_of: StepsOf
    listener: facts.Listener
    endpoint: Callable[[str], str | None]


class Journeys(Stage[Person, Item]):
    """A step runs only on a timer: never before this stage has read all that segmentation had read when it decided.

    Both read the same clock records in the same partition of event.resolved. So when this stage's time has passed `decided_at`, it stands
    behind the place at which segmentation decided, and knows the e-mail and the consent that came before.
    """

    name = "journeys"
    inputs = (topics.EVENT_RESOLVED, topics.DEFINITION_ACTIVATED, topics.SEGMENT_CHANGED, topics.JOURNEY_MOVED, topics.JOURNEYS_REPLAYED)
    moved = topics.JOURNEY_MOVED
    linger_ms = 200
    writes = VERSION
    reads = VERSION

    def __init__(
        self,
        contacts: frozenset[str],
        plans: Mapping[str, Sequence[Plan]] | None = None,
        wanted: frozenset[str] = frozenset(),
        endpoint: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        """`contacts`: kinds of contact points that channels use, under every set.

        The rest holds before the first set: of an installation nothing, of a rehearsal all it has.
        """
        self._contacts = contacts
        given = plans or {}
        steps_of = KnownSteps(_all(given), nothing_earlier, Templates([]))
        self._first = JourneysPlan(given, steps_of, facts.Listener(wanted | facts.ALWAYS_KEPT, contacts), endpoint)
        self._may_say = self._first.listener.may_say

    def compile(self, defined: Applied | None) -> JourneysPlan:
        if defined is None:
            return self._first
        read = defined.read.needed(Journey, Segment, TemplateHead)
        listener = facts.Listener(read.templates.person_names | facts.ALWAYS_KEPT, self._contacts)
        versions = {name: one.version for (kind, name), one in defined.set.by_name.items() if kind == Journey.kind}
        plans = plans_of(read.of(Journey), read.templates, versions)
        return JourneysPlan(plans, KnownSteps(_all(plans), defined.earlier, read.templates), listener, read.templates.endpoint)

    def decode(self, record: Record) -> Item:
        topic = record.topic
        if topic == topics.EVENT_RESOLVED:
            value = record.value or b""
            return _view.decode(value) if self._may_say(value) else None
        if topic == topics.SEGMENT_CHANGED:
            return SEGMENT_CHANGED_DECODER.decode(record.value or b"")
        raise ValueError(f"a record of topic {topic} is no input of journeys")

    def empty(self, key: str) -> Person:
        return Person()

    def load(self, raw: bytes) -> Person:
        return decode_person(raw)

    def dump(self, state: Person) -> bytes:
        return encode_person(state)

    def fold(self, state: Person, item: Item, step: Step) -> Person:
        match item:
            case facts.EventView():
                said = step.plan.listener.said_by(item)
                step.unchanged = said is None
                if said is not None:
                    facts.learn(state, said)
            case SegmentChanged(transition=Transition.ENTERED):
                self._enter(state, item, step)
            case SegmentChanged(reason=ChangeReason.EXPIRED):
                _end(state, item, step)
            case _:
                step.unchanged = True
        return state

    def _enter(self, state: Person, change: SegmentChanged, step: Step) -> None:
        for plan in step.plan.by_segment.get(change.segment, ()):
            if change.reason is ChangeReason.DEFINITION and not plan.existing:
                continue
            entry = passages.enter(plan, change.profile_id, change.at, change.decided_at + 1)
            _take_in(state, (entry,), step)

    def expire(self, state: Person, expiry: Expiry, step: Step) -> Person:
        """Passages end without a word; a refusal is kept."""
        refused = {channel: consent for channel, consent in state.consents.items() if not consent.granted}
        step.gone = not refused
        return Person(consents=refused)

    def merge(self, winner: Person, loser: Person, step: Step) -> Person:
        facts.merged(winner, loser)
        _take_in(winner, loser.entries, step)
        return winner

    def due(self, state: Person) -> int | None:
        return passages.next_due(state.entries)

    def wake(self, state: Person, step: Step) -> Person:
        state.entries, asked, stuck = passages.advance(state.entries, step.now, step.plan.steps_of)
        step.stuck += stuck
        for one in asked:
            # To the slot of who entered, not of who it is by now: one dispatch id has one ledger, whatever merges came between.
            wanted = request(state, one, step.key, step.now, step.plan.endpoint(one.step.template))
            step.emit(topics.MESSAGE_REQUESTED, one.entry.profile, CHANGE_ENCODER.encode(wanted))
        return state


def _all(plans: Mapping[str, Sequence[Plan]]) -> Iterable[Plan]:
    return (plan for of_segment in plans.values() for plan in of_segment)


def _end(person: Person, change: SegmentChanged, step: Step) -> None:
    """End the passages that a forgotten person had begun: their transitions may be read after the expiry itself."""
    kept = tuple(one for one in person.entries if (one.profile, one.segment) != (change.profile_id, change.segment))
    step.unchanged = kept == person.entries
    person.entries = kept
    step.gone = person.blank


def _take_in(person: Person, entries: Iterable[Entry], step: Step) -> None:
    person.entries, refused = passages.taken_in(person.entries, entries)
    step.refused += refused


def request(person: Person, asked: Asked, profile: str, now: int, endpoint: str | None = None) -> MessageRequested:
    """The message that a step asks for. It expires counted from when the step fell due, not from when it was got round to."""
    entry, send = asked.entry, asked.step
    return MessageRequested(
        dispatch_id=passages.dispatch_id(entry.id, send.id),
        entry_id=entry.id.hex(),
        journey=entry.journey,
        journey_version=entry.version,
        step=send.id,
        profile_id=profile,
        channel=send.channel,
        template=send.template,
        message_class=send.message_class,
        requested_at=now,
        expires_at=asked.due + send.expires,
        person=facts.traits_of(person),
        segment=entry.segment,
        cap_messages=send.cap_messages,
        cap_per=send.cap_per,
        endpoint=endpoint,
    )
