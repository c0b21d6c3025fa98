"""`in_segment`: the rule of another segment holds, now. It is that rule's answer, not what was said of the person's membership."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from shared.rules.leaf import Asking, Holds, Leaf, Reference
from shared.rules.oracle import Past
from shared.rules.sql.gathering import Gathering


class InSegment(Leaf):
    """The rule of segment `in_segment` holds of the person now."""

    head: ClassVar[str] = "in_segment"

    in_segment: Annotated[str, Field(min_length=1, max_length=63, strict=True)]

    def references(self) -> Sequence[Reference]:
        return [("in_segment", "segment", self.in_segment)]

    def ask(self, asking: Asking) -> Holds:
        return asking.segment(self.in_segment)

    def sql(self, gathering: Gathering) -> str:
        return gathering.segments[self.in_segment]

    def holds_of(self, past: Past) -> bool:
        return past.in_segment[self.in_segment]
