"""Client JSON as values that rules compare."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Final, TypeGuard

import msgspec

from shared.contracts.membership_blob import Value
from shared.definitions.conditions import condition_test
from shared.definitions.numbers import scaled_text
from shared.definitions.rules import Condition

ABSENT: Final = msgspec.Raw(b"null")

Where = Callable[[tuple[Value, ...]], bool]

MAX_KEPT: Final = 256
"""Characters of a text that are kept: more than any rule compares with (rules.MAX_TEXT), so that a cut one equals none."""
FILL: Final = "\0"
"""Makes the text of what is no text as long."""


def value_of(raw: bytes) -> Value:
    """One JSON value. A number too large to be exact, an object and an array become a text that is longer than any a rule compares with:
    they exist, and equal nothing."""
    first = raw[:1]
    if first == b'"':
        text: str = msgspec.json.decode(raw, type=str)
        return text[:MAX_KEPT]
    if first == b"n":
        return None
    if first in (b"t", b"f"):
        return first == b"t"
    text = raw[:MAX_KEPT].decode(errors="replace")
    number = None if first in (b"{", b"[") else scaled_text(text)
    return text.ljust(MAX_KEPT, FILL) if number is None else number


def is_text(value: Value) -> TypeGuard[str]:
    """Whether the client sent a text, and not what merely became one."""
    return isinstance(value, str) and not (len(value) == MAX_KEPT and value.endswith(FILL))


def where_test(where: Mapping[str, Condition], places: Mapping[str, int]) -> Where | None:
    """All conditions of a `where` as one function over an event's values; `places` says where each property stands. None: always."""
    parts = [(places[name], condition_test(condition)) for name, condition in where.items()]
    if not parts:
        return None
    if len(parts) == 1:
        place, test = parts[0]
        return lambda values: test(values[place])
    return lambda values: all(test(values[place]) for place, test in parts)


def properties_reader(names: Sequence[str]) -> Callable[[msgspec.Raw], tuple[Value, ...]]:
    """A function that reads the named properties, and only those, from an event's JSON; absent ones are None.

    What is no JSON object has no properties.
    """
    fields = [(f"p{place}", msgspec.Raw, msgspec.field(default=ABSENT, name=name)) for place, name in enumerate(names)]
    decode = msgspec.json.Decoder(msgspec.defstruct("Properties", fields, gc=False)).decode
    get = attrgetter(*(name for name, _, _ in fields))
    single = len(names) == 1

    def read(raw: msgspec.Raw) -> tuple[Value, ...]:
        try:
            found = decode(raw)
        except msgspec.ValidationError:
            return (None,) * len(names)
        if single:
            return (value_of(bytes(get(found))),)
        return tuple([value_of(bytes(one)) for one in get(found)])

    return read


def traits_reader(names: Sequence[str]) -> Callable[[msgspec.Raw], list[tuple[str, bytes]]]:
    """A function that finds the named traits, and only those, in an identify's JSON: (name, JSON) of each that is there, null too."""
    fields = [
        (f"t{place}", msgspec.Raw | msgspec.UnsetType, msgspec.field(default=msgspec.UNSET, name=name)) for place, name in enumerate(names)
    ]
    decode = msgspec.json.Decoder(msgspec.defstruct("Traits", fields, gc=False)).decode
    places = [(name, field) for name, (field, _, _) in zip(names, fields, strict=True)]

    def read(raw: msgspec.Raw) -> list[tuple[str, bytes]]:
        try:
            found = decode(raw)
        except msgspec.ValidationError:
            return []
        return [(name, bytes(value)) for name, field in places if (value := getattr(found, field)) is not msgspec.UNSET]

    return read
