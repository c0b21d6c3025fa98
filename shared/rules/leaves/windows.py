"""What leaves with a window share."""

from collections.abc import Mapping

from shared.definitions.rules import Condition, Windowed, bucket_ms
from shared.rules import gauges
from shared.rules.buckets import Unit, unit_for
from shared.rules.leaf import Asking, Holds
from shared.rules.series import Measure, series


def window(rule: Windowed) -> tuple[Unit, int, int]:
    """(unit, outer, inner) in buckets of that unit: ages of [inner, outer). Outer 0: over all time."""
    edges = rule.between or ((rule.within,) if rule.within is not None else None)
    if edges is None:
        return Unit.EVER, 0, 0
    length = bucket_ms(edges[0])
    inner = edges[1].ms // length if len(edges) == 2 else 0
    return unit_for(edges[0]), edges[0].ms // length, inner


def age(asking: Asking, rule: Windowed, event: str, where: Mapping[str, Condition], measure: Measure) -> Holds:
    """Whether the first or the last event lies in the window."""
    unit, outer, inner = window(rule)
    kept = series(event, where, measure, None, Unit.EVER, asking.calendar)
    return asking.bounds(gauges.Age(kept, unit, asking.calendar), inner or None, outer - 1 if outer else None)
