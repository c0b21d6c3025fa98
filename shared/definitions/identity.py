"""The identity file: which external ids identify a person, and how strongly. One a workspace."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from shared.definitions.models import Definition, wrong
from shared.definitions.segment import Name

TAKEN = ("u", "a", "clock")
"""Prefixes of record keys that mean something else."""


class Identity(Definition):
    """`kinds`: strongest first. The stronger id names the profile when two that stand for themselves are found to be one person."""

    kind: ClassVar[str] = "identity"
    only_one: ClassVar[bool] = True

    identity: Name
    kinds: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)]

    @model_validator(mode="after")
    def _usable_kinds(self) -> Self:
        if len(set(self.kinds)) < len(self.kinds):
            raise wrong("expected each kind once")
        taken = next((kind for kind in self.kinds if kind in TAKEN), None)
        if taken is not None:
            raise wrong(f"expected another name than {taken!r}, which is taken")
        return self
