"""What messaging learns of a person from events: contact points, consents, traits of templates. Last write wins by event time."""

from collections.abc import Sequence
from typing import Final

import msgspec

from shared.contracts.consent import UNSUBSCRIBED, consents
from shared.contracts.events import EventType, happened_at
from shared.contracts.journey_blob import Consent, Fact, Person

MAX_TRAIT_BYTES: Final = 512
NOTHING: Final = b"null"
ALWAYS_KEPT: Final = frozenset({"locale", "timezone", "firstName", "lastName", "name"})


class Said(msgspec.Struct, frozen=True):
    """What one event says that concerns messaging. `traits`: name -> JSON text; `contacts`: kind -> JSON text, `null` if taken back."""

    at: int
    message_id: str
    source_id: str
    contacts: dict[str, bytes]
    traits: dict[str, bytes]
    consents: dict[str, bool]


class EventView(msgspec.Struct, frozen=True, gc=False):
    """The fields of an event (contracts/events.py) that are looked at here."""

    type: EventType
    message_id: str
    source_id: str
    timestamp: int
    received_at: int
    event: str | None = None
    ids: dict[str, str] = {}
    traits: msgspec.Raw = msgspec.Raw(b"{}")
    context: msgspec.Raw = msgspec.Raw(b"{}")

    @property
    def at(self) -> int:
        """When it happened, epoch ms (contracts/events.py)."""
        return happened_at(self.timestamp, self.received_at)


_traits: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


_UNSUBSCRIBED: Final = UNSUBSCRIBED.encode()


class Listener:
    """Hears what concerns messaging: `traits` by name, contact points of the kinds in `contacts`, consents."""

    def __init__(self, traits: frozenset[str], contacts: frozenset[str]) -> None:
        self._traits, self._contacts = traits, sorted(contacts)
        self._words = (b'"identify"', b'"categoryPreferences"', _UNSUBSCRIBED, *(f'"{kind}"'.encode() for kind in self._contacts))

    def may_say(self, event: bytes) -> bool:
        """Whether an event's bytes hold any word without which `said_by` answers None. Most do not, and need not be decoded."""
        return any(word in event for word in self._words)

    def said_by(self, view: EventView) -> Said | None:
        """What `view` says; None if nothing. Traits that are no mapping say nothing."""
        return _said_by(view, self._traits, self._contacts)


def _said_by(view: EventView, wanted: frozenset[str], kinds: Sequence[str]) -> Said | None:
    traits: dict[str, bytes] = {}
    contacts = {kind: msgspec.json.encode(view.ids[kind]) for kind in kinds if kind in view.ids}
    if view.type is EventType.IDENTIFY:
        try:
            given = _traits.decode(view.traits)
        except msgspec.DecodeError:
            given = {}
        traits = {name: bytes(raw) for name, raw in given.items() if name in wanted and len(bytes(raw)) <= MAX_TRAIT_BYTES}
        taken_back = (kind for kind in kinds if bytes(given.get(kind, b"")) in (NOTHING, b'""'))
        contacts = dict.fromkeys(taken_back, NOTHING) | contacts
    agreed = consents(bytes(view.context), view.event)
    if not contacts and not traits and not agreed:
        return None
    return Said(view.at, view.message_id, view.source_id, contacts, traits, agreed)


def learn(person: Person, said: Said) -> None:
    """Take in what was said, in place."""
    for kind, raw in said.contacts.items():
        person.contacts = {**person.contacts, kind: newer(person.contacts.get(kind), Fact(said.at, said.message_id, said.source_id, raw))}
    for name, raw in said.traits.items():
        person.traits = {**person.traits, name: newer(person.traits.get(name), Fact(said.at, said.message_id, said.source_id, raw))}
    for channel, granted in said.consents.items():
        word = Consent(said.at, said.message_id, said.source_id, granted)
        person.consents = {**person.consents, channel: newer_consent(person.consents.get(channel), word)}


def newer(one: Fact | None, other: Fact) -> Fact:
    return other if one is None or (other.said, other.value) > (one.said, one.value) else one


def newer_consent(one: Consent | None, other: Consent) -> Consent:
    """The later word; of two at one instant, the refusal."""
    return other if one is None or _rank(other) > _rank(one) else one


def _rank(word: Consent) -> tuple[int, bool, str, str]:
    return word.at, not word.granted, word.message_id, word.source_id


def merged(winner: Person, loser: Person) -> None:
    """Take in all that `loser` holds of facts and consents."""
    winner.contacts = {**winner.contacts, **{kind: newer(winner.contacts.get(kind), fact) for kind, fact in loser.contacts.items()}}
    winner.traits = {**winner.traits, **{name: newer(winner.traits.get(name), fact) for name, fact in loser.traits.items()}}
    winner.consents = {
        **winner.consents,
        **{channel: newer_consent(winner.consents.get(channel), said) for channel, said in loser.consents.items()},
    }


def contact_of(person: Person, kind: str) -> str | None:
    """The contact point of a kind, if there is one."""
    fact = person.contacts.get(kind)
    return None if fact is None or fact.value == NOTHING else msgspec.json.decode(fact.value, type=str)


def traits_of(person: Person) -> dict[str, msgspec.Raw]:
    """Name -> JSON text of every trait that has a value."""
    return {name: msgspec.Raw(fact.value) for name, fact in person.traits.items() if fact.value != NOTHING}
