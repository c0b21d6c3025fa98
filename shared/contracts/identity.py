"""What resolver slots say to one another and to the stages behind them (headers.py: kind=link, kind=merge, kind=expired; topics.py)."""

from enum import StrEnum

import msgspec


class LinkKind(StrEnum):
    CLAIM = "claim"
    JOIN = "join"


class LinkRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """On event.received, keyed by `id`, to the slot of `id`.

    claim: profile `other` says that external id `id` is its own. join: `id` and `other` are one person, and `id` is the one to give
    way; `explicit` if an alias said so; `checked` if the slot of `other` has already said that `other` is a root.
    """

    kind: LinkKind
    id: str
    other: str
    why: str
    explicit: bool = False
    checked: bool = False


class MergeRecord(msgspec.Struct, frozen=True):
    """On event.resolved, keyed by `loser`, after all that the loser's slot gave the loser: its state moves to `winner`.

    On a stage's moved topic: into whom `loser` was merged in the end, as far as is known (shared/runtime/farther.py).
    """

    loser: str
    winner: str
    at: int
    """Epoch milliseconds: log-append time of the record that decided it."""


class Expiry(msgspec.Struct, frozen=True, omit_defaults=True):
    """Nobody has come under the typed id `id` for `unseen_ms`, so it is to be forgotten.

    On event.received, keyed by `id`: the question whether that is so (`at` is 0); its resolver slot decides. On event.resolved, keyed by
    the same id: the answer that it is, said at `at` (epoch ms of log-append time), after all that the slot gave this profile.
    """

    id: str
    unseen_ms: int
    at: int = 0


class ConflictRecord(msgspec.Struct, frozen=True):
    """Two known users that something other than an alias calls one person. Never merged; listed for an operator."""

    one: str
    two: str
    why: str
    at: int


LINK_DECODER = msgspec.json.Decoder(LinkRequest)
MERGE_DECODER = msgspec.json.Decoder(MergeRecord)
EXPIRY_DECODER = msgspec.json.Decoder(Expiry)
CONFLICT_DECODER = msgspec.json.Decoder(ConflictRecord)
