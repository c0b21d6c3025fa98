"""What a leaf of a rule is: one file a kind in leaves/, with its model, fold, SQL and oracle; leaves/__init__.py registers it."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

from shared.definitions.models import Part
from shared.rules.buckets import Calendar
from shared.rules.feature import Feature
from shared.rules.gauges import Gauge
from shared.rules.oracle import Past
from shared.rules.sql.gathering import Gathering

Reference = tuple[str, str, str]
"""(field of the leaf, kind of definition, name) that the leaf speaks of."""


class Answers(Protocol):
    """What a rule is answered from, at one instant."""

    def leaf(self, leaf: int) -> bool:
        """The answer of one leaf."""

    def segment(self, place: int) -> bool:
        """The answer of a segment's rule."""


Holds = Callable[[Answers], bool]
"""A rule, or a part of one, over answers."""


class Asking(Protocol):
    """What a leaf is compiled with."""

    @property
    def calendar(self) -> Calendar: ...

    def bounds(self, gauge: Gauge, low: int | None, high: int | None) -> Holds:
        """Whether the gauge's whole number lies in [low, high]; None: open."""

    def test(self, gauge: Gauge, text: str, test: Callable[[Any], bool]) -> Holds:
        """Whether `test` holds of what the gauge says. Of one gauge equal texts are equal tests."""

    def segment(self, name: str) -> Holds:
        """Whether the rule of another segment holds."""


class Leaf(Part):
    """A question about one person. The head is the field that names the leaf."""

    head: ClassVar[str]
    always: ClassVar[tuple[Feature, ...]] = ()
    """Features that are kept of everybody, whether a rule asks them or not."""

    @abstractmethod
    def ask(self, asking: Asking) -> Holds:
        """The fold: which gauges answer the leaf, and how."""

    @abstractmethod
    def sql(self, gathering: Gathering) -> str:
        """The SQL: the answer as an expression over what is gathered of a person's rows, never NULL (shared/rules/sql)."""

    @abstractmethod
    def holds_of(self, past: Past) -> bool:
        """The oracle: the answer from the raw events, the slow way."""

    def references(self) -> Sequence[Reference]:
        """Other definitions that the leaf speaks of."""
        return ()


def opposite(holds: Holds) -> Holds:
    return lambda answers: not holds(answers)
