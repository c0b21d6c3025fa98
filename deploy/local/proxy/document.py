"""The OpenAPI document of the one address: that of each service, joined."""

from collections.abc import Mapping, Sequence
from typing import Any


class ConflictError(Exception):
    """Two services say different things of the same name; the message says of which."""


def merged(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One document of all; what the first says of the whole API holds. Raises ConflictError: they are of different releases, or wrong."""
    first = dict(documents[0])
    paths: dict[str, Any] = {}
    components: dict[str, dict[str, Any]] = {}
    for document in documents:
        _join(paths, document["paths"])
        for kind, named in document.get("components", {}).items():
            _join(components.setdefault(kind, {}), named)
    return first | {"paths": paths, "components": components}


def _join(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if into.setdefault(name, value) != value:
            raise ConflictError(name)
