"""Every kind of definition that a YAML file can be, by the key that names it. A new kind is one line here."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from shared.definitions.catalogue import Catalogue
from shared.definitions.consent import ConsentPolicy
from shared.definitions.identity import Identity
from shared.definitions.journey import Journey
from shared.definitions.models import Definition
from shared.definitions.segment import Segment

KINDS: Final[Mapping[str, type[Definition]]] = MappingProxyType(
    {model.kind: model for model in (Segment, Journey, ConsentPolicy, Identity, Catalogue)}
)
