"""The state of stage `segmentation` for one person: features, the traits that rules ask for, and memberships.

msgpack; the runtime's envelope stands around it (shared/runtime/envelope.py). Written by segmentation, read by query.
"""

from typing import Final

import msgspec

from shared.contracts.versions import opened, stamped

Value = str | int | bool | None
"""A property or trait as rules compare it: text, a number in ten-thousandths, a truth value, or nothing."""


class TraitFact(msgspec.Struct, array_like=True, gc=False):
    """A trait's last value, said at `at` (epoch ms); of two the one with the greater `said` holds, as in the profile."""

    at: int
    message_id: str
    source_id: str
    value: Value

    @property
    def said(self) -> tuple[int, str, str]:
        return (self.at, self.message_id, self.source_id)


class Membership(msgspec.Struct, array_like=True):
    """One person's.

    `version`: the number of the plan (shared/rules/plan.py) under which the memberships were decided, 0 if they have yet to be.
    `due`: an instant, epoch ms, up to which nothing changes by time alone; 0: nothing ever does.
    `series`: feature id -> bucket, value, bucket, value, … by ascending bucket.
    `members`: segment -> since when, epoch ms. `left`: segment -> when it was left.
    `kept`: feature id -> what the feature keeps, in a form of its own (shared/rules/leaves).
    `beyond`: feature id -> bucket (as text) -> its sum as text, where 64 bits do not hold it; such a bucket is not in `series`.
    """

    version: int = 0
    due: int = 0
    series: dict[str, list[int]] = {}
    traits: dict[str, TraitFact] = {}
    members: dict[str, int] = {}
    left: dict[str, int] = {}
    beyond: dict[str, dict[str, str]] = {}
    kept: dict[str, bytes] = {}

    @property
    def blank(self) -> bool:
        """Nothing is known of the person and nothing has been decided."""
        known = self.series or self.traits or self.members or self.left or self.beyond or self.kept
        return not (self.version or self.due or known)


VERSION: Final = 1
"""Written and read (versions.py). Any change of the fields above is a new version."""
_decoder: Final = msgspec.msgpack.Decoder(Membership)
_encoder: Final = msgspec.msgpack.Encoder(order="deterministic")

MEMBERS_INDEX: Final = "members:"
"""Prefix of the slot's index of a segment's members: profile id scored by since when."""


def members_index(segment: str) -> str:
    """The index (redis_keys.index_key) of the members of `segment` in one slot."""
    return MEMBERS_INDEX + segment


def encode_membership(state: Membership) -> bytes:
    """Equal states give equal bytes; a blank state gives none.

    `beyond` and `kept` are written only where there is something in them, and are no new version: a release that does not know them takes
    such a sum for absent, as this one does, and such a feature for one that begins now. With a version of its own one person's absurd
    orders could forbid a step back.
    """
    if state.blank:
        return b""
    fields = (state.version, state.due, state.series, state.traits, state.members, state.left)
    if state.kept:
        return stamped(_encoder.encode((*fields, state.beyond, state.kept)), VERSION)
    return stamped(_encoder.encode((*fields, state.beyond) if state.beyond else fields), VERSION)


def decode_membership(raw: bytes) -> Membership:
    """Raises NewerVersion, msgspec.DecodeError or msgspec.ValidationError if `raw` is no membership that can be read."""
    return _decoder.decode(opened(raw, VERSION, "the state of a person's segments")[1]) if raw else Membership()


def canonical_membership(raw: bytes) -> bytes:
    """What follows from the events and the time alone, whatever order they came in: features, traits and who is in what.

    Left out is what tells of the order: the instants of transitions, and under which plan they were decided. Of somebody of whom nothing
    else is known nothing is left: whether they were met before or behind a merge is such a matter of order.
    """
    state = decode_membership(raw)
    if not (state.series or state.traits or state.members or state.beyond or state.kept):
        return b""
    return _encoder.encode((state.series, state.traits, sorted(state.members), state.beyond, state.kept))
