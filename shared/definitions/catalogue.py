"""The catalogue file: which traits, properties and context fields are public, so that every query key may read them. One a workspace."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from shared.definitions.models import Definition, wrong
from shared.definitions.segment import Name

WILDCARD: Final = "*"
Mark = Literal["public", "masked"]
"""`public`: shown to every key. `masked`: shown to keys with the scope `personal` alone, as is everything that the file does not name."""

Marks = Annotated[dict[str, Mark], Field(default_factory=dict, max_length=2000)]


class Catalogue(Definition):
    """Paths are dotted: `products.sku` is the field `sku` of each element of `products`; `campaign.*` is all below `campaign`.

    Of two paths that cover a field the one that names more of it holds, so `campaign.*: public` and `campaign.term: masked` go together.
    """

    kind: ClassVar[str] = "catalogue"
    only_one: ClassVar[bool] = True

    catalogue: Name
    traits: Marks
    properties: Marks
    context: Marks

    @model_validator(mode="after")
    def _usable_paths(self) -> Self:
        for path in (*self.traits, *self.properties, *self.context):
            parts = path.split(".")
            if "" in parts or WILDCARD in parts[:-1]:
                raise wrong(f"expected names joined by dots, {WILDCARD!r} only as the last of them, found {path!r}")
        return self

    def is_public(self, section: str, path: tuple[str, ...]) -> bool:
        """Whether the field at `path` of `traits`, `properties` or `context` is public; `section` is one of these three."""
        marks: Mapping[str, Mark] = getattr(self, section)
        covering = (".".join((*path[:depth], WILDCARD)) for depth in range(len(path) - 1, -1, -1))
        found = next((marks[one] for one in (".".join(path), *covering) if one in marks), None)
        return found == "public"


NOTHING_PUBLIC: Final = Catalogue(catalogue="none", traits={}, properties={}, context={})
"""What holds where no file says otherwise."""
