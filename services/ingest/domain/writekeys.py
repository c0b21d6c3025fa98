"""Where a request carries its write key: Basic, then the body's writeKey, then ?writeKey=, then Bearer."""

import binascii
from typing import Final
from urllib.parse import parse_qs

_BASIC: Final = b"basic "
_BEARER: Final = b"bearer "


def from_basic(authorization: bytes | None) -> str | None:
    """The user name of `Basic base64(writeKey:)`, with or without the colon; None if there is none."""
    if authorization is None or authorization[:6].lower() != _BASIC:
        return None
    token = authorization[6:].strip()
    try:
        decoded = binascii.a2b_base64(token + b"=" * (-len(token) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return decoded.partition(":")[0].strip() or None


def from_query(query_string: bytes) -> str | None:
    """`writeKey` of the query string."""
    if b"writeKey" not in query_string:
        return None
    try:
        values = parse_qs(query_string.decode("latin-1"), max_num_fields=1000).get("writeKey")
    except ValueError:
        return None
    return values[0].strip() or None if values else None


def from_bearer(authorization: bytes | None) -> str | None:
    """The token of `Bearer writeKey`."""
    if authorization is None or authorization[:7].lower() != _BEARER:
        return None
    return authorization[7:].decode("latin-1").strip() or None
