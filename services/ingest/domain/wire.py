"""What clients send, as typed structs. Inner objects stay the client's bytes (`Raw`): nothing is decoded that is not needed."""

from typing import Any, Final, TypeAlias

import msgspec

Raw: TypeAlias = msgspec.Raw
Scalar: TypeAlias = str | int | float | bool | None
ABSENT: Final = msgspec.Raw(b"")
"""The default of every Raw field: told from what was sent by identity."""


class Call(msgspec.Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    """One call. The last five are not of the spec, but real SDKs send them with every call: named here, they cost no second look."""

    type: Scalar = None
    message_id: Scalar = None
    user_id: Scalar = None
    anonymous_id: Scalar = None
    previous_id: Scalar = None
    group_id: Scalar = None
    event: Scalar = None
    name: Scalar = None
    timestamp: Scalar = None
    original_timestamp: Scalar = None
    sent_at: Scalar = None
    properties: Raw = ABSENT
    traits: Raw = ABSENT
    context: Raw = ABSENT
    integrations: Raw = ABSENT
    channel: Raw = ABSENT
    category: Raw = ABSENT
    rudder_id: Raw = ABSENT
    write_key: Raw = ABSENT
    metadata: Raw = msgspec.field(default=ABSENT, name="_metadata")


class LooseCall(Call, rename="camel", forbid_unknown_fields=False, gc=False):
    """The same for a call with fields that nobody has named; those are read in a second pass."""

    metadata: Raw = msgspec.field(default=ABSENT, name="_metadata")


class Batch(msgspec.Struct, rename="camel", gc=False):
    """The outside of a batch. Everything but `batch` is Raw: a fault in one of these fails no event."""

    batch: list[Raw]
    sent_at: Raw = ABSENT
    context: Raw = ABSENT
    integrations: Raw = ABSENT
    write_key: Raw = ABSENT


class KeyOnly(msgspec.Struct, rename="camel", gc=False):
    """A body's write key."""

    write_key: Any = None


class ContextView(msgspec.Struct, rename="camel", gc=False):
    """What ingest looks at inside `context`. Rudder says externalId, Segment externalIds."""

    library: Any = None
    traits: Raw = ABSENT
    external_ids: Any = None
    external_id: Any = None


KNOWN_FIELDS: Final = frozenset(field.encode_name for field in msgspec.structs.fields(Call))
NOT_KEPT: Final = KNOWN_FIELDS | {"batch"}

decode_call: Final = msgspec.json.Decoder(Call).decode
decode_loose_call: Final = msgspec.json.Decoder(LooseCall).decode
decode_batch: Final = msgspec.json.Decoder(Batch).decode
decode_key: Final = msgspec.json.Decoder(KeyOnly).decode
decode_context: Final = msgspec.json.Decoder(ContextView).decode
decode_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode
decode_scalar: Final = msgspec.json.Decoder(Scalar).decode
encode: Final = msgspec.json.Encoder().encode


def is_object(raw: Raw) -> bool:
    """Whether these bytes of well-formed JSON are an object."""
    return memoryview(raw)[0] == 0x7B


def is_null(raw: Raw) -> bool:
    """Whether the field was not sent, or sent as null."""
    return raw is ABSENT or memoryview(raw)[0] == 0x6E


def merged(base: Raw, over: Raw) -> Raw:
    """Both objects' fields, those of `over` where both have one; inner objects are not looked into."""
    return Raw(encode({**decode_fields(base), **decode_fields(over)}))
