"""The rule tree: who is in a segment, or what a journey waits for. Trees of leaves, which `leaves` registers."""

from collections.abc import Iterator
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BeforeValidator, Discriminator, Tag

from shared.definitions.models import Part, Reference, wrong
from shared.definitions.rules import NOT_EMPTY
from shared.definitions.yaml_text import Path
from shared.rules.leaf import Leaf
from shared.rules.leaves import LEAVES
from shared.rules.oracle import Past

MAX_LEAVES: Final = 500
"""Leaves of one rule."""


def _not_empty(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not value:
        raise wrong("expected a list of at least one rule")
    return value


class All(Part):
    """Every part holds."""

    all: Annotated[tuple["Rule", ...], BeforeValidator(_not_empty), NOT_EMPTY]


class AnyOf(Part):
    """At least one part holds."""

    any: Annotated[tuple["Rule", ...], BeforeValidator(_not_empty), NOT_EMPTY]


class NoneOf(Part):
    """No part holds."""

    none: Annotated[tuple["Rule", ...], BeforeValidator(_not_empty), NOT_EMPTY]


TREES: Final = ("all", "any", "none")
HEADS: Final = (*(leaf.head for leaf in LEAVES), *TREES)


def _tag(value: Any) -> str | None:
    """The leaf or tree that a mapping is, by the one head that it has."""
    if isinstance(value, Part):
        heads = [head for head in HEADS if head in type(value).model_fields]
    elif isinstance(value, dict):
        heads = [head for head in HEADS if head in value]
    else:
        return None
    return f"<{heads[0]}>" if len(heads) == 1 else None


if TYPE_CHECKING:
    Rule = Leaf | All | AnyOf | NoneOf
else:
    _PARTS = {**{leaf.head: leaf for leaf in LEAVES}, **dict(zip(TREES, (All, AnyOf, NoneOf), strict=True))}
    Rule = Annotated[
        reduce(or_, (Annotated[part, Tag(f"<{head}>")] for head, part in _PARTS.items())),
        Discriminator(
            _tag,
            custom_error_type="wrong",
            custom_error_message=f"expected a rule with exactly one of {', '.join(HEADS)}",
        ),
    ]


def holds(rule: Rule, past: Past) -> bool:
    """The oracle of a whole rule."""
    match rule:
        case All():
            return all(holds(part, past) for part in rule.all)
        case AnyOf():
            return any(holds(part, past) for part in rule.any)
        case NoneOf():
            return not any(holds(part, past) for part in rule.none)
        case Leaf():
            return rule.holds_of(past)


def leaves_of(rule: Rule, path: Path = ()) -> Iterator[tuple[Path, Leaf]]:
    """Every leaf of a rule, and where it stands below `path`."""
    match rule:
        case All():
            head, parts = "all", rule.all
        case AnyOf():
            head, parts = "any", rule.any
        case NoneOf():
            head, parts = "none", rule.none
        case Leaf():
            yield path, rule
            return
    for number, part in enumerate(parts):
        yield from leaves_of(part, (*path, head, number))


def references(rule: Rule, path: Path) -> list[Reference]:
    """Every other definition that a rule speaks of; the rule stands at `path`."""
    return [Reference((*where, field), kind, name) for where, leaf in leaves_of(rule, path) for field, kind, name in leaf.references()]


def leaves(value: Any) -> int:
    """How many leaves a rule has that has been parsed but not checked; the count ends just beyond MAX_LEAVES."""
    found, waiting = 0, [value]
    while waiting and found <= MAX_LEAVES:
        one = waiting.pop()
        if isinstance(one, list | tuple):
            waiting += one
        elif isinstance(one, dict) and (trees := [one[head] for head in TREES if head in one]):
            waiting += trees
        else:
            found += 1
    return found


def few_leaves(value: Any) -> Any:
    """`value` if it may be a rule. Raises PydanticCustomError if it has too many leaves: then nothing else of it is looked at."""
    if leaves(value) > MAX_LEAVES:
        raise wrong(f"expected at most {MAX_LEAVES} leaves in one rule: use `in` for several values, or several segments")
    return value


for _tree in (All, AnyOf, NoneOf):
    _tree.model_rebuild()
