"""What a query key may do."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shared.contracts.control import KeyChanged


class Scope(StrEnum):
    """`read`: everything but what the others guard. `personal`: personal fields in clear. `definitions`: they are planned and applied.

    `admin`: keys, failures, replays, and all that `definitions` may.
    """

    READ = "read"
    PERSONAL = "personal"
    DEFINITIONS = "definitions"
    ADMIN = "admin"


EVERY_SCOPE: Final = "*"
IMPLIED: Final = frozenset({Scope.DEFINITIONS})
"""What `admin` may too: whoever makes keys could make one with it."""


@dataclass(frozen=True)
class Access:
    """The key that a request came with. `id` names it in the API, `hash` in the log."""

    id: str
    hash: str
    name: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes


def key_id(key_hash: str) -> str:
    """A key's public name: enough of its hash to be unique, too little to be of use."""
    return key_hash[:16]


def granted(scopes: list[str]) -> frozenset[Scope]:
    """The scopes that a record grants. `*` grants all; a scope that this version does not know grants nothing."""
    if EVERY_SCOPE in scopes:
        return frozenset(Scope)
    known = frozenset(scope for scope in Scope if scope.value in scopes)
    return known | IMPLIED if Scope.ADMIN in known else known


def access(record: KeyChanged) -> Access:
    return Access(key_id(record.hash), record.hash, record.name, granted(record.scopes))
