"""The amount of an event, exact, as the profile reads it: `properties.revenue`, else `properties.total`."""

from enum import StrEnum
from typing import Final

import msgspec

from shared.definitions.numbers import amount_text

_ABSENT: Final = msgspec.Raw(b"null")


class _Properties(msgspec.Struct, frozen=True, gc=False):
    revenue: msgspec.Raw = _ABSENT
    total: msgspec.Raw = _ABSENT


class _Event(msgspec.Struct, frozen=True, gc=False):
    properties: msgspec.Raw = _ABSENT


_event: Final = msgspec.json.Decoder(_Event).decode
_properties: Final = msgspec.json.Decoder(_Properties).decode
_text: Final = msgspec.json.Decoder(str).decode


class Fault(StrEnum):
    """Why an amount that was given is NULL in the table."""

    AMOUNT = "amount"
    UNREADABLE = "unreadable"


def amount(raw: bytes) -> tuple[int | None, Fault | None]:
    """The amount in ten-thousandths, None without one, and what was wrong with what was given. `raw`: a ReceivedEvent."""
    if b'"revenue"' not in raw and b'"total"' not in raw and b"\\u" not in raw:
        return None, None
    try:
        properties = bytes(_event(raw).properties)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None, Fault.UNREADABLE
    try:
        said = _properties(properties)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None, None  # properties that are no object hold no amount
    fault = None
    for given in (bytes(said.revenue), bytes(said.total)):
        if given == b"null":
            continue
        number = amount_text(_text(given).strip() if given[:1] == b'"' else given.decode())
        if number is not None:
            return number, None
        fault = Fault.AMOUNT
    return None, fault
