"""Cursors as opaque texts: they hold profile ids, which a key without the scope `personal` may not read, and must not be made up."""

import base64
import binascii
import hashlib
from typing import Final, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from shared.http.cursors import Cursor, decode_cursor, encode_cursor
from shared.http.reasons import Code, Refused

C = TypeVar("C", bound=Cursor)
_PURPOSE: Final = [b"rapport cursor v1"]
MAX_CURSOR: Final = 8192
"""Characters of a cursor: twice an id of the greatest length fits. A longer one is refused before it is looked at."""


class Sealer:
    """AES-SIV under a key made from `secret`; processes that share the secret read one another's cursors."""

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESSIV(hashlib.sha512(b"rapport cursor\0" + secret).digest())

    def seal(self, cursor: Cursor) -> str:
        return base64.urlsafe_b64encode(self._cipher.encrypt(encode_cursor(cursor), _PURPOSE)).decode().rstrip("=")

    def open(self, text: str | None, kind: type[C]) -> C | None:
        """The cursor, None if there is no text. Raises Refused (400) if it is none of ours, or of another kind of list."""
        if text is None:
            return None
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            cursor = decode_cursor(self._cipher.decrypt(sealed, _PURPOSE))
        except (binascii.Error, ValueError, InvalidTag, msgspec.DecodeError):
            raise bad_cursor() from None
        if not isinstance(cursor, kind):
            raise bad_cursor()
        return cursor


def bad_cursor() -> Refused:
    return Refused(400, Code.INVALID_CURSOR, "the cursor is not one that this list has given: begin again without one", "cursor")
