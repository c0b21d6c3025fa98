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

    `id`: the step's, of which the message's id is made; `expires`: ms after which it is no longer worth sending; at most `cap_messages`
    (0: any number) of its class to one person within `cap_per` ms.
    """

    id: str
    channel: str
    template: str
    message_class: str
    expires: int
    cap_messages: int = 0
    cap_per: int = 0


class WaitStep(msgspec.Struct, array_like=True, frozen=True, tag="w"):
    """Let `ms` pass."""

    id: str
    ms: int


Step = SendStep | WaitStep


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """One passage through a journey. It goes by the steps of `version`, the one that was entered, so a new version leaves it alone.

    `id` and `profile` are fixed at entry and survive merges. `at`: the instant of the transition, epoch ms. `guard`: no second entry
    within so many ms (0: any). `ready`: nothing happens before the stage's time has reached this. `path`: which step is next, as
    its number in the list of steps; a step inside another has a number more for each list around it. Empty: the passage has ended.
    `due`: when that step is to happen. `carried`: the steps that remain, of a passage that began when steps were kept with it (stored
    version 1); it goes by them to its end. What a passage remembers of its own (the event that began it, an answer that it waited
    for) will be a field behind these, and a new version: no step asks for any so far.
    """

    id: bytes
    journey: str
    version: int
    profile: str
    segment: str
    at: int
    guard: int
    ready: int
    path: tuple[int, ...]
    due: int
    carried: tuple[Step, ...] = ()

    @property
    def ended(self) -> bool:
        return not self.path


class Person(msgspec.Struct, array_like=True):
    """What messaging knows of one person, as it is kept. `contacts`: kind of id -> contact point, a JSON string in normalised spelling."""

    contacts: dict[str, Fact] = {}
    traits: dict[str, Fact] = {}
    consents: dict[str, Consent] = {}
    entries: tuple[Entry, ...] = ()

    @property
    def blank(self) -> bool:
        return not (self.contacts or self.traits or self.consents or self.entries)


class _OldEntry(msgspec.Struct, array_like=True, frozen=True):
    """A passage of stored version 1. `done`: steps behind it; `steps`: those that remain."""

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

    def of_now(self) -> Entry:
        path = (self.done,) if self.steps else ()
        fixed = (self.id, self.journey, self.version, self.profile, self.segment, self.at, self.guard)
        return Entry(*fixed, self.ready, path, self.due, self.steps)


class _OldStored(msgspec.Struct, array_like=True):
    """As version 1 was kept. `others`: contact points beside the e-mail address."""

    email: Fact | None = None
    traits: dict[str, Fact] = {}
    consents: dict[str, Consent] = {}
    entries: tuple[_OldEntry, ...] = ()
    others: dict[str, Fact] = {}

    def of_now(self) -> Person:
        first = {} if self.email is None else {"email": self.email}
        return Person(first | self.others, self.traits, self.consents, tuple(one.of_now() for one in self.entries))


VERSION: Final = 2
"""Written; it and those below are read (versions.py). Any change of the fields above is a new version."""
_decoder: Final = msgspec.msgpack.Decoder(Person)
_old_decoder: Final = msgspec.msgpack.Decoder(_OldStored)
_encoder: Final = msgspec.msgpack.Encoder(order="deterministic")


def encode_person(person: Person) -> bytes:
    """Equal states give equal bytes; a blank state gives none."""
    return b"" if person.blank else stamped(_encoder.encode(person), VERSION)


def decode_person(raw: bytes) -> Person:
    """Raises NewerVersion, msgspec.DecodeError or msgspec.ValidationError if `raw` is no such state that can be read."""
    if not raw:
        return Person()
    version, body = opened(raw, VERSION, "the state of a person's journeys")
    return _decoder.decode(body) if version == VERSION else _old_decoder.decode(body).of_now()


def canonical_person(raw: bytes) -> bytes:
    """What follows from the events alone, whatever order they came in: facts, consents, and the guarded passages entered.

    Left out is how far the passages have come: that is a matter of when.
    """
    person = decode_person(raw)
    entered = sorted((entry.journey, entry.id) for entry in person.entries if entry.guard)
    return _encoder.encode((person.contacts, person.traits, person.consents, entered))
