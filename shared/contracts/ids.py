"""Typed ids: `u:<userId>`, `a:<anonymousId>`, `<kind>:<external id>`; how they rank; which are unusable.

A typed id is both the key of an event and, until a merge says otherwise, the profile id. To everybody outside the resolver a
profile id is opaque.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NewType

import phonenumbers

TypedId = NewType("TypedId", str)
ProfileId = NewType("ProfileId", str)

DEFAULT_EXTERNAL_KINDS: Final = ("wecom", "phone", "email")
"""Kinds of external id that identify a person, strongest first, when deploy/definitions/identity.yaml says nothing else."""

UNUSABLE_IDS: Final = frozenset(
    {
        "", "null", "undefined", "none", "nil", "nan", "0", "-1", "guest", "anonymous", "unknown", "test", "user", "id", "n/a", "na",
        "true", "false", "[object object]", "{}", "[]", "anonymousid", "userid", "distinct_id", "not_authenticated", "not_set",
        "00000000-0000-0000-0000-000000000000", "00000000000000000000000000000000",
    }
)  # fmt: skip
"""Ids (lower-cased, trimmed) that broken clients send for everybody: they count as absent, and are counted."""

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def is_usable(raw: str) -> bool:
    """Whether `raw` can name one person."""
    return raw.strip().lower() not in UNUSABLE_IDS


def user(user_id: str) -> TypedId:
    return TypedId("u:" + user_id)


def anonymous(anonymous_id: str) -> TypedId:
    return TypedId("a:" + anonymous_id)


def external(kind: str, value: str) -> TypedId:
    """The typed id of an already normalised external id."""
    return TypedId(f"{kind}:{value}")


def is_user(typed: str) -> bool:
    return typed.startswith("u:")


def is_anonymous(typed: str) -> bool:
    return typed.startswith("a:")


@lru_cache(maxsize=16_384)
def normalise(kind: str, raw: str, region: str | None = None) -> str | None:
    """The one spelling of an external id, or None if it cannot be one.

    E-mail is trimmed and lower-cased; phone becomes E.164 (`region`, ISO 3166-1 alpha-2, is assumed where no country code stands);
    any other kind is trimmed.
    """
    value = raw.strip()
    if not is_usable(value):
        return None
    if kind == "email":
        value = value.lower()
        return value if len(value) <= 254 and _EMAIL.fullmatch(value) else None
    if kind == "phone":
        try:
            number = phonenumbers.parse(value, region)
        except phonenumbers.NumberParseException:
            return None
        if not phonenumbers.is_possible_number(number):
            return None
        return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    return value


def rank(typed: str, external_kinds: Sequence[str] = DEFAULT_EXTERNAL_KINDS) -> tuple[int, str]:
    """Sort key of a merge: the smaller wins. Known user, then external kinds by priority, then anonymous; ties by smaller id."""
    kind, _, _ = typed.partition(":")
    if kind == "u":
        return (0, typed)
    if kind == "a":
        return (len(external_kinds) + 2, typed)
    try:
        return (1 + tuple(external_kinds).index(kind), typed)
    except ValueError:
        return (len(external_kinds) + 1, typed)
