"""What messaging learns of a person from events: contact point, consents, traits that templates speak of. Last write wins by event time."""

from typing import Final

import msgspec

from shared.contracts.consent import UNSUBSCRIBED, consents
from shared.contracts.events import EventType
from shared.contracts.journey_blob import Consent, Fact, Person

MAX_TRAIT_BYTES: Final = 512
NOTHING: Final = b"null"
ALWAYS_KEPT: Final = frozenset({"locale", "timezone", "firstName", "lastName", "name"})


class Said(msgspec.Struct, frozen=True):
    """What one event says that concerns messaging. `traits`: name -> JSON text; `email`: JSON text, `null` if taken back."""

    at: int
    message_id: str
    source_id: str
    email: bytes | None
    traits: dict[str, bytes]
    consents: dict[str, bool]


class EventView(msgspec.Struct, frozen=True, gc=False):
    """The fields of an event (contracts/events.py) that are looked at here."""

    type: EventType
    message_id: str
    source_id: str
    timestamp: int
    event: str | None = None
    ids: dict[str, str] = {}
    traits: msgspec.Raw = msgspec.Raw(b"{}")
    context: msgspec.Raw = msgspec.Raw(b"{}")


_traits: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


_UNSUBSCRIBED: Final = UNSUBSCRIBED.encode()


def may_say(event: bytes) -> bool:
    """Whether an event's bytes hold any word without which `said_by` answers None. Most do not, and need not be decoded."""
    return b'"identify"' in event or b'"email"' in event or b'"categoryPreferences"' in event or _UNSUBSCRIBED in event


def said_by(view: EventView, wanted: frozenset[str]) -> Said | None:
    """What `view` says, of the traits the `wanted` ones; None if nothing. Traits that are no mapping say nothing."""
    traits: dict[str, bytes] = {}
    address = view.ids.get("email")
    email = None if address is None else msgspec.json.encode(address)
    if view.type is EventType.IDENTIFY:
        try:
            given = _traits.decode(view.traits)
        except msgspec.DecodeError:
            given = {}
        traits = {name: bytes(raw) for name, raw in given.items() if name in wanted and len(bytes(raw)) <= MAX_TRAIT_BYTES}
        if email is None and bytes(given.get("email", b"")) in (NOTHING, b'""'):
            email = NOTHING
    agreed = consents(bytes(view.context), view.event)
    if email is None and not traits and not agreed:
        return None
    return Said(view.timestamp, view.message_id, view.source_id, email, traits, agreed)


def learn(person: Person, said: Said) -> None:
    """Take in what was said, in place."""
    if said.email is not None:
        person.email = newer(person.email, Fact(said.at, said.message_id, said.source_id, said.email))
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
    if loser.email is not None:
        winner.email = newer(winner.email, loser.email)
    winner.traits = {**winner.traits, **{name: newer(winner.traits.get(name), fact) for name, fact in loser.traits.items()}}
    winner.consents = {
        **winner.consents,
        **{channel: newer_consent(winner.consents.get(channel), said) for channel, said in loser.consents.items()},
    }


def email_of(person: Person) -> str | None:
    """The contact point, if there is one."""
    return None if person.email is None or person.email.value == NOTHING else msgspec.json.decode(person.email.value, type=str)


def traits_of(person: Person) -> dict[str, msgspec.Raw]:
    """Name -> JSON text of every trait that has a value."""
    return {name: msgspec.Raw(fact.value) for name, fact in person.traits.items() if fact.value != NOTHING}
