"""Every kind of leaf. A new kind is one file here and one name below."""

from typing import Final

from shared.rules.leaf import Leaf
from shared.rules.leaves.age import First, Last
from shared.rules.leaves.did import Did, DidNot
from shared.rules.leaves.in_segment import InSegment
from shared.rules.leaves.tag import Tag
from shared.rules.leaves.trait import Trait

LEAVES: Final[tuple[type[Leaf], ...]] = (
    Did,
    DidNot,
    First,
    Last,
    Trait,
    InSegment,
    Tag,
)
