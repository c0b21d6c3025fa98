"""`did` and `did_not`: what happened, how often, or how much."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from shared.definitions.conditions import interval, whole_interval
from shared.definitions.models import wrong
from shared.definitions.numbers import MAX_AMOUNT, SCALE
from shared.definitions.rules import Aggregate, CompareCount, EventName, Where, Windowed
from shared.rules import gauges
from shared.rules.leaf import Asking, Holds, Leaf, opposite
from shared.rules.leaves.windows import age, window
from shared.rules.oracle import Past
from shared.rules.pairs import Combine
from shared.rules.series import Measure, series
from shared.rules.sql.gathering import Gathering, Happened


class _Happened(Windowed, Leaf):
    where: Where = Field(default_factory=dict)
    count: CompareCount | None = None
    sum: Aggregate | None = None
    min: Aggregate | None = None
    max: Aggregate | None = None

    @model_validator(mode="after")
    def _one_aggregate(self) -> Self:
        said = [name for name in ("count", "sum", "min", "max") if getattr(self, name) is not None]
        if len(said) > 1:
            raise wrong(f"expected one aggregate, found {', '.join(said)}: write one leaf each under `all`")
        return self

    def asked(self, asking: Asking, event: str) -> Holds:
        """As `did` asks it."""
        if self.count is not None:
            low, high = whole_interval(self.count.gte, self.count.gt, self.count.lte, self.count.lt, self.count.eq)
            return self._bounds(asking, event, Measure.COUNT, None, low, high)
        for measure, one in ((Measure.SUM, self.sum), (Measure.MIN, self.min), (Measure.MAX, self.max)):
            if one is not None:
                return self._bounds(asking, event, measure, one.of, *interval(one.gte, one.gt, one.lte, one.lt, one.eq))
        if self.between is None:  # whether it happened since some time is whether the last one did: one number instead of a series
            return age(asking, self, event, self.where, Measure.LAST)
        return self._bounds(asking, event, Measure.COUNT, None, 1, None)

    def _bounds(self, asking: Asking, event: str, measure: Measure, of: str | None, low: int | None, high: int | None) -> Holds:
        unit, outer, inner = window(self)
        kept = series(event, self.where, measure, of, unit, asking.calendar)
        if not outer:
            return asking.bounds(gauges.Ever(kept), low, high)
        if inner or kept.combine is not Combine.ADD:
            return asking.bounds(gauges.Between(kept, outer, inner, asking.calendar), low, high)
        return asking.bounds(gauges.Total(kept, outer, asking.calendar), low, high)

    def gathered(self, gathering: Gathering, event: str) -> str:
        """As `did` is said in SQL."""
        of = Happened(event, self.where, self)
        if self.sum is not None:
            return gathering.sum(of, self.sum)
        for name, bounds in (("min", self.min), ("max", self.max)):
            if bounds is not None:
                return gathering.extreme(name, of, bounds)
        return gathering.count(of, *((1, None) if self.count is None else self.count.interval))

    def happened(self, past: Past, event: str) -> bool:
        """As `did` holds of the past."""
        found = [one for one in past.events(event, self.where) if past.in_window(self, one.at)]
        if self.count is not None:
            return past.within(self.count, len(found))
        for bounds, function in ((self.sum, sum), (self.min, min), (self.max, max)):
            if bounds is not None:
                numbers = past.numbers(found, bounds.of)
                return (bool(numbers) or function is sum) and past.within(bounds, function(numbers))
        return bool(found)


class Did(_Happened):
    """The person did `did` (at least once, or as the aggregate says). Over no events, count and sum are 0, min and max hold for nothing."""

    head: ClassVar[str] = "did"

    did: EventName

    @model_validator(mode="after")
    def _can_hold(self) -> Self:
        for aggregate in (self.min, self.max):
            if aggregate is not None and aggregate.is_out_of_range:
                raise wrong(f"can never hold: a value beyond ±{MAX_AMOUNT // SCALE} counts as absent")
        return self

    def ask(self, asking: Asking) -> Holds:
        return self.asked(asking, self.did)

    def sql(self, gathering: Gathering) -> str:
        return self.gathered(gathering, self.did)

    def holds_of(self, past: Past) -> bool:
        return self.happened(past, self.did)


class DidNot(_Happened):
    """The exact opposite of `did` with the same words."""

    head: ClassVar[str] = "did_not"

    did_not: EventName

    @model_validator(mode="after")
    def _can_hold(self) -> Self:
        if self.count is not None and self.count.interval == (0, None):
            raise wrong(f"can never hold: every count fulfils {' and '.join(self.count.said())}, and `did_not` is the opposite")
        return self

    def ask(self, asking: Asking) -> Holds:
        return opposite(self.asked(asking, self.did_not))

    def sql(self, gathering: Gathering) -> str:
        return f"(NOT {self.gathered(gathering, self.did_not)})"

    def holds_of(self, past: Past) -> bool:
        return not self.happened(past, self.did_not)
