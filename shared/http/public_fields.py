"""What keys without the scope `personal` may see of a person: the catalogue of the newest set of definitions."""

from shared.definitions.applied import Applied
from shared.definitions.catalogue import NOTHING_PUBLIC, Catalogue


def public_fields(newest: Applied | None) -> Catalogue:
    """What the catalogue file says; nothing is public without one. Raises DefinitionError."""
    return (newest and newest.read.needed(Catalogue).single(Catalogue)) or NOTHING_PUBLIC
