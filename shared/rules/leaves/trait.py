"""`trait`: what somebody said they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from shared.contracts.membership_blob import Membership, TraitFact, Value
from shared.definitions.conditions import condition_test
from shared.definitions.models import canonical
from shared.definitions.rules import Condition, FieldName
from shared.rules.buckets import Numbers
from shared.rules.cuts import Answered
from shared.rules.feature import TRAIT_PREFIX, Feature, Said, Take
from shared.rules.leaf import Asking, Holds, Leaf
from shared.rules.oracle import Past
from shared.rules.sql.gathering import Gathering
from shared.rules.values import Where, value_of


class Trait(Condition, Leaf):
    """The person's trait fulfils the condition."""

    head: ClassVar[str] = "trait"

    trait: FieldName

    def ask(self, asking: Asking) -> Holds:
        return asking.test(LastSaid(TraitOf(self.trait)), canonical(self), condition_test(self))

    def sql(self, gathering: Gathering) -> str:
        return gathering.trait(self.trait, self)

    def holds_of(self, past: Past) -> bool:
        return past.fulfils(self, past.trait(self.trait))


@dataclass(frozen=True)
class TraitOf:
    """The feature: the trait's last value, by (time, message id, source). It stands in `Membership.traits`."""

    trait: str
    events: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return TRAIT_PREFIX + self.trait

    def where(self, places: Mapping[str, int]) -> Where | None:
        return None

    def take(self, event: str, places: Mapping[str, int]) -> Take:
        return lambda state, values, seen: 0  # it takes none

    def take_trait(self, state: Membership, raw: bytes, said: Said) -> bool:
        fact = state.traits.get(self.trait)
        if fact is not None and fact.said >= said:
            return False
        state.traits[self.trait] = TraitFact(*said, value_of(raw))
        return True

    def unite(self, winner: Membership, loser: Membership) -> None:
        theirs = loser.traits.get(self.trait)
        mine = winner.traits.get(self.trait)
        if theirs is not None and (mine is None or mine.said < theirs.said):
            winner.traits[self.trait] = theirs

    def prune(self, state: Membership, now: Numbers, keep: int) -> int:
        return 0


@dataclass(frozen=True)
class LastSaid:
    """The gauge: the value that was said last."""

    trait: TraitOf
    reach: int = 0

    @property
    def features(self) -> tuple[Feature, ...]:
        return (self.trait,)

    def read(self, state: Membership, now: Numbers) -> Value:
        fact = state.traits.get(self.trait.trait)
        return None if fact is None else fact.value

    def border(self, state: Membership, now: Numbers, leaves: Answered) -> int:
        return 0
