"""From segment definitions to a plan."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import assert_never

from shared.definitions.conditions import Test, condition_test, interval, whole_interval
from shared.definitions.files import Defined
from shared.definitions.models import canonical
from shared.definitions.rules import All, AnyOf, Condition, Did, DidNot, First, Last, NoneOf, Rule, Trait, Windowed, bucket_ms
from shared.definitions.segment import Segment
from shared.definitions.yaml_text import DefinitionError
from shared.rules.buckets import Calendar, Unit, unit_for
from shared.rules.plan import (
    EventLeaf,
    EventPlan,
    Feed,
    Holds,
    Plan,
    SegmentPlan,
    SeriesPlan,
    TraitLeaf,
    TraitPlan,
    plan_hash,
)
from shared.rules.series import COMBINE, Combine, Measure, SeriesKey
from shared.rules.values import Where, properties_reader, traits_reader, where_test
from shared.rules.windows import Look, bounded, of_age, over_all, over_window, total_since


class SameId(ValueError):
    """Two features have one id by chance; `segment` is the place, in order of names, of a segment that has one of them."""

    def __init__(self, message: str, segment: int) -> None:
        super().__init__(message)
        self.segment = segment


def compiled(segments: Sequence[Defined[Segment]], zone: str) -> Plan:
    """As `compile_plan`, of segments as they stand in files, sorted by name. Raises DefinitionError if they cannot be compiled."""
    try:
        return compile_plan([one.definition for one in segments], zone)
    except SameId as error:
        raise DefinitionError([segments[error.segment].document.problem(("when",), str(error))]) from None


def compile_plan(segments: Iterable[Segment], zone: str, since: Mapping[str, int] | None = None) -> Plan:
    """The plan of `segments` (of different names) with days in time zone `zone`.

    `since`: when the version of each segment was applied, epoch ms; of a removed one, which is not among `segments`, when it was removed.
    None: no log has applied them. Raises ValueError or KeyError if there is no such zone, KeyError if `since` lacks a segment, SameId if
    chance has given two features one id.
    """
    compiler = _Compiler(Calendar(zone))
    ordered = sorted(segments, key=lambda segment: segment.name)
    rules = []
    for place, segment in enumerate(ordered):
        compiler.place = place
        rules.append(compiler.rule(segment.when))
    of_nothing = tuple(compiler.of_nothing)
    number = plan_hash([(segment.name, segment.version) for segment in ordered], zone) if since is None else max(since.values(), default=0)
    return Plan(
        number=number,
        applied=since is not None,
        calendar=compiler.calendar,
        segments=tuple(
            SegmentPlan(segment.name, segment.version, holds, holds(of_nothing), number if since is None else since[segment.name])
            for segment, holds in zip(ordered, rules, strict=True)
        ),
        events=compiler.events(),
        traits=compiler.traits(),
        read_traits=traits_reader(sorted(compiler.traits())),
        series=compiler.series(),
        of_nothing=of_nothing,
        leaves=tuple(compiler.leaves),
    )


class _Compiler:
    """Collects leaves and what they need; `place` is the segment whose rule is being compiled."""

    def __init__(self, calendar: Calendar) -> None:
        self.calendar = calendar
        self.place = 0
        self.leaves: dict[EventLeaf | TraitLeaf, int] = {}
        self.of_nothing: list[bool] = []
        self._looks: dict[EventLeaf, Look] = {}
        self._tests: dict[TraitLeaf, Test] = {}
        self._wheres: dict[str, Mapping[str, Condition]] = {}
        self._event_segments: dict[str, set[int]] = {}
        self._trait_segments: dict[str, set[int]] = {}

    def rule(self, rule: Rule) -> Holds:
        match rule:
            case Did():
                return _answer(self._happened(rule, rule.did))
            case DidNot():
                return _no_answer(self._happened(rule, rule.did_not))
            case First():
                return _answer(self._age(rule, rule.first, rule.where, Measure.FIRST))
            case Last():
                return _answer(self._age(rule, rule.last, rule.where, Measure.LAST))
            case Trait():
                return _answer(self._trait(rule))
            case All():
                return _every([self.rule(part) for part in rule.all])
            case AnyOf():
                return _some([self.rule(part) for part in rule.any])
            case NoneOf():
                return _not(_some([self.rule(part) for part in rule.none]))
            case _:
                assert_never(rule)

    def _happened(self, rule: Did | DidNot, event: str) -> int:
        if rule.count is not None:
            low, high = whole_interval(rule.count.gte, rule.count.gt, rule.count.lte, rule.count.lt, rule.count.eq)
            return self._aggregate(rule, event, Measure.COUNT, None, low, high)
        for measure, aggregate in ((Measure.SUM, rule.sum), (Measure.MIN, rule.min), (Measure.MAX, rule.max)):
            if aggregate is not None:
                low, high = interval(aggregate.gte, aggregate.gt, aggregate.lte, aggregate.lt, aggregate.eq)
                return self._aggregate(rule, event, measure, aggregate.of, low, high)
        if rule.between is None:  # whether it happened since some time is whether the last one did: one number instead of a series
            return self._age(rule, event, rule.where, Measure.LAST)
        return self._aggregate(rule, event, Measure.COUNT, None, 1, None)

    def _aggregate(self, rule: Did | DidNot, event: str, measure: Measure, of: str | None, low: int | None, high: int | None) -> int:
        unit, outer, inner = self._window(rule)
        key = self._series(event, rule.where, measure, of, unit)
        combine = COMBINE[measure]
        holds = bounded(low, high, 0 if combine is Combine.ADD else None)
        if not outer:
            look = over_all(holds)
        elif combine is Combine.ADD and not inner:
            look = total_since(outer, low, high)
        else:
            look = over_window(outer, inner, combine, holds)
        return self._event_leaf(EventLeaf(key, unit, outer, inner, low, high), look, of_nothing=look([], 0)[0])

    def _age(self, rule: Windowed, event: str, where: Mapping[str, Condition], measure: Measure) -> int:
        unit, outer, inner = self._window(rule)
        key = self._series(event, where, measure, None, Unit.EVER)
        look = of_age(outer, inner, unit, self.calendar) if outer else over_all(bounded(None, None, None))
        return self._event_leaf(EventLeaf(key, unit, outer, inner, None, None), look, of_nothing=False)

    def _window(self, rule: Windowed) -> tuple[Unit, int, int]:
        """(unit, outer, inner) in buckets of that unit; outer 0: over all time."""
        edges = rule.between or ((rule.within,) if rule.within is not None else None)
        if edges is None:
            return Unit.EVER, 0, 0
        length = bucket_ms(edges[0])
        inner = edges[1].ms // length if len(edges) == 2 else 0
        return unit_for(edges[0]), edges[0].ms // length, inner

    def _series(self, event: str, where: Mapping[str, Condition], measure: Measure, of: str | None, unit: Unit) -> SeriesKey:
        text = json.dumps({name: canonical(condition) for name, condition in where.items()}, sort_keys=True, ensure_ascii=False)
        self._wheres[text] = where
        return SeriesKey(event, text, measure, of, unit, self.calendar.zone if unit is Unit.DAY else None)

    def _event_leaf(self, leaf: EventLeaf, look: Look, of_nothing: bool) -> int:
        self._looks[leaf] = look
        self._event_segments.setdefault(leaf.series.event, set()).add(self.place)
        return self._leaf(leaf, of_nothing)

    def _trait(self, rule: Trait) -> int:
        test = condition_test(rule)
        leaf = TraitLeaf(rule.trait, canonical(rule))
        self._tests[leaf] = test
        self._trait_segments.setdefault(rule.trait, set()).add(self.place)
        return self._leaf(leaf, test(None))

    def _leaf(self, leaf: EventLeaf | TraitLeaf, of_nothing: bool) -> int:
        place = self.leaves.setdefault(leaf, len(self.leaves))
        if place == len(self.of_nothing):
            self.of_nothing.append(of_nothing)
        return place

    def series(self) -> dict[str, SeriesPlan]:
        asked: dict[SeriesKey, list[tuple[int, EventLeaf]]] = {}
        for leaf, place in self.leaves.items():
            if isinstance(leaf, EventLeaf):
                asked.setdefault(leaf.series, []).append((place, leaf))
        found: dict[str, SeriesPlan] = {}
        for key, leaves in asked.items():
            keep = 0 if key.unit is Unit.EVER else max(leaf.outer for _, leaf in leaves)
            looks = tuple((place, leaf.unit, self._looks[leaf]) for place, leaf in leaves)
            other = found.setdefault(key.id, SeriesPlan(key, COMBINE[key.measure], keep, looks))
            if other.key != key:
                message = f"two features have one id by chance: change {key.event!r} or {other.key.event!r} a little, such as its window"
                raise SameId(message, max(self._event_segments[key.event]))
        return found

    def events(self) -> dict[str, EventPlan]:
        by_event: dict[str, list[SeriesKey]] = {}
        for key in dict.fromkeys(leaf.series for leaf in self.leaves if isinstance(leaf, EventLeaf)):
            by_event.setdefault(key.event, []).append(key)
        return {event: self._event(event, keys) for event, keys in by_event.items()}

    def _event(self, event: str, keys: Sequence[SeriesKey]) -> EventPlan:
        properties = sorted({name for key in keys for name in self._wheres[key.where]} | {key.of for key in keys if key.of is not None})
        places = {name: place for place, name in enumerate(properties)}
        wheres: dict[str, Where | None] = {key.where: where_test(self._wheres[key.where], places) for key in keys}
        feeds = tuple(
            Feed(key.id, key.measure, COMBINE[key.measure], key.unit, wheres[key.where], places[key.of] if key.of is not None else 0)
            for key in keys
        )
        return EventPlan(properties_reader(properties) if properties else None, feeds, tuple(sorted(self._event_segments[event])))

    def traits(self) -> dict[str, TraitPlan]:
        found: dict[str, list[tuple[int, Test]]] = {}
        for leaf, place in self.leaves.items():
            if isinstance(leaf, TraitLeaf):
                found.setdefault(leaf.trait, []).append((place, self._tests[leaf]))
        return {name: TraitPlan(tuple(leaves), tuple(sorted(self._trait_segments[name]))) for name, leaves in found.items()}


def _answer(leaf: int) -> Holds:
    return lambda answers: answers[leaf]


def _no_answer(leaf: int) -> Holds:
    return lambda answers: not answers[leaf]


def _not(part: Holds) -> Holds:
    return lambda answers: not part(answers)


def _every(parts: Sequence[Holds]) -> Holds:
    def holds(answers: Sequence[bool]) -> bool:
        for part in parts:  # noqa: SIM110 a generator costs three times as much, on every event
            if not part(answers):
                return False
        return True

    return holds


def _some(parts: Sequence[Holds]) -> Holds:
    def holds(answers: Sequence[bool]) -> bool:
        for part in parts:  # noqa: SIM110 as above
            if part(answers):
                return True
        return False

    return holds
