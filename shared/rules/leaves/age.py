"""`first` and `last`: how long ago one event was."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from shared.definitions.models import wrong
from shared.definitions.rules import EventName, Where, Windowed
from shared.rules.leaf import Asking, Holds, Leaf
from shared.rules.leaves.windows import age
from shared.rules.oracle import Past
from shared.rules.series import Measure
from shared.rules.sql.gathering import Gathering, Happened


class Aged(Windowed, Leaf):
    """A leaf that is nothing without its window."""

    @model_validator(mode="after")
    def _has_window(self) -> Self:
        if self.within is None and self.between is None:
            raise wrong("expected `within` or `between`")
        return self


class First(Aged):
    """The first `first` there ever was (fulfilling `where`) happened in the window."""

    head: ClassVar[str] = "first"

    first: EventName
    where: Where = Field(default_factory=dict)

    def ask(self, asking: Asking) -> Holds:
        return age(asking, self, self.first, self.where, Measure.FIRST)

    def sql(self, gathering: Gathering) -> str:
        return gathering.first(Happened(self.first, self.where, self))

    def holds_of(self, past: Past) -> bool:
        times = [one.at for one in past.events(self.first, self.where)]
        return bool(times) and past.in_window(self, min(times))


class Last(Aged):
    """The last `last` (fulfilling `where`) happened in the window, and none since."""

    head: ClassVar[str] = "last"

    last: EventName
    where: Where = Field(default_factory=dict)

    def ask(self, asking: Asking) -> Holds:
        return age(asking, self, self.last, self.where, Measure.LAST)

    def sql(self, gathering: Gathering) -> str:
        return gathering.last(Happened(self.last, self.where, self))

    def holds_of(self, past: Past) -> bool:
        times = [one.at for one in past.events(self.last, self.where)]
        return bool(times) and past.in_window(self, max(times))
