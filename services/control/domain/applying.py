"""From files to a set that may be applied: read, compiled, compared with the newest set. What is wrong is said with file and line."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from shared.contracts.definitions import DefinitionSet
from shared.contracts.ids import DEFAULT_EXTERNAL_KINDS
from shared.definitions.folder import Definitions, read_texts
from shared.definitions.identity import Identity
from shared.definitions.segment import Segment
from shared.definitions.sets import Asked, Changed, Name, Order, changes, differs, next_set, used_by
from shared.definitions.template import Heads
from shared.definitions.texts import TOGETHER
from shared.definitions.yaml_text import DefinitionError, Problem
from shared.rules.compiler import compiled
from shared.rules.leaves import LEAVES
from shared.rules.plan import Plan

MOST_PROBLEMS: Final = 200
"""Of what is wrong so many are told; the last says how many more there are."""
WITHOUT: Final = "identity.yaml"
ACCEPTED: Final = "from_now"
"""What a problem with the acceptance itself is said of, where others name a file."""


@dataclass(frozen=True)
class Proposal:
    """A set that follows `head`. `texts`: path -> text. `differs`: whether applying it would change anything."""

    head: DefinitionSet | None
    wanted: DefinitionSet
    texts: Mapping[str, str]
    read: Definitions
    differs: bool

    @cached_property
    def changes(self) -> tuple[Changed, ...]:
        return changes(self.head, self.wanted)

    @cached_property
    def users(self) -> Mapping[Name, tuple[Name, ...]]:
        """(Kind, name) of a definition -> those that name it."""
        return used_by(self.read)


def proposal(
    head: DefinitionSet | None, texts: Mapping[str, str], order: Order, now_ms: int, heads: Heads, kinds: Sequence[str] = ()
) -> Proposal:
    """`heads`: the channels that there are. `kinds`: of external ids that identify under `head`.

    Raises DefinitionError with everything that is wrong, at most MOST_PROBLEMS.
    """
    read = read_texts(texts, order.default_locale, heads=heads)
    problems = [*read.problems, *_not_there(read, order), *_other_people(read, kinds)]
    if not texts and head is not None:
        problems.append(Problem(TOGETHER, 1, "", "holds no definition: all that is there would go; name the right folder"))
    if problems:
        raise DefinitionError(_few(problems))
    plan = compiled(read.of(Segment), order.zone)
    wanted = next_set(head, read, texts, asked(plan), order, now_ms)
    return Proposal(head, wanted, texts, read, differs(head, wanted))


def asked(plan: Plan) -> Asked:
    """What each segment's rule asks: ids of features with how far back it asks them (sets.Asked).

    What is kept of everybody, whoever asks it, has always had its history.
    """
    always = {feature.id for leaf in LEAVES for feature in leaf.always}
    found: dict[str, set[str]] = {segment.name: set() for segment in plan.segments}
    for leaf in plan.leaves:
        gauge = plan.gauges[leaf.gauge].gauge
        ids = {f"{feature.id}:{gauge.reach}" for feature in gauge.features if feature.id not in always}
        for place in leaf.segments:
            found[plan.segments[place].name] |= ids
    return {name: frozenset(ids) for name, ids in found.items()}


def kinds_of(texts: Mapping[str, str]) -> tuple[str, ...]:
    """The kinds of external id that identify by the files of a set, strongest first."""
    return read_texts(texts).external_kinds()


def _other_people(read: Definitions, kinds: Sequence[str]) -> Iterator[Problem]:
    """Kinds may only be added, weaker than those that are there: else two people could each be merged into the other."""
    found = read.of(Identity)
    now = found[0].definition.kinds if found else DEFAULT_EXTERNAL_KINDS
    if list(now[: len(kinds)]) != list(kinds):
        order = f"people have been told apart by {', '.join(kinds)}, strongest first: keep these in this order, and add others behind them"
        yield found[0].document.problem(("kinds",), order) if found else Problem(WITHOUT, 1, "", f"the identity file is gone, and {order}")


def _not_there(read: Definitions, order: Order) -> Iterator[Problem]:
    names = {one.definition.name for one in read.of(Segment)}
    for name in sorted(order.from_now - names):
        yield Problem(ACCEPTED, 1, "", f"there is no segment {name!r} to start from now")


def _few(problems: list[Problem]) -> list[Problem]:
    if len(problems) <= MOST_PROBLEMS:
        return problems
    more = Problem(problems[-1].file, 1, "", f"and {len(problems) - MOST_PROBLEMS + 1} problems more")
    return [*problems[: MOST_PROBLEMS - 1], more]
