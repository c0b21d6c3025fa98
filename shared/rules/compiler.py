"""From segment definitions to a plan."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from shared.definitions.files import Defined
from shared.definitions.order import ordered
from shared.definitions.segment import Segment
from shared.definitions.yaml_text import DefinitionError
from shared.rules.buckets import Calendar
from shared.rules.cuts import NO_HIGH, NO_LOW, Answered, Bounds, Tests
from shared.rules.feature import Feature
from shared.rules.gauges import Gauge
from shared.rules.leaf import Answers, Holds, Leaf, opposite
from shared.rules.leaves import LEAVES
from shared.rules.plan import EventPlan, FeaturePlan, Feed, GaugePlan, LeafPlan, Plan, SegmentPlan, plan_hash
from shared.rules.rule import All, AnyOf, NoneOf, Rule
from shared.rules.values import properties_reader, traits_reader

_Question = tuple[int, int] | str
"""What a leaf asks of its gauge: an interval, or the text of a test."""


class SameId(ValueError):
    """Two features have one id by chance; `segment` is the name of a segment that asks one of them."""

    def __init__(self, message: str, segment: str) -> None:
        super().__init__(message)
        self.segment = segment


def compiled(segments: Sequence[Defined[Segment]], zone: str) -> Plan:
    """As `compile_plan`, of segments as they stand in files in which no mistake was found. Raises DefinitionError if chance forbids it."""
    try:
        return compile_plan([one.definition for one in segments], zone)
    except SameId as error:
        place = next(one for one in segments if one.definition.name == error.segment)
        raise DefinitionError([place.document.problem(("when",), str(error))]) from None


def compile_plan(segments: Iterable[Segment], zone: str, since: Mapping[str, int] | None = None, silent: Collection[str] = ()) -> Plan:
    """The plan of `segments` (of different names) with days in time zone `zone`.

    `since`: when the version of each segment was applied, epoch ms; of a removed one, which is not among `segments`, when it was removed.
    None: no log has applied them. `silent`: segments of which nothing is said yet; what they ask is counted.
    Raises ValueError or KeyError if there is no such zone, KeyError if `since` lacks a segment or a rule speaks of one that is not there,
    order.Circle if rules speak of one another in a circle, SameId if chance has given two features one id.
    """
    calendar = Calendar(zone)
    order = ordered(segments)
    compiler = _Compiler(calendar, [segment.name for segment in order])
    rules = [compiler.segment_rule(place, segment.when) for place, segment in enumerate(order)]
    rules = [_never if segment.name in silent else rule for segment, rule in zip(order, rules, strict=True)]
    number = plan_hash([(segment.name, segment.version) for segment in order], zone) if since is None else max(since.values(), default=1)
    features = compiler.features()
    return Plan(
        number=number,
        applied=since is not None,
        calendar=calendar,
        segments=tuple(
            SegmentPlan(one.name, one.version, rule, number if since is None else since[one.name], compiler.dependents(place))
            for place, (one, rule) in enumerate(zip(order, rules, strict=True))
        ),
        events=_events(features),
        read_traits=traits_reader(sorted(one.feature.trait for one in features.values() if one.feature.trait is not None)),
        features=features,
        gauges=compiler.gauges(),
        leaves=compiler.leaves(),
    )


class _Compiler:
    """Collects what leaves ask. It is what a leaf is compiled with (leaf.Asking)."""

    def __init__(self, calendar: Calendar, names: Sequence[str]) -> None:
        self.calendar = calendar
        self._names = names
        self._places = {name: place for place, name in enumerate(names)}
        self._place = 0
        self._gauges: dict[Gauge, int] = {}
        self._leaves: dict[tuple[int, _Question], int] = {}
        self._tests: dict[tuple[int, _Question], Callable[[Any], bool]] = {}
        self._segments: list[set[int]] = []
        self._dependents: dict[int, set[int]] = {}

    def segment_rule(self, place: int, rule: Rule) -> Holds:
        self._place = place
        return self._rule(rule)

    def _rule(self, rule: Rule) -> Holds:
        match rule:
            case All():
                return _every([self._rule(part) for part in rule.all])
            case AnyOf():
                return _some([self._rule(part) for part in rule.any])
            case NoneOf():
                return opposite(_some([self._rule(part) for part in rule.none]))
            case Leaf():
                return rule.ask(self)

    def bounds(self, gauge: Gauge, low: int | None, high: int | None) -> Holds:
        least, most = NO_LOW if low is None else low, NO_HIGH if high is None else high
        return self._leaf(gauge, (least, most), lambda value: least <= value <= most)

    def test(self, gauge: Gauge, text: str, test: Callable[[Any], bool]) -> Holds:
        return self._leaf(gauge, text, test)

    def segment(self, name: str) -> Holds:
        place = self._places[name]
        self._dependents.setdefault(place, set()).add(self._place)
        return partial(_segment_holds, place)

    def _leaf(self, gauge: Gauge, question: _Question, test: Callable[[Any], bool]) -> Holds:
        key = (self._gauges.setdefault(gauge, len(self._gauges)), question)
        leaf = self._leaves.setdefault(key, len(self._leaves))
        if leaf == len(self._segments):
            self._segments.append(set())
            self._tests[key] = test
        self._segments[leaf].add(self._place)
        return partial(_leaf_holds, leaf)

    def dependents(self, place: int) -> tuple[int, ...]:
        return tuple(sorted(self._dependents.get(place, ())))

    def leaves(self) -> tuple[LeafPlan, ...]:
        return tuple(
            LeafPlan(key[0], self._tests[key], tuple(sorted(segments))) for key, segments in zip(self._leaves, self._segments, strict=True)
        )

    def gauges(self) -> tuple[GaugePlan, ...]:
        asked: dict[int, list[tuple[int, _Question]]] = {}
        for (gauge, question), leaf in self._leaves.items():
            asked.setdefault(gauge, []).append((leaf, question))
        return tuple(GaugePlan(gauge, self._answered(place, asked[place])) for gauge, place in self._gauges.items())

    def _answered(self, gauge: int, asked: Sequence[tuple[int, _Question]]) -> Answered:
        bounds = [(leaf, *question) for leaf, question in asked if not isinstance(question, str)]
        return Bounds(bounds) if bounds else Tests([(leaf, self._tests[gauge, question]) for leaf, question in asked])

    def features(self) -> dict[str, FeaturePlan]:
        """Every feature that a gauge is read from, and those that are always kept."""
        asking: dict[Feature, list[int]] = {feature: [] for leaf in LEAVES for feature in leaf.always}
        for gauge, place in self._gauges.items():
            for feature in gauge.features:
                asking.setdefault(feature, []).append(place)
        gauges = list(self._gauges)
        segments: dict[int, set[int]] = {}
        for (gauge_place, _), leaf in self._leaves.items():
            segments.setdefault(gauge_place, set()).update(self._segments[leaf])
        found: dict[str, FeaturePlan] = {}
        for feature, places in asking.items():
            touched = {segment for place in places for segment in segments[place]}
            keep = max((gauges[place].reach for place in places), default=0)
            other = found.setdefault(feature.id, FeaturePlan(feature, keep, tuple(places), tuple(sorted(self._with_dependents(touched)))))
            if other.feature != feature:
                events = " or ".join(repr(name) for one in (feature, other.feature) for name in one.events)
                message = f"two features have one id by chance: change {events} a little, such as its window"
                raise SameId(message, self._names[max(touched)])
        return found

    def _with_dependents(self, places: Iterable[int]) -> set[int]:
        found, waiting = set(places), list(places)
        while waiting:
            more = self._dependents.get(waiting.pop(), set()) - found
            found |= more
            waiting += more
        return found


def _events(features: Mapping[str, FeaturePlan]) -> dict[str, EventPlan]:
    by_event: dict[str, list[FeaturePlan]] = {}
    for one in features.values():
        for event in one.feature.events:
            by_event.setdefault(event, []).append(one)
    return {event: _event(event, fed) for event, fed in by_event.items()}


def _event(event: str, fed: Sequence[FeaturePlan]) -> EventPlan:
    properties = sorted({name for one in fed for name in one.feature.properties})
    places = {name: place for place, name in enumerate(properties)}
    feeds = tuple(Feed(one, one.feature.where(places), one.feature.take(event, places)) for one in fed)
    segments = tuple(sorted({segment for one in fed for segment in one.segments}))
    return EventPlan(properties_reader(properties) if properties else None, feeds, segments)


def _never(answers: Answers) -> bool:
    return False


def _leaf_holds(leaf: int, answers: Answers) -> bool:
    return answers.leaf(leaf)


def _segment_holds(place: int, answers: Answers) -> bool:
    return answers.segment(place)


def _every(parts: Sequence[Holds]) -> Holds:
    def holds(answers: Answers) -> bool:
        for part in parts:  # noqa: SIM110 a generator costs three times as much, on every event
            if not part(answers):
                return False
        return True

    return holds


def _some(parts: Sequence[Holds]) -> Holds:
    def holds(answers: Answers) -> bool:
        for part in parts:  # noqa: SIM110 as above
            if part(answers):
                return True
        return False

    return holds
