"""Journeys over fakes, under sets of definitions as the log has them, also as the release before ran them."""

from collections import Counter, defaultdict
from typing import Any

import msgspec

from services.messaging.channels.registry import HEADS
from services.messaging.domain.passages import MOST_A_MONTH, dispatch_id, entry_id
from services.messaging.domain.planning import laid_out
from services.messaging.stage import Item, Journeys
from shared.adapters.applied_sets import AppliedSets
from shared.contracts.changes import CHANGE_ENCODER, MESSAGE_REQUESTED_DECODER, MessageRequested, SegmentChanged, Transition
from shared.contracts.definitions import DefinitionSet, set_record, text_record
from shared.contracts.headers import CAUSE, KIND, KIND_MERGE, MERGED_FROM, header
from shared.contracts.identity import MergeRecord
from shared.contracts.journey_blob import Entry, Person, SendStep, decode_person
from shared.contracts.topics import EVENT_RESOLVED, MESSAGE_REQUESTED, SEGMENT_CHANGED
from shared.definitions.applied import Applied
from shared.definitions.folder import read_texts
from shared.definitions.journey import Journey
from shared.definitions.models import read
from shared.definitions.segment import Segment
from shared.definitions.sets import Order, next_set
from shared.definitions.template import Templates
from shared.definitions.yaml_text import parse
from shared.runtime.envelope import peek
from shared.runtime.stage import Step
from shared.testing.scene import FakeSets, Scene
from tests.definition_log import MemoryTopic
from tests.key_secrets import SECRETS

HOUR = 3_600_000
DAY = 24 * HOUR
T = 1_700_000_000_000
SEGMENT = "segment: important\ntitle: {zh: x, en: x}\nwhen: {did: Bought, within: 7d}\n"
HEAD = "---\ntemplate: {0}\nsubject: {0}\nchannel: email\nclass: {1}\nlocale: en\n---\nHello.\n"
NAMES = ("ann", "ben", "cat", "dan")


def journey(*steps: str) -> str:
    """A journey: `wait 2h`, a template's name for a message by it, `id=template` where the step has an id."""
    lines = []
    for step in steps:
        name, _, what = step.rpartition("=")
        said = f"id: {name}, " if name else ""
        lines.append(f"  - wait: {what[5:]}" if what.startswith("wait ") else f"  - send: {{{said}channel: email, template: {what}}}")
    return "journey: greet\ntitle: {zh: x, en: x}\nenter: {on: segment.entered, segment: important}\nsteps:\n" + "\n".join(lines) + "\n"


VERSIONS = (
    journey("ann", "wait 2h", "ben"),
    journey("cat", "ann", "wait 1h", "ben", "wait 30h", "dan"),
    journey("wait 5h", "first=dan", "wait 2h", "ben"),
    journey("first=dan", "wait 9h", "second=ann"),
)


def definition(text: str) -> Journey:
    return read(parse(text, "greet.yaml"), Journey)


SENDS = {
    definition(text).version: [step.id for step in laid_out(definition(text), Templates([])) if isinstance(step, SendStep)]
    for text in VERSIONS
}


class Log(FakeSets):
    """Sets of definitions as the log has them, and the stage's view of them."""

    def __init__(self) -> None:
        super().__init__()
        self.topic = MemoryTopic()
        self.applied = AppliedSets(self.topic, HEADS)
        self.head: DefinitionSet | None = None

    def apply(self, *journeys: str, classes: str = "marketing", at: int = T) -> DefinitionSet:
        """The next set: these journeys, and every template."""
        files = {f"j{number}.yaml": text for number, text in enumerate(journeys)} | {"s.yaml": SEGMENT}
        files |= {f"{name}.en.liquid": HEAD.format(name, classes) for name in NAMES}
        found = read_texts(files, heads=HEADS)
        assert not found.problems
        asked: dict[str, frozenset[str]] = {one.definition.name: frozenset() for one in found.of(Segment)}
        self.head = next_set(self.head, found, files, asked, Order("k", "ops", "why"), at)
        self.topic.told(*(text_record(text.encode()) for text in files.values()), set_record(self.head, SECRETS))
        return self.head

    def at(self, activated_at: int) -> Any:
        return self.applied.at(activated_at)

    def before(self, until: int) -> int:
        return self.applied.before(until)

    def of(self, one: DefinitionSet) -> Applied:
        found = self.applied.at(one.activated_at)
        assert found is not None
        return found


def stage() -> Journeys:
    return Journeys(frozenset({"email"}))


class Released(Journeys):
    """As the release before stored versions had a number: each passage has its steps with it."""

    writes = 1

    def fold(self, state: Person, item: Item, step: Step) -> Person:
        state = super().fold(state, item, step)
        state.entries = tuple(_with_steps(entry, step.plan.steps_of) for entry in state.entries)
        return state

    def dump(self, state: Person) -> bytes:
        return b"" if state.blank else as_released(state)


def _with_steps(entry: Entry, steps_of: Any) -> Entry:
    if entry.ended or entry.carried:
        return entry
    return msgspec.structs.replace(entry, carried=tuple(steps_of(entry.journey, entry.version)[entry.path[0] :]))


def as_released(person: Person) -> bytes:
    """Stored version 1, as tests/contract/data/released_blobs.json has it."""
    entries = []
    for one in person.entries:
        assert one.ended or one.carried
        fixed = (one.id, one.journey, one.version, one.profile, one.segment, one.at, one.guard)
        entries.append((*fixed, one.ready, one.path[0] if one.path else 9, one.due, one.carried))
    return msgspec.msgpack.encode((person.contacts.get("email"), person.traits, person.consents, entries))


class Story:
    """A scene in which definitions change."""

    def __init__(self, first: Journeys | None = None) -> None:
        self.log = Log()
        self.scene = Scene(first or stage())
        self.scene.sets = self.log
        self.now = T
        self.entered: set[tuple[str, int]] = set()
        self.merged: set[str] = set()

    def apply(self, *journeys: str, only: tuple[int, ...] = ()) -> DefinitionSet:
        one = self.log.apply(*journeys, at=self.now)
        self.scene.activate(one.activated_at, *only)
        return one

    def enter(self, who: str) -> None:
        """Ten at most: of one person, as they all may become, more are not kept."""
        if len(self.entered) == MOST_A_MONTH:
            return
        at = self.now + len(self.entered)
        self.entered.add((who, at))
        change = SegmentChanged(profile_id=who, segment="important", transition=Transition.ENTERED, at=at, decided_at=at, version=1)
        self.scene.log.append(SEGMENT_CHANGED, who, CHANGE_ENCODER.encode(change))

    def begin(self, who: str) -> None:
        """Enter, and do what is due at once."""
        self.enter(who)
        self.scene.settle()
        self.tick(1_000)
        self.scene.settle()

    def merge(self, loser: str, winner: str) -> None:
        if loser in self.merged:
            return
        self.merged.add(loser)
        self.scene.log.append(EVENT_RESOLVED, loser, msgspec.json.encode(MergeRecord(loser, winner, self.now)), [(KIND, KIND_MERGE)])
        event = b'{"type":"track","message_id":"m","source_id":"s","timestamp":1,"received_at":1}'
        self.scene.log.append(EVENT_RESOLVED, winner, event, [(MERGED_FROM, loser.encode())])

    def tick(self, more: int) -> None:
        self.now += more
        self.scene.tick(self.now)

    def end(self) -> None:
        self.scene.settle()
        for _ in range(6):
            self.tick(DAY)
            self.scene.settle()

    def requests(self) -> list[MessageRequested]:
        """Every record of a message, in the order of partitions."""
        return [MESSAGE_REQUESTED_DECODER.decode(record.value or b"") for record in self.scene.log.records(MESSAGE_REQUESTED)]

    def asked(self, who: str, at: int) -> list[str]:
        """The steps that asked for a message in one passage, in order of time."""
        mine = [one for one in self.requests() if one.entry_id == entry_id("greet", who, at).hex()]
        return [one.step for one in sorted(mine, key=lambda one: one.expires_at)]

    def person(self, who: str) -> Person:
        return decode_person(peek(self.scene.redis.states("journeys")[who])[2])

    def whole(self) -> None:
        """Each passage asked for each message of one version, each once; nothing else was asked for."""
        requests = self.requests()
        assert max(Counter(one.dispatch_id for one in requests).values(), default=1) == 1
        causes = Counter(header(record.headers, CAUSE) for record in self.scene.log.records(MESSAGE_REQUESTED))
        assert max(causes.values(), default=1) == 1
        found: defaultdict[str, set[str]] = defaultdict(set)
        versions: defaultdict[str, set[int]] = defaultdict(set)
        for one in requests:
            assert one.dispatch_id == dispatch_id(bytes.fromhex(one.entry_id), one.step)
            found[one.entry_id].add(one.step)
            versions[one.entry_id].add(one.journey_version)
        assert set(found) == {entry_id("greet", who, at).hex() for who, at in self.entered}
        for entry, [version] in versions.items():
            assert found[entry] == set(SENDS[version])
