"""The state of stage `journeys` for one person: contact facts, consents, and the journeys entered.

msgpack; the runtime's envelope stands around it (shared/runtime/envelope.py). Written by journeys, read by the dispatcher and by query.
"""

from typing import Final

import msgspec

from shared.contracts.versions import opened, stamped


class Fact(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A trait's last value as JSON text. The greatest `said` holds, as in the profile."""

    at: int
    message_id: str
    source_id: str
    value: bytes

    @property
    def said(self) -> tuple[int, str, str]:
        """When (epoch ms of the event), in which message, by which source."""
        return self.at, self.message_id, self.source_id


class Consent(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What was said last about one channel: by event time, a refusal before a consent, then by message id and source."""

    at: int
    message_id: str
    source_id: str
    granted: bool

    @property
    def said(self) -> tuple[int, str, str]:
        """As a fact's."""
        return self.at, self.message_id, self.source_id


class SendStep(msgspec.Struct, array_like=True, frozen=True, tag="s"):
    """Ask for one message.

    `key` is the step's place in its file; `expires`: ms after which it is no longer worth sending; at most `cap_messages` (0: any number)
    of its class to one person within `cap_per` ms.
    """

    key: str
    channel: str
    template: str
    message_class: str
    expires: int
    cap_messages: int = 0
    cap_per: int = 0


class WaitStep(msgspec.Struct, array_like=True, frozen=True, tag="w"):
    """Let `ms` pass."""

    key: str
    ms: int


Step = SendStep | WaitStep


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """One passage through a journey, with the steps of the version that was entered, so that a new version leaves it alone.

    `id` and `profile` are fixed at entry and survive merges. `at`: the instant of the transition, epoch ms. `guard`: no second entry
    within so many ms (0: any). `ready`: nothing happens before the stage's time has reached this. `done`: steps behind it;
    `due`: when the next is to happen. `steps` are those that remain; none: it has ended.
    """

    id: bytes
    journey: str
    version: int
    profile: str
    segment: str
    at: int
    guard: int
    ready: int
    done: int
    due: int
    steps: tuple[Step, ...]


class Person(msgspec.Struct):
    """What messaging knows of one person. `contacts`: kind of id -> contact point, a JSON string in normalised spelling."""

    contacts: dict[str, Fact] = {}
    traits: dict[str, Fact] = {}
    consents: dict[str, Consent] = {}
    entries: tuple[Entry, ...] = ()

    @property
    def blank(self) -> bool:
        return not (self.contacts or self.traits or self.consents or self.entries)


class _Stored(msgspec.Struct, array_like=True):
    """As it is kept. `others`: contact points beside the e-mail address; written only where there are some."""

    email: Fact | None = None
    traits: dict[str, Fact] = {}
    consents: dict[str, Consent] = {}
    entries: tuple[Entry, ...] = ()
    others: dict[str, Fact] = {}


VERSION: Final = 1
"""Written and read (versions.py). Any change of the fields above is a new version."""
FIRST_CONTACT: Final = "email"
"""The kind of contact point that has a place of its own in what is stored: for a long time it was the only one."""
_decoder: Final = msgspec.msgpack.Decoder(_Stored)
_encoder: Final = msgspec.msgpack.Encoder(order="deterministic")


def encode_person(person: Person) -> bytes:
    """Equal states give equal bytes; a blank state gives none.

    Other contact points are no new version: a release that does not know them has no channel that uses them, and drops them from whom it
    writes; they are learnt again when they are said again. With a version of its own the first phone number would forbid a step back.
    """
    return b"" if person.blank else stamped(_encoder.encode(_fields(person)), VERSION)


def _fields(person: Person) -> tuple[object, ...]:
    others = {kind: fact for kind, fact in person.contacts.items() if kind != FIRST_CONTACT}
    fields = (person.contacts.get(FIRST_CONTACT), person.traits, person.consents, person.entries)
    return (*fields, others) if others else fields


def decode_person(raw: bytes) -> Person:
    """Raises NewerVersion, msgspec.DecodeError or msgspec.ValidationError if `raw` is no such state that can be read."""
    if not raw:
        return Person()
    stored = _decoder.decode(opened(raw, VERSION, "the state of a person's journeys")[1])
    first = {} if stored.email is None else {FIRST_CONTACT: stored.email}
    return Person(first | stored.others, stored.traits, stored.consents, stored.entries)


def canonical_person(raw: bytes) -> bytes:
    """What follows from the events alone, whatever order they came in: facts, consents, and the guarded passages entered.

    Left out is how far the passages have come: that is a matter of when.
    """
    person = decode_person(raw)
    entered = sorted((entry.journey, entry.id) for entry in person.entries if entry.guard)
    first, traits, consents, _, *others = _fields(person)
    return _encoder.encode((first, traits, consents, entered, *others))
