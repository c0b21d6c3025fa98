"""What a feature is: something small that is kept of a person so that rules can be answered without their events.

A new kind of feature keeps its state in `Membership.kept` under its id, in a form of its own.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol

from shared.contracts.membership_blob import Membership, Value
from shared.rules.buckets import Numbers
from shared.rules.values import Where

Said = tuple[int, str, str]
"""When something was said (epoch ms), in which message, by which source: of two the greater holds."""

TRAIT_PREFIX = "trait "
"""Ids of features that are traits begin so; no other id has a space."""


class Seen(NamedTuple):
    """One event as features take it in. `at`: its time, epoch ms; `numbers`: of the buckets that hold it."""

    at: int
    numbers: Numbers
    said: Said


Take = Callable[[Membership, tuple[Value, ...], Seen], int]
"""Takes in an event by the values of its properties; answers how many numbers out of range count as absent by it."""


class Feature(Protocol):
    """One feature. Equal ones are shared by all leaves that ask them. Any order of the same events gives the same state."""

    @property
    def id(self) -> str:
        """Stable over restarts and over changes to other definitions: stored states name the feature by it."""

    @property
    def events(self) -> tuple[str, ...]:
        """The names of the events that it takes."""

    @property
    def properties(self) -> tuple[str, ...]:
        """The properties of those events that it reads."""

    @property
    def trait(self) -> str | None:
        """The trait that it takes."""

    def where(self, places: Mapping[str, int]) -> Where | None:
        """Which events it takes, by their values; `places` says where each property stands. None: all."""

    def take(self, event: str, places: Mapping[str, int]) -> Take:
        """How it takes an event of that name."""

    def take_trait(self, state: Membership, raw: bytes, said: Said) -> bool:
        """Take a trait's new value, as JSON; answers whether that changed anything."""

    def unite(self, winner: Membership, loser: Membership) -> None:
        """Add the loser's to the winner's."""

    def prune(self, state: Membership, now: Numbers, keep: int) -> int:
        """Drop what no gauge reaches that looks `keep` buckets back (0: for ever); the instant at which to drop more, 0: never."""


def kept(state: Membership) -> Iterator[str]:
    """The ids of all features of which something is kept."""
    yield from state.series
    for name in state.beyond:
        if name not in state.series:
            yield name
    for name in state.traits:
        yield TRAIT_PREFIX + name
    yield from state.kept


def keep_only(state: Membership, ids: Mapping[str, object]) -> None:
    """Drop every feature that is not among `ids`."""
    state.series = {name: pairs for name, pairs in state.series.items() if name in ids}
    state.beyond = {name: sums for name, sums in state.beyond.items() if name in ids}
    state.traits = {name: fact for name, fact in state.traits.items() if TRAIT_PREFIX + name in ids}
    state.kept = {name: raw for name, raw in state.kept.items() if name in ids}
